"""`clearcall image` as its user meets it, with a stand-in for the student."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from desktop.cli import main
from service.model.sharpener import Sharpener
from tests.service.doubles import FakeSharpener
from tests.service.pictures import as_file, landscape


@pytest.fixture
def student(monkeypatch: pytest.MonkeyPatch) -> FakeSharpener:
    fake = FakeSharpener()
    monkeypatch.setattr(Sharpener, "load", lambda *_, **__: fake.as_sharpener())
    return fake


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """a.png, b/c.jpg, a text file with a picture's name, an empty one, a link to nowhere."""
    folder = tmp_path / "photos"
    (folder / "b").mkdir(parents=True)
    (folder / "a.png").write_bytes(as_file(landscape(), "png"))
    (folder / "b/c.jpg").write_bytes(as_file(landscape(40, 30), "jpeg"))
    (folder / "text.png").write_text("not a picture")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "nowhere.jpg").symlink_to(folder / "missing")
    return folder


pytestmark = pytest.mark.usefixtures("student")


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_one_picture_goes_into_one_file(tmp_path: Path, photos: Path) -> None:
    output = tmp_path / "sharp.webp"
    assert main(["image", str(photos / "a.png"), "-o", str(output)]) == 0
    with Image.open(output) as picture:
        assert (picture.format, picture.size) == ("WEBP", (64, 48))


def test_a_folder_keeps_its_tree_and_what_fails_is_named_and_costs_nothing_else(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "sharp"
    assert main(["image", str(photos), "-o", str(output)]) == 1
    made = sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file())
    assert made == ["a.png", "b/c.jpg"]
    said = [line for line in capsys.readouterr().err.splitlines() if ": " in line]
    for name in ("text.png", "empty.jpg", "nowhere.jpg"):
        assert sum(name in line for line in said) == 1, said


def test_nothing_is_overwritten_unless_forced(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "sharp.png"
    output.write_bytes(b"mine")
    assert main(["image", str(photos / "a.png"), "-o", str(output)]) == 2
    assert output.read_bytes() == b"mine"
    assert "--force" in capsys.readouterr().err
    assert main(["image", str(photos / "a.png"), "-o", str(output), "--force"]) == 0
    assert output.read_bytes().startswith(b"\x89PNG")


def test_an_input_is_never_overwritten(photos: Path) -> None:
    before = (photos / "a.png").read_bytes()
    argv = ["image", str(photos / "a.png"), "-o", str(photos / "a.png"), "--force"]
    assert main(argv) == 2
    assert (photos / "a.png").read_bytes() == before


def test_sizes_are_as_asked_and_the_comparison_lies_beside(tmp_path: Path, photos: Path) -> None:
    output = tmp_path / "sharp.png"
    options = ["--resize", "32", "--upscale", "2", "--compare"]
    assert main(["image", str(photos / "a.png"), "-o", str(output), *options]) == 0
    assert size_of(output) == (64, 48)
    (beside,) = tmp_path.glob("sharp*compare*")
    width, height = size_of(beside)
    assert width > 32
    assert height >= 24


def test_scripts_get_a_line_for_each_picture_and_a_summary(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["image", str(photos), "-o", str(tmp_path / "sharp"), "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 6
    assert sorted(line["status"] for line in lines[:-1]) == ["done"] * 2 + ["failed"] * 3


def test_stdin_to_stdout(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    encoded = io.BytesIO((photos / "a.png").read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(encoded))
    assert main(["image", "-", "-o", "-", "--format", "jpeg"]) == 0
    assert capfdbinary.readouterr().out.startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize("size", [(1, 1), (10, 3_000)])
def test_odd_sizes_come_back_in_their_size(tmp_path: Path, size: tuple[int, int]) -> None:
    source, output = tmp_path / "odd.png", tmp_path / "sharp.png"
    source.write_bytes(as_file(landscape(*size), "png"))
    assert main(["image", str(source), "-o", str(output)]) == 0
    assert size_of(output) == (size[1], size[0])


def test_names_that_cannot_be_shown_are_made_printable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / os.fsdecode(b"new\nline\xff.png")
    broken.write_bytes(b"no picture")
    assert main(["image", str(broken), "-o", str(tmp_path / "out.png")]) == 2
    said = capsys.readouterr().err
    assert "new\nline" not in said
    assert "new" in said


def test_ctrl_c_in_the_middle_leaves_nothing_half_written(
    tmp_path: Path, photos: Path, student: FakeSharpener
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    student.hold()

    def interrupt() -> None:
        student.entered.acquire(timeout=20)
        os.kill(os.getpid(), signal.SIGINT)
        student.release()

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        output = tmp_path / "sharp.png"
        assert main(["image", str(photos / "a.png"), "-o", str(output)]) == 130
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    # The picture in work may have been done before the signal was felt; then it is there whole.
    made = [path for path in tmp_path.iterdir() if path != photos]
    assert made in ([], [output])
    assert [size_of(path) for path in made] == [(64, 48)] * len(made)
