"""benchmarks.screens: HTML becomes pictures of screens, the same ones every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.screens import main

SIZE_PX = (1280, 720)
PAGE = "<!doctype html><title>Notes</title>" + "<p>Four words of notes</p>" * 90


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    folder = tmp_path / "pages"
    (folder / "below").mkdir(parents=True)
    for name in ("one.html", "two.htm", "below/three.html", "four.html"):
        (folder / name).write_text(PAGE)
    (folder / "notes.txt").write_text("no page")
    return folder


def written(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path).convert("RGB")) for path in folder.iterdir()}


def test_each_page_is_shown_once_at_the_size_of_a_screen(pages: Path, tmp_path: Path) -> None:
    assert main([str(pages), "--out", str(tmp_path / "screens")]) == 0
    screens = written(tmp_path / "screens")
    assert sorted(screens) == ["000-1x-dark.png", "001-1x.png", "002-1.5x.png", "003-2x-dark.png"]
    for name, image in screens.items():
        assert image.shape[1::-1] == SIZE_PX
        assert (np.median(image) < 60) == ("dark" in name)
        assert np.ptp(image.astype(int)) > 150  # ink on paper


def test_the_seed_decides_what_is_shown(pages: Path, tmp_path: Path) -> None:
    runs = []
    for name, seed in (("first", "4"), ("again", "4"), ("other", "5")):
        out = tmp_path / name
        assert main([str(pages), "--out", str(out), "--seed", seed, "--count", "2"]) == 0
        runs.append(written(out))
    first, again, other = runs
    assert len(first) == 2
    for name, image in first.items():
        np.testing.assert_array_equal(image, again[name])
    assert any((image != other[name]).any() for name, image in first.items())


def test_a_folder_without_pages_and_one_that_is_taken_are_refused(
    pages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty"), "--out", str(tmp_path / "screens")]) == 1
    assert "holds no HTML file" in capsys.readouterr().err
    assert main([str(pages), "--out", str(pages)]) == 1
    assert "is not empty" in capsys.readouterr().err
