"""desktop.camera.preview: the newest picture for every viewer of this machine, for nobody else."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import numpy as np
import pytest

from desktop.camera.controls import Controls
from desktop.camera.errors import OutputUnavailable
from desktop.camera.frames import Shown
from desktop.camera.output import OutputThread
from desktop.camera.preview import Preview
from service.frame_codec import decode_frame
from tests.desktop.camera.doubles import flat, level_of
from tests.service.live import eventually


@dataclass
class Showing:
    preview: Preview
    thread: OutputThread
    controls: Controls

    def show(self, level: int, *, height: int = 48, width: int = 64) -> None:
        self.thread.frames.put(Shown(flat(level, height, width), 0.0, 5.0, ("25.0 FPS", "small")))


@pytest.fixture
def showing() -> Iterator[Showing]:
    controls = Controls(1.0)
    preview = Preview(controls, has_overlay=False, fps=lambda: 25.04)
    thread = OutputThread(preview, threading.Event(), lambda _: None)
    thread.start()
    yield Showing(preview, thread, controls)
    thread.finish()


class Viewer:
    """Reads pictures from the stream."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._connection.request("GET", "/stream.mjpg")
        self._response = self._connection.getresponse()
        assert self._response.status == 200

    def level(self) -> int:
        """Of the next picture."""
        size = 0
        while (line := self._response.readline()) != b"\r\n" or not size:
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        jpeg = self._response.read(size)
        return level_of(decode_frame(jpeg, max_pixels=10**7))

    def leave(self) -> None:
        self._response.close()
        self._connection.close()


def test_every_viewer_sees_the_picture_and_one_who_comes_late_the_last_one(
    showing: Showing,
) -> None:
    showing.show(100)
    first = Viewer(showing.preview.port)
    assert first.level() == 100
    late = Viewer(showing.preview.port)
    assert late.level() == 100
    showing.show(150)
    assert (first.level(), late.level()) == (150, 150)
    first.leave()
    showing.show(200)
    assert late.level() == 200
    late.leave()


def test_a_viewer_who_does_not_read_sees_the_newest_picture_and_holds_nobody_up(
    showing: Showing,
) -> None:
    showing.show(1, height=720, width=1280)
    slow, quick = Viewer(showing.preview.port), Viewer(showing.preview.port)
    quick.level()
    slow.level()
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 40, (720, 1280, 3), np.uint8)  # half a megabyte each
    last = 0
    for number in range(2, 40):
        showing.thread.frames.put(Shown(noise + np.uint8(number * 5), 0.0, 5.0))
        last = quick.level()
    assert last > 200
    read = [slow.level()]
    while read[-1] != last:
        read.append(slow.level())
    assert len(read) < 30, "what was not read in time is gone"
    slow.leave()
    quick.leave()


def test_the_page_and_its_figures(showing: Showing) -> None:
    showing.show(100)
    page = httpx.get(showing.preview.url)
    assert "stream.mjpg" in page.text
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    url = f"{showing.preview.url}state.json"
    eventually(lambda: bool(httpx.get(url).json()["caption"]))
    assert httpx.get(url).json() == {
        "caption": ["25.0 FPS", "small"],
        "fps": 25.0,
        "strength": 1.0,
    }
    assert httpx.get(f"{showing.preview.url}other").status_code == 404


def test_it_is_bound_to_this_machine_only(showing: Showing) -> None:
    assert showing.preview._server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("path", ["/", "/stream.mjpg", "/state.json", "/key"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8001", "127.0.0.1.evil.example"])
def test_a_name_that_was_rebound_to_this_machine_gets_nothing(
    showing: Showing, path: str, host: str
) -> None:
    url = f"http://127.0.0.1:{showing.preview.port}{path}"
    method = "POST" if path == "/key" else "GET"
    answer = httpx.request(method, url, headers={"Host": host, "X-Clearcall-Key": "+"})
    assert answer.status_code == 421
    assert showing.controls.strength == 1.0


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "localhost:9000", "[::1]:8001"])
def test_this_machine_has_several_names_and_a_forwarded_port(showing: Showing, host: str) -> None:
    assert httpx.get(showing.preview.url, headers={"Host": host}).status_code == 200


def test_keys_of_the_page_change_the_strength_and_pages_of_others_cannot_press_them(
    showing: Showing,
) -> None:
    url = f"{showing.preview.url}key"
    assert httpx.post(url, headers={"X-Clearcall-Key": "+"}).status_code == 200
    assert showing.controls.strength == 1.1
    assert httpx.post(url, headers={"X-Clearcall-Key": "q"}).status_code == 404
    assert httpx.post(url).status_code == 404
    # What a page of another site would have to be allowed before it may send the header.
    assert httpx.options(url, headers={"Origin": "http://evil.example"}).status_code == 501
    assert showing.controls.strength == 1.1
    assert not showing.controls.stop.is_set()


def test_only_so_many_may_look(showing: Showing) -> None:
    viewers = [Viewer(showing.preview.port) for _ in range(8)]
    assert httpx.get(f"{showing.preview.url}stream.mjpg").status_code == 503
    for viewer in viewers:
        viewer.leave()


def test_a_port_in_use_is_told_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OutputUnavailable, match=f"preview port {port}: .* or 0 for any free"):
            Preview(Controls(), port=port)


def test_nothing_is_encoded_while_nobody_looks(showing: Showing) -> None:
    for level in range(5):
        showing.show(level)
    eventually(lambda: bool(showing.preview.state()["caption"]))
    assert showing.preview.facts()["preview"] == {"url": showing.preview.url, "frames": 0}
    assert json.dumps(showing.preview.facts())
