"""A camera that other programs see: pyvirtualcam onto v4l2loopback, OBS or Unity Capture.

It sends at its own steady rate whatever comes, since meeting programs drop a camera that stops:
the last picture again, where there is no new one.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np

from desktop.camera.errors import OutputUnavailable
from desktop.camera.fitting import Fit, fitted
from desktop.camera.frames import ImageArray, Shown
from desktop.camera.overlay import with_caption
from desktop.camera.slot import Slot

__all__ = ["VirtualCamera", "setup_help"]

_LINUX = (
    "install v4l2loopback and load it: sudo apt install v4l2loopback-dkms && sudo modprobe "
    "v4l2loopback devices=1 video_nr=10 card_label=Clearcall exclusive_caps=1"
)
_MACOS = (
    "install OBS (obsproject.com), start it once, press Start Virtual Camera, allow its system "
    "extension, press Stop Virtual Camera and close OBS"
)
_WINDOWS = "install OBS (obsproject.com), and end its own virtual camera if it is running"


def setup_help(platform: str) -> str:
    """What to do on a system (as `sys.platform`) that has no virtual camera yet."""
    helps = {"linux": _LINUX, "darwin": _MACOS, "win32": _WINDOWS}
    return f"{helps.get(platform, 'this system has none')}. See docs/camera.md"


class VirtualCamera:
    """Pictures for a meeting, in one size and rate, in RGB."""

    def __init__(
        self,
        *,
        size: tuple[int, int] = (720, 1280),
        fps: float = 30.0,
        device: str | None = None,
        fit: Fit = "letterbox",
        has_overlay: bool = False,
    ) -> None:
        """Opens it.

        Args:
            size: (height, width) that programs see.
            fps: That they see.
            device: Such as /dev/video10; None = the first that is free.
            fit: How pictures of another shape go into the size.
            has_overlay: Whether the others see the figures.

        Raises:
            OutputUnavailable: pyvirtualcam, or what it needs, is not there.
        """
        self.name = "virtual camera"
        try:
            import pyvirtualcam
        except ImportError as exc:
            raise OutputUnavailable(
                self.name, "it needs pyvirtualcam: pip install 'clearcall[camera]'"
            ) from exc
        height, width = size
        try:
            self._camera: Any = pyvirtualcam.Camera(
                width, height, fps, fmt=pyvirtualcam.PixelFormat.RGB, device=device
            )
        except RuntimeError as exc:
            said = " ".join(str(exc).split())
            raise OutputUnavailable(
                self.name, f"{said} To set one up: {setup_help(sys.platform)}"
            ) from exc
        self._size, self._fit, self._has_overlay = size, fit, has_overlay
        self._device = str(self._camera.device)
        self.name = f"virtual camera {self._device}"
        self._frames = 0

    def run(self, frames: Slot[Shown], stop: threading.Event) -> None:
        """See `Output.run`."""
        picture = np.zeros((*self._size, 3), np.uint8)
        while not stop.is_set() and not frames.is_over:
            shown = frames.take(0)
            if shown is not None:
                picture = self._prepared(shown)
                self._frames += 1
            try:
                self._camera.send(picture)
            except (RuntimeError, OSError) as exc:
                raise OutputUnavailable(self.name, f"it takes no more pictures: {exc}") from exc
            self._camera.sleep_until_next_frame()

    def close(self) -> None:
        """See `Output.close`."""
        self._camera.close()

    def facts(self) -> dict[str, object]:
        """See `Output.facts`."""
        height, width = self._size
        size = f"{width}x{height}"
        return {"virtual": {"device": self._device, "size": size, "frames": self._frames}}

    def _prepared(self, shown: Shown) -> ImageArray:
        image = fitted(shown.image, self._size, self._fit)
        return with_caption(image, shown.caption) if self._has_overlay else image
