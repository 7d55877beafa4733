"""A window on the desktop, where a GUI OpenCV is installed. It must run in the main thread."""

from __future__ import annotations

import os
import sys
import threading

import cv2

from desktop.camera.controls import Controls
from desktop.camera.errors import OutputUnavailable
from desktop.camera.frames import Shown
from desktop.camera.overlay import with_caption
from desktop.camera.slot import Slot

__all__ = ["Window", "why_no_window"]

_TITLE = "Clearcall"
_KEYS_MS = 10
_NO_KEY = 255
_INSTALL = "pip uninstall -y opencv-python-headless && pip install opencv-python"


def why_no_window() -> str | None:
    """What a window needs and this machine lacks, and what to do; None if there can be one."""
    if not cv2.currentUIFramework():
        return f"this OpenCV is built without windows; {_INSTALL}, or use --preview-port"
    # Without a display OpenCV's toolkits end the process.
    if sys.platform == "linux" and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return "there is no display (DISPLAY is not set); use --preview-port"
    return None


class Window:
    """Shows the pictures with their caption; + - q, or its close button, work."""

    name = "window"

    def __init__(self, controls: Controls, *, has_overlay: bool = True) -> None:
        """Opens nothing yet: windows belong to the thread that runs them.

        Raises:
            OutputUnavailable: There can be no window.
        """
        if (reason := why_no_window()) is not None:
            raise OutputUnavailable(self.name, reason)
        self._controls = controls
        self._has_overlay = has_overlay
        self._frames = 0

    def run(self, frames: Slot[Shown], stop: threading.Event) -> None:
        """See `Output.run`."""
        try:
            shape = cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL
            cv2.namedWindow(_TITLE, shape)
            while not stop.is_set() and not frames.is_over:
                shown = frames.take(0)
                if shown is not None:
                    self._show(shown)
                key = cv2.waitKey(_KEYS_MS) & 0xFF
                if key != _NO_KEY:
                    self._controls.press(chr(key))
                if self._frames and cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) < 1:
                    stop.set()
        except cv2.error as exc:
            raise OutputUnavailable(self.name, f"{exc.err}; use --preview-port") from exc

    def close(self) -> None:
        """See `Output.close`."""
        cv2.destroyAllWindows()

    def facts(self) -> dict[str, object]:
        """See `Output.facts`."""
        return {"window": {"frames": self._frames}}

    def _show(self, shown: Shown) -> None:
        image = shown.image
        if self._has_overlay:
            image = with_caption(image, shown.caption)
        if not self._frames:
            cv2.resizeWindow(_TITLE, image.shape[1], image.shape[0])
        cv2.imshow(_TITLE, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self._frames += 1
