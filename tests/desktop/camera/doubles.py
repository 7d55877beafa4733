"""A camera that can be unplugged, a virtual camera, and films."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from desktop.camera.errors import SourceUnavailable
from desktop.camera.frames import ImageArray

__all__ = ["FakeCamera", "fake_pyvirtualcam", "flat", "level_of", "write_film"]


def flat(level: int, height: int = 48, width: int = 64) -> ImageArray:
    """(H, W, 3) uint8 of one gray level."""
    return np.full((height, width, 3), level, np.uint8)


def level_of(image: ImageArray) -> int:
    """The mean level."""
    return round(float(image.mean()))


def write_film(path: Path, levels: Sequence[int], *, fps: float = 50.0) -> Path:
    """An MJPEG film of flat gray pictures, 64x48."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 48))
    assert writer.isOpened()
    for level in levels:
        writer.write(flat(level))
    writer.release()
    return path


class FakeCamera:
    """A camera by `open`; it gives frames of rising level as fast as they are read, until
    `unplug`."""

    fps: float | None = 30.0
    is_file = False
    position_s = 0.0

    def __init__(self) -> None:
        self.is_plugged_in = True
        self.opened = 0
        self.closed = 0
        self.attempts = 0
        self.reads = 0
        self.has_been_missed = threading.Event()
        self._tick = threading.Event()

    def open(self) -> FakeCamera:
        self.attempts += 1
        if not self.is_plugged_in:
            self.has_been_missed.set()
            raise SourceUnavailable("camera 0", "there is no /dev/video0")
        self.opened += 1
        return self

    def read(self) -> ImageArray | None:
        if not self.is_plugged_in:
            return None
        self._tick.wait(0.001)  # a camera has a rate
        self.reads += 1
        return flat(self.reads % 256)

    def close(self) -> None:
        self.closed += 1


def fake_pyvirtualcam(*, failure: str | None = None) -> tuple[ModuleType, list[Any]]:
    """A module like pyvirtualcam, and the cameras that were made with it."""
    module = ModuleType("pyvirtualcam")
    cameras: list[Any] = []

    class Camera:
        def __init__(
            self, width: int, height: int, fps: float, *, fmt: str, device: str | None
        ) -> None:
            if failure is not None:
                raise RuntimeError(failure)
            self.shape, self.fps, self.fmt = (height, width, 3), fps, fmt
            self.device = device or "/dev/video10"
            self.sent: list[ImageArray] = []
            self.slept = threading.Semaphore(0)
            self.is_closed = False
            self.failure: Exception | None = None
            cameras.append(self)

        def send(self, frame: ImageArray) -> None:
            assert not self.is_closed
            assert frame.shape == self.shape
            assert frame.flags.c_contiguous
            if self.failure is not None:
                raise self.failure
            self.sent.append(frame)

        def sleep_until_next_frame(self) -> None:
            self.slept.release()
            threading.Event().wait(1 / self.fps)

        def close(self) -> None:
            self.is_closed = True

    module.Camera = Camera  # type: ignore[attr-defined]
    module.PixelFormat = type("PixelFormat", (), {"RGB": "rgb"})  # type: ignore[attr-defined]
    return module, cameras
