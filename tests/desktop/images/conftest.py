"""The command with a double for the student, and pictures to give it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from PIL import Image

from desktop.cli import main
from tests.service.doubles import FakeSharpener


@dataclass(frozen=True)
class Outcome:
    """What the user sees of a run."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Of --json."""
        return [json.loads(line) for line in self.out.splitlines()]


Run: TypeAlias = Callable[..., Outcome]


@pytest.fixture
def student(monkeypatch: pytest.MonkeyPatch) -> FakeSharpener:
    fake = FakeSharpener()
    monkeypatch.setattr("desktop.commands.image.load_model", lambda _: fake)
    return fake


@pytest.fixture
def run(student: FakeSharpener, capsys: pytest.CaptureFixture[str]) -> Run:  # noqa: ARG001
    def run(*arguments: str | Path) -> Outcome:
        code = main(["image", *map(str, arguments)])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


def write_picture(path: Path, size: tuple[int, int] = (32, 24), seed: int = 0) -> Path:
    """A picture of noise, `size` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(40, 200, (size[1], size[0], 3), np.uint8)
    Image.fromarray(values).save(path)
    return path


def opened(path: Path) -> Image.Image:
    """A picture of which no file stays open."""
    return Image.open(io.BytesIO(path.read_bytes()))
