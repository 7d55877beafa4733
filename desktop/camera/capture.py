"""An opened source, by OpenCV: V4L2, AVFoundation or Media Foundation for cameras, FFmpeg else."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import cv2

from desktop.camera.errors import SourceUnavailable
from desktop.camera.frames import ImageArray
from desktop.camera.source import Source, why_not

__all__ = ["Capture", "OpenCapture", "Wishes", "open_capture", "quieten_opencv"]

_OPEN_TIMEOUT_MS = 10_000
_READ_TIMEOUT_MS = 5_000  # without a frame a stream counts as lost
_PLAUSIBLE_FPS = (1.0, 240.0)
_FIRST_READS = 10  # some webcams give nothing for their first frames


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a camera is asked for; it may give something else. `size` is (height, width)."""

    size: tuple[int, int] | None = None
    fps: float | None = None
    fourcc: str | None = "MJPG"


class Capture(Protocol):
    """An open source. One thread reads it, and the same one closes it.

    Attributes:
        fps: as the source says, None where it does not.
        is_file: whether frames come as fast as they are read, and end.
        position_s: of the frame that was read last, in a file.
    """

    fps: float | None
    is_file: bool

    @property
    def position_s(self) -> float: ...

    def read(self) -> ImageArray | None:
        """The next frame, (H, W, 3) uint8 BGR, or None if none came."""

    def close(self) -> None:
        """Gives the device free."""


OpenCapture = Callable[[], Capture]


def quieten_opencv() -> None:
    """What fails is told by us, in one line; OpenCV and FFmpeg need not tell it too."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")  # fonts that Qt misses
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def open_capture(source: Source, wishes: Wishes) -> Capture:
    """Opens a source and reads its first frame, so that it is known to work.

    Raises:
        SourceUnavailable: with the reason and what to do.
    """
    capture = _opened(source)
    if not capture.isOpened():
        raise SourceUnavailable(source.name, why_not(source))
    if source.kind == "camera":
        _ask_for(capture, wishes)
    for _ in range(_FIRST_READS):
        is_read, frame = capture.read()
        if is_read:
            return _OpenCVCapture(source, capture, frame)
        if source.kind != "camera":
            break
    capture.release()
    reason = "the video holds no frame" if source.kind == "file" else why_not(source)
    raise SourceUnavailable(source.name, reason)


def _opened(source: Source) -> Any:
    if source.kind == "camera":
        backend = {"linux": cv2.CAP_V4L2, "darwin": cv2.CAP_AVFOUNDATION}.get(sys.platform)
        capture = cv2.VideoCapture(source.address, cv2.CAP_ANY if backend is None else backend)
        if not capture.isOpened() and sys.platform == "win32":
            capture = cv2.VideoCapture(source.address, cv2.CAP_DSHOW)
        return capture
    options = [] if source.kind == "file" else _network_options()
    return cv2.VideoCapture(source.address, cv2.CAP_FFMPEG, options)


def _network_options() -> list[int]:
    # Several decoding threads would each hold a frame back.
    return [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_TIMEOUT_MS),
        *(cv2.CAP_PROP_N_THREADS, 1),
    ]


def _ask_for(capture: Any, wishes: Wishes) -> None:
    # The format goes first: it decides on sizes and rates. Over USB 2 webcams give 720p at 30 FPS
    # as MJPG only.
    if wishes.fourcc is not None:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*wishes.fourcc))
    if wishes.size is not None:
        height, width = wishes.size
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
    if wishes.fps is not None:
        capture.set(cv2.CAP_PROP_FPS, wishes.fps)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)


class _OpenCVCapture:
    def __init__(self, source: Source, capture: Any, first: ImageArray) -> None:
        self._capture = capture
        self._first: ImageArray | None = first
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        low, high = _PLAUSIBLE_FPS
        self.fps = fps if low <= fps <= high else None
        # A video file behind an http:// URL says how many frames it has; a live stream does not.
        has_end = capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0
        self.is_file = source.kind == "file" or (source.kind == "url" and has_end)

    @property
    def position_s(self) -> float:
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000

    def read(self) -> ImageArray | None:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        is_read, frame = self._capture.read()
        return frame if is_read else None

    def close(self) -> None:
        self._capture.release()
