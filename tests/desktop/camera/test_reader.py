"""desktop.camera.reader: drains, paces, and opens again what was lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clearcall.backoff import Backoff
from desktop.camera.capture import OpenCapture, Wishes, open_capture, quieten_opencv
from desktop.camera.frames import Captured
from desktop.camera.reader import Reader
from desktop.camera.slot import Slot
from desktop.camera.source import parse_source
from tests.desktop.camera.doubles import FakeCamera, level_of, write_film
from tests.desktop.camera.sources import MjpegServer, RtspServer
from tests.service.live import eventually

WAIT_S = 20


def impatient() -> Backoff:
    return Backoff(first_s=0.02, max_s=0.1)


class Reading:
    """A reader with what it told."""

    def __init__(self, open_source: OpenCapture, *, loops: bool = False) -> None:
        self.slot: Slot[Captured] = Slot()
        self.lost, self.back = threading.Event(), threading.Event()
        self.reader = Reader(
            open_source(),
            open_source,
            self.slot,
            loops=loops,
            backoff=impatient(),
        )
        self.reader.start(on_lost=self.lost.set, on_back=self.back.set)

    def frame(self) -> Captured:
        captured = self.slot.take(WAIT_S)
        assert captured is not None
        return captured


@pytest.fixture
def reading() -> Iterator[Callable[..., Reading]]:
    quieten_opencv()
    readings: list[Reading] = []

    def begin(open_source: OpenCapture, *, loops: bool = False) -> Reading:
        readings.append(Reading(open_source, loops=loops))
        return readings[-1]

    yield begin
    for each in readings:
        each.reader.close()


def opener(text: str) -> OpenCapture:
    return lambda: open_capture(parse_source(text), Wishes())


def test_a_camera_is_drained_whoever_waits_and_the_newest_frame_is_taken(
    reading: Callable[..., Reading],
) -> None:
    camera = FakeCamera()
    filming = reading(camera.open)
    eventually(lambda: camera.reads >= 100)
    assert filming.slot.replaced >= 90
    before = camera.reads
    newest = level_of(filming.frame().bgr)
    assert (newest - before) % 256 < 50, "it is none of those that were replaced"


def test_an_unplugged_camera_is_told_looked_for_and_taken_up_again(
    reading: Callable[..., Reading],
) -> None:
    camera = FakeCamera()
    filming = reading(camera.open)
    filming.frame()
    camera.is_plugged_in = False
    assert filming.lost.wait(WAIT_S)
    assert camera.closed == 1, "the device is given free"
    eventually(lambda: camera.attempts >= 4)
    assert not filming.back.is_set()
    camera.is_plugged_in = True
    assert filming.back.wait(WAIT_S)
    filming.slot.take(0)
    filming.frame()
    assert filming.reader.reconnects == 1
    assert not filming.slot.is_over


def test_a_reader_that_looks_for_its_camera_can_be_ended(
    reading: Callable[..., Reading],
) -> None:
    camera = FakeCamera()
    filming = reading(camera.open)
    camera.is_plugged_in = False
    assert camera.has_been_missed.wait(WAIT_S)
    filming.reader.close()
    filming.slot.take(0)
    assert filming.slot.is_over
    assert camera.closed == camera.opened


def test_a_file_is_played_at_its_own_pace_and_ends(
    reading: Callable[..., Reading], tmp_path: Path
) -> None:
    film = write_film(tmp_path / "film.avi", range(10, 250, 10), fps=40)
    playing = reading(opener(str(film)))
    shown: list[Captured] = []
    while not playing.slot.is_over:
        if (captured := playing.slot.take(1)) is not None:
            shown.append(captured)
    levels = [level_of(each.bgr) for each in shown]
    assert levels == sorted(levels)
    assert abs(levels[-1] - 240) <= 3
    assert playing.reader.frames == 24
    assert shown[-1].captured_s - shown[0].captured_s >= 20 / 40, "no faster than it was filmed"
    assert not playing.lost.is_set()


def test_a_looped_file_begins_again(reading: Callable[..., Reading], tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.avi", (20, 120, 220), fps=100)
    playing = reading(opener(str(film)), loops=True)
    eventually(lambda: playing.reader.frames >= 12)
    assert not playing.slot.is_over


@pytest.mark.parametrize("server", [RtspServer, MjpegServer])
def test_a_network_camera_that_dies_is_taken_up_again_when_it_is_back(
    reading: Callable[..., Reading], server: type[RtspServer] | type[MjpegServer]
) -> None:
    camera = server()
    try:
        filming = reading(opener(camera.url))
        levels = [level_of(filming.frame().bgr) for _ in range(5)]
        assert levels == sorted(levels)
        assert 15 <= levels[0] <= 220
        camera.kill()
        assert filming.lost.wait(WAIT_S)
        camera = server(camera.port)
        assert filming.back.wait(WAIT_S)
        filming.slot.take(0)
        filming.frame()
        assert filming.reader.reconnects == 1
    finally:
        camera.kill()
