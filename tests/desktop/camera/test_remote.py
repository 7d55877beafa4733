"""desktop.camera.remote against the real service with a stand-in model."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from desktop.camera.controls import Controls
from desktop.camera.errors import ServerUnavailable
from desktop.camera.frames import Captured, Shown
from desktop.camera.remote import RemoteSharpening, stream_url
from desktop.camera.slot import Slot
from service.settings import Settings
from tests.service.doubles import FakeSharpener
from tests.service.live import Live, eventually, serve
from tests.service.pictures import difference, landscape


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("gpu.local:8000", "ws://gpu.local:8000/stream"),
        ("http://gpu.local:8000/", "ws://gpu.local:8000/stream"),
        ("https://gpu.local", "wss://gpu.local/stream"),
        ("ws://gpu.local/a/stream", "ws://gpu.local/a/stream"),
    ],
)
def test_an_address_is_completed(text: str, url: str) -> None:
    assert stream_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "ftp://gpu.local",
        "http://",
        "rtsp://gpu.local/live",
        "http://[::1",
        "http://gpu.local:99999",
    ],
)
def test_what_is_no_address_of_a_server_is_refused(text: str) -> None:
    with pytest.raises(ServerUnavailable, match="write it as http://HOST:PORT"):
        stream_url(text)


class Filming:
    """A camera of 100 frames a second in front of a remote sharpening."""

    def __init__(self, sharpening: RemoteSharpening) -> None:
        self.slot: Slot[Captured] = Slot()
        self.stop = threading.Event()
        self.shown: list[Shown] = []
        self.failure: Exception | None = None
        self.is_moving = False
        self._sharpening = sharpening
        self._threads = [
            threading.Thread(target=self._film),
            threading.Thread(target=self._sharpen),
        ]
        for thread in self._threads:
            thread.start()

    def sharpened(self) -> list[Shown]:
        return [each for each in self.shown if each.inference_ms is not None]

    def passed(self) -> list[Shown]:
        return [each for each in self.shown if each.inference_ms is None]

    def end(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def _film(self) -> None:
        bgr = landscape()[:, :, ::-1].copy()
        while not self.stop.wait(0.01):
            if self.is_moving:  # or else the server uses again what it has
                bgr = np.roll(bgr, 5, axis=1)
            self.slot.put(Captured(bgr, time.monotonic()))

    def _sharpen(self) -> None:
        try:
            self._sharpening.run(self.slot, self.shown.append, self.stop)
        except ServerUnavailable as exc:
            self.failure = exc


@contextmanager
def filming(url: str, controls: Controls) -> Iterator[Filming]:
    sharpening = RemoteSharpening(url, controls, quality=95)
    film = Filming(sharpening)
    try:
        yield film
    finally:
        film.end()
        sharpening.close()


def test_frames_come_back_sharpened_and_the_strength_is_the_users() -> None:
    controls = Controls()
    with serve() as live, filming(live.url, controls) as film:
        eventually(lambda: len(film.sharpened()) >= 10)
        assert controls.strength == 1.0, "the server's default"
        last = film.shown[-1]
        assert difference(last.image, landscape()) < 12
        assert last.image[-1, 0].tolist() != last.image[-1, 0, ::-1].tolist()
        controls.strength = 0.0
        eventually(lambda: difference(film.shown[-1].image, landscape()) < 2)
        facts = film._sharpening.facts()
        assert (facts["student"], facts["scale"], facts["device"]) == ("fake", 1.0, "cpu")
        assert film._sharpening.how.startswith("fake on 127.0.0.1:")


def test_a_slow_server_gets_the_newest_frames_and_the_others_are_counted() -> None:
    with serve() as live, filming(live.url, Controls()) as film:
        eventually(lambda: bool(film.sharpened()))
        film.is_moving = True
        live.sharpener.hold()
        facts = film._sharpening.facts
        eventually(lambda: int(str(facts()["frames_skipped_by_network"])) >= 30)
        live.sharpener.release()
        seen = len(film.sharpened())
        eventually(lambda: len(film.sharpened()) >= seen + 20)
        assert time.monotonic() - film.shown[-1].captured_s < 2, "nothing that waited is shown late"


def test_while_the_server_is_away_the_cameras_own_picture_is_shown() -> None:
    with serve() as live:
        port = live.host_and_port[1]
        sharpening = RemoteSharpening(live.url, Controls(), quality=95)
        film = Filming(sharpening)
        eventually(lambda: len(film.sharpened()) >= 3)
    try:
        eventually(lambda: len(film.passed()) >= 5)
        assert (film.passed()[-1].image == landscape()).all()
        assert sharpening.away == "server away: not sharpened"
        seen = len(film.sharpened())
        other = FakeSharpener()
        other.name, other.device = "other", "cuda:0"
        with serve(other, port=port):
            eventually(lambda: len(film.sharpened()) >= seen + 5)
            facts = sharpening.facts()
            assert (facts["student"], facts["device"]) == ("other", "cuda:0")
            assert not sharpening.away
            assert sharpening.facts()["server_reconnects"] == 1
    finally:
        film.end()
        sharpening.close()


def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("desktop.camera.remote._SILENT_S", 0.3)
    with serve() as live, filming(live.url, Controls()) as film:
        eventually(lambda: bool(film.sharpened()))
        film.is_moving = True
        live.sharpener.hold()
        eventually(lambda: len(film.passed()) >= 5)
        assert film._sharpening.away == "server silent: not sharpened"
        live.sharpener.release()
        eventually(lambda: not film._sharpening.away)


def test_a_server_that_is_not_there_is_told_at_once() -> None:
    with serve() as live:
        url = live.url
    with pytest.raises(ServerUnavailable, match=r"/stream: Connection refused\. Check the addr"):
        RemoteSharpening(url, Controls(), quality=85)


def test_a_server_without_such_a_stream_refuses_for_good(live: Live) -> None:
    with pytest.raises(ServerUnavailable, match=r"refused the stream \(40[34]\)"):
        RemoteSharpening(f"{live.url}/other", Controls(), quality=85)


@pytest.fixture
def live() -> Iterator[Live]:
    assert Settings().port
    with serve() as running:
        yield running
