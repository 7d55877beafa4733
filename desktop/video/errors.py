"""What can be wrong with a video file, as one line for its owner."""

from __future__ import annotations

from pathlib import Path

from desktop.names import printable
from service.errors import ClearcallError

__all__ = ["VideoError"]


class VideoError(ClearcallError):
    """A file that cannot be read, written or encoded as was asked; `reason` says what to do."""

    code = "video-error"
    title = "The video cannot be used"

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{printable(path)}: {reason}")
        self.path = path
        self.reason = reason
