"""desktop.camera.session: the steps together, with a camera and outputs that can be held."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from clearcall.backoff import Backoff
from desktop.camera.controls import Controls
from desktop.camera.frames import Captured, Shown
from desktop.camera.local import LocalSharpening
from desktop.camera.meter import Meter
from desktop.camera.output import each_frame
from desktop.camera.reader import Reader
from desktop.camera.session import Limits, Session
from desktop.camera.slot import Slot
from service.students import Students
from tests.desktop.camera.doubles import FakeCamera, level_of
from tests.service.doubles import FakeSharpener
from tests.service.live import eventually

WAIT_S = 20


class Screen:
    """An output that remembers what it showed last and can be held."""

    def __init__(self, name: str = "screen") -> None:
        self.name = name
        self.count = 0
        self.last: Shown | None = None
        self.is_closed = False
        self._gate = threading.Event()
        self._gate.set()

    def hold(self) -> None:
        self._gate.clear()

    def release(self) -> None:
        self._gate.set()

    def run(self, frames: Slot[Shown], stop: threading.Event) -> None:
        each_frame(frames, stop, self._show)

    def close(self) -> None:
        self.is_closed = True

    def facts(self) -> dict[str, object]:
        return {self.name: self.count}

    def _show(self, shown: Shown) -> None:
        assert self._gate.wait(WAIT_S)
        self.last = shown
        self.count += 1


class Filming:
    """A session over a camera. The test's script runs beside it, and ends it."""

    def __init__(self, *screens: Screen, frames: int | None = None) -> None:
        self.camera = FakeCamera()
        self.controls = Controls()
        self.told: list[str] = []
        self.fake = FakeSharpener()
        slot: Slot[Captured] = Slot()
        self.session = Session(
            self.controls,
            screens,
            slot=slot,
            meter=Meter(),
            limits=Limits(frames=frames),
            tell=self.told.append,
        )
        backoff = Backoff(first_s=0.02, max_s=0.1)
        self._reader = Reader(self.camera.open(), self.camera.open, slot, backoff=backoff)

    def run(self, script: Callable[[], None] = lambda: None, *, ends: bool = True) -> None:
        failures: list[BaseException] = []

        def follow() -> None:
            try:
                script()
            except BaseException as exc:  # told in the test's own thread
                failures.append(exc)
            if ends or failures:
                self.controls.stop.set()

        thread = threading.Thread(target=follow)
        thread.start()
        students = Students(self.fake.as_sharpener())
        try:
            self.session.run(
                LocalSharpening(students, self.controls, target_fps=None), self._reader
            )
        finally:
            thread.join()
        if failures:
            raise failures[0]


def test_an_unplugged_camera_is_told_and_seen_and_the_session_goes_on_when_it_is_back() -> None:
    screen = Screen()
    filming = Filming(screen)

    def unplug_and_plug_in() -> None:
        eventually(lambda: screen.count >= 5)
        filming.camera.is_plugged_in = False
        eventually(lambda: screen.last is not None and screen.last.is_notice)
        assert screen.last is not None
        assert screen.last.caption == ("camera away: trying again",)
        assert level_of(screen.last.image) < 90, "the last picture, dark"
        filming.camera.is_plugged_in = True
        eventually(lambda: screen.last is not None and not screen.last.is_notice)

    filming.run(unplug_and_plug_in)
    assert [line.split(";")[0] for line in filming.told] == [
        "the camera gives no more pictures",
        "the camera is back",
    ]
    assert filming.session.facts()["camera_reconnects"] == 1
    assert screen.is_closed
    assert filming.camera.closed == filming.camera.opened == 2


def test_an_output_that_is_slow_skips_pictures_and_holds_no_other_up() -> None:
    slow, quick = Screen("slow"), Screen("quick")
    filming = Filming(slow, quick)

    def hold_one() -> None:
        slow.hold()
        eventually(lambda: quick.count >= 60)
        slow.release()
        eventually(lambda: slow.count >= 5)
        assert slow.count < quick.count - 40

    filming.run(hold_one)


def test_a_network_that_is_slow_gets_the_newest_frame_and_the_others_are_counted() -> None:
    screen = Screen()
    filming = Filming(screen)

    def hold_the_network() -> None:
        eventually(lambda: screen.count >= 2)
        filming.fake.hold()
        before = filming.camera.reads
        eventually(lambda: filming.camera.reads >= before + 60)
        filming.fake.release()

    filming.run(hold_the_network)
    facts = filming.session.facts()
    assert isinstance(facts["frames_skipped"], int)
    assert facts["frames_skipped"] >= 50


def test_after_so_many_frames_it_ends_with_all_of_them_shown() -> None:
    screen = Screen()
    Filming(screen, frames=1).run(ends=False)
    assert screen.count == 1


def test_what_goes_wrong_in_the_network_ends_the_session_and_is_raised() -> None:
    screen = Screen()
    filming = Filming(screen)
    filming.fake.failure = MemoryError("no memory left")
    with pytest.raises(MemoryError, match="no memory left"):
        filming.run(ends=False)
    assert screen.is_closed
    assert filming.camera.closed == 1
