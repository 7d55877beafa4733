"""desktop.camera.virtual: a steady camera of one size, whatever comes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from desktop.camera.errors import OutputUnavailable
from desktop.camera.frames import Shown
from desktop.camera.output import OutputThread
from desktop.camera.virtual import VirtualCamera, setup_help
from tests.desktop.camera.doubles import fake_pyvirtualcam, flat
from tests.service.live import eventually


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    module, cameras = fake_pyvirtualcam()
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)
    return cameras


@pytest.fixture
def running() -> Iterator[Callable[[VirtualCamera], OutputThread]]:
    threads: list[OutputThread] = []

    def start(camera: VirtualCamera) -> OutputThread:
        threads.append(OutputThread(camera, threading.Event(), lambda _: None))
        threads[0].start()
        return threads[0]

    yield start
    for thread in threads:
        thread.finish()


def test_it_is_1280x720_at_30_in_rgb_unless_told(made: list[Any]) -> None:
    camera = VirtualCamera()
    assert (made[0].shape, made[0].fps, made[0].fmt) == ((720, 1280, 3), 30.0, "rgb")
    assert camera.name == "virtual camera /dev/video10"
    VirtualCamera(size=(480, 640), fps=15, device="/dev/video3")
    assert (made[1].shape, made[1].fps, made[1].device) == ((480, 640, 3), 15, "/dev/video3")


def test_pictures_are_fitted_and_the_last_one_is_sent_again_and_again(
    made: list[Any], running: Callable[[VirtualCamera], OutputThread]
) -> None:
    thread = running(VirtualCamera(fps=200))
    camera = made[0]
    eventually(lambda: len(camera.sent) >= 2)
    assert camera.sent[0].max() == 0, "black, until there is a picture"
    thread.frames.put(Shown(flat(180, 480, 640), 0.0, 5.0, ("text",)))
    eventually(lambda: camera.sent[-1].max() > 0)
    sent = len(camera.sent)
    eventually(lambda: len(camera.sent) >= sent + 10)
    last = camera.sent[-1]
    assert (last[:, 160:1120] == 180).all(), "all of it, and no figures for the others"
    assert last[:, :160].max() == 0
    thread.finish()
    assert camera.is_closed
    assert thread.failure is None


def test_a_virtual_camera_that_goes_away_ends_with_a_reason(
    made: list[Any], running: Callable[[VirtualCamera], OutputThread]
) -> None:
    thread = running(VirtualCamera(fps=200))
    made[0].failure = RuntimeError("error writing frame")
    eventually(lambda: thread.failure is not None)
    assert "takes no more pictures: error writing frame" in str(thread.failure)
    assert made[0].is_closed


def test_where_none_is_set_up_the_reason_and_the_way_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, _ = fake_pyvirtualcam(failure="'v4l2loopback' backend: No v4l2 loopback device\nfound.")
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(OutputUnavailable, match=r"found\. To set one up: .*modprobe") as told:
        VirtualCamera()
    assert "\n" not in str(told.value)
    for platform in ("darwin", "win32"):
        assert "OBS" in setup_help(platform)


def test_without_pyvirtualcam_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(OutputUnavailable, match=r"clearcall\[camera\]"):
        VirtualCamera()
