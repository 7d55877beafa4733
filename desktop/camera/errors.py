"""What can go wrong with a camera, as one tree.

ClearcallError
└── CameraError             `subject`: what `reason`: why, and what to do
    ├── SourceUnavailable   a camera, file or URL that gives no frames
    ├── OutputUnavailable   a window, virtual camera, file or port that takes none
    └── ServerUnavailable   a remote Clearcall that does not take the stream
"""

from __future__ import annotations

from desktop.names import printable
from service.errors import ClearcallError

__all__ = ["CameraError", "OutputUnavailable", "ServerUnavailable", "SourceUnavailable"]


class CameraError(ClearcallError):
    """Root of the tree; never raised itself."""

    code = "camera-error"
    title = "The camera cannot be used"

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(f"{printable(subject)}: {reason}")
        self.subject, self.reason = subject, reason


class SourceUnavailable(CameraError):
    code = "source-unavailable"


class OutputUnavailable(CameraError):
    code = "output-unavailable"


class ServerUnavailable(CameraError):
    code = "server-unavailable"
