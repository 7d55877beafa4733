"""desktop.camera.source: what a source is, and why one cannot be used."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from desktop.camera.capture import Wishes, open_capture, quieten_opencv
from desktop.camera.errors import SourceUnavailable
from desktop.camera.source import parse_source
from tests.desktop.camera.doubles import write_film


@pytest.mark.parametrize(
    ("text", "kind", "address"),
    [
        ("0", "camera", 0),
        ("12", "camera", 12),
        ("/dev/video2", "camera", "/dev/video2"),
        ("rtsp://cam.local/live", "url", "rtsp://cam.local/live"),
        ("HTTP://cam.local/video.mjpg", "url", "HTTP://cam.local/video.mjpg"),
        ("film.mp4", "file", "film.mp4"),
    ],
)
def test_a_source_is_told_by_its_looks(text: str, kind: str, address: int | str) -> None:
    source = parse_source(text)
    assert (source.kind, source.address) == (kind, address)


def test_a_password_is_never_shown() -> None:
    assert parse_source("rtsp://me:secret@cam/live").name == "rtsp://cam/live"


def test_a_url_of_another_kind_is_refused_with_those_that_are_read() -> None:
    with pytest.raises(SourceUnavailable, match=r"gopher:// is not read; .* rtsp"):
        parse_source("gopher://cam")


def reason(text: str) -> str:
    quieten_opencv()
    with pytest.raises(SourceUnavailable) as caught:
        open_capture(parse_source(text), Wishes())
    assert "\n" not in str(caught.value)
    return caught.value.reason


def test_files_that_give_no_frames_say_why(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.avi", range(5)).read_bytes()
    for name, content in {"empty.mp4": b"", "text.mp4": b"no film", "cut.avi": film[:900]}.items():
        (tmp_path / name).write_bytes(content)
    assert "no such file" in reason(str(tmp_path / "none.mp4"))
    assert reason(str(tmp_path)) == "a folder; name one video of it"
    assert reason(str(tmp_path / "empty.mp4")) == "the file is empty"
    assert "no video that can be read" in reason(str(tmp_path / "text.mp4"))
    assert "cut off" in reason(str(tmp_path / "cut.avi"))


@pytest.mark.skipif(os.name != "posix", reason="/dev is of Unix")
def test_a_camera_that_is_not_there_says_how_to_find_one() -> None:
    assert "--list" in reason("97")
    assert "/dev/video97" in reason("/dev/video97")


def test_a_url_that_gives_no_video_says_how_far_it_got() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    assert f"127.0.0.1:{port}: " in reason(f"rtsp://127.0.0.1:{port}/live")
    assert "is not known" in reason("http://nowhere.invalid/video")
    assert reason("rtsp://cam:notaport/live") == "the port is not a number"
