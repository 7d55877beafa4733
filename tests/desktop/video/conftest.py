"""The command with a stand-in for the student."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from desktop.cli import main
from tests.desktop.video.clips import write_clip
from tests.programs import program
from tests.service.doubles import FakeSharpener

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeSharpener:
    """What the command loads instead of a student."""
    sharpener = FakeSharpener(lanes=2)
    monkeypatch.setattr("desktop.commands.video.load_model", lambda _: sharpener)
    return sharpener


@pytest.fixture
def run(fake: FakeSharpener, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `clearcall video`, which must succeed; its summary, and `said` on stderr."""
    assert fake

    def run(path: Path, output: Path, *options: str) -> dict[str, Any]:
        capsys.readouterr()
        code = main(["video", str(path), "-o", str(output), "--json", *options])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        return {**json.loads(printed.out), "said": printed.err}

    return run


@pytest.fixture
def refused(fake: FakeSharpener, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs `clearcall video`, which must refuse; the one line that it says."""
    assert fake

    def refused(path: Path, output: Path, *options: str) -> str:
        capsys.readouterr()
        assert main(["video", str(path), "-o", str(output), *options]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1, printed.err
        assert printed.err.startswith("clearcall: ")
        return printed.err

    return refused


@pytest.fixture(scope="session")
def plain_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of 160x90 in H.264, with two tracks of sound."""
    return write_clip(tmp_path_factory.mktemp("clips") / "plain.mp4", tracks=2)


@pytest.fixture(scope="session")
def ffprobe() -> str:
    """FFmpeg's own reader, of the Debian package ffmpeg."""
    return program("ffprobe", "ffmpeg")
