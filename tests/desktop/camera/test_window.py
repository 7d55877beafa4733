"""desktop.camera.window with OpenCV's window functions replaced: it may be built without them."""

from __future__ import annotations

import threading

import cv2
import pytest

from desktop.camera.controls import Controls
from desktop.camera.errors import OutputUnavailable
from desktop.camera.frames import ImageArray, Shown
from desktop.camera.output import OutputThread
from desktop.camera.window import Window
from tests.desktop.camera.doubles import flat


class Screen:
    """What a user sees and presses; `is_open` is the window's close button."""

    def __init__(self) -> None:
        self.shown: list[ImageArray] = []
        self.keys: list[int] = []
        self.is_open = True
        self.failure: cv2.error | None = None

    def show(self, _: str, bgr: ImageArray) -> None:
        if self.failure is not None:
            raise self.failure
        self.shown.append(bgr)

    def key(self, _: int) -> int:
        return self.keys.pop(0) if self.keys else -1


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen = Screen()
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "QT")
    for name in ("namedWindow", "resizeWindow", "destroyAllWindows"):
        monkeypatch.setattr(cv2, name, lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", screen.show)
    monkeypatch.setattr(cv2, "waitKey", screen.key)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: float(screen.is_open))
    return screen


def run(controls: Controls, *, has_overlay: bool = False) -> OutputThread:
    """Shows one red picture until the controls stop."""
    image = flat(0)
    image[:, :, 0] = 200
    output = Window(controls, has_overlay=has_overlay)
    thread = OutputThread(output, controls.stop, lambda _: controls.stop.set())
    thread.frames.put(Shown(image, 0.0, 5.0, ("25.0 FPS",)))
    ending = threading.Timer(20, controls.stop.set)
    ending.start()
    thread.run()
    ending.cancel()
    return thread


def test_the_picture_is_red_where_it_is_red_and_keys_work(screen: Screen) -> None:
    controls = Controls(1.0)
    screen.keys = [255, -1, ord("+"), ord("x"), ord("+"), ord("q")]
    assert run(controls).failure is None
    assert screen.shown[0][0, 0].tolist() == [0, 0, 200], "OpenCV shows BGR"
    assert controls.strength == 1.2


def test_the_figures_are_drawn_if_they_are_wanted(screen: Screen) -> None:
    screen.keys = [ord("q")]
    run(Controls(), has_overlay=True)
    assert (screen.shown[0] == 255).any()


def test_its_close_button_ends_the_session(screen: Screen) -> None:
    screen.is_open = False
    controls = Controls()
    run(controls)
    assert controls.stop.is_set()
    assert len(screen.shown) == 1


def test_a_window_that_fails_is_told(screen: Screen) -> None:
    screen.failure = cv2.error("x")
    screen.failure.err = "no screen"
    thread = run(Controls())
    assert isinstance(thread.failure, OutputUnavailable)
    assert str(thread.failure) == "window: no screen; use --preview-port"
