"""The contact sheet: all kinds, all columns, and bad files passed over."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.service.pictures import sample
from trainer.mixture import CHAINS, Mixture
from trainer.operators import ImageArray
from trainer.preview import draw_preview, write_preview


@pytest.fixture(autouse=True)
def without_video(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codecs are slow, and proven elsewhere."""
    monkeypatch.delitem(CHAINS, "codec")


def read(path: Path) -> ImageArray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.array(picture.convert("RGB"))


def test_the_sheet_is_a_png_that_the_seed_decides(tmp_path: Path, samples: Path) -> None:
    paths = sorted(samples.glob("*.jpg"))
    first, again, other = (
        read(write_preview(paths, tmp_path / name, seed=seed, columns=2, crop_px=32))
        for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_each_row_shows_clean_beside_degraded() -> None:
    clean = np.ascontiguousarray(sample("colosseum")[100:132, 100:132])
    sheet = np.array(draw_preview([clean, clean], seed=0))
    large = clean.repeat(2, axis=0).repeat(2, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(sheet[..., 0], large.shape[:2])
    found = (windows[:, :, 0, :8] == large[0, :8, 0]).all(axis=2)
    places = [
        (top, left)
        for top, left in zip(*np.nonzero(found), strict=True)
        if np.array_equal(sheet[top : top + 64, left : left + 64], large)
    ]
    # Once a pair in every row, twice in the row of the untouched.
    assert len(places) == 2 * (len(CHAINS) + 1)


def test_a_mixture_is_told_by_its_shares() -> None:
    clean = np.ascontiguousarray(sample("colosseum")[100:132, 100:132])
    one, other = (
        np.array(draw_preview([clean], seed=0, mixture=Mixture({kind: 1})))
        for kind in ("jpeg", "noise")
    )
    assert not np.array_equal(one[:, :132], other[:, :132])
    assert np.array_equal(one[:, 132:], other[:, 132:])


def test_small_pictures_and_bad_files_are_no_obstacle(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad, small = tmp_path / "bad.jpg", tmp_path / "small.png"
    bad.write_bytes(b"no picture")
    Image.fromarray(sample("museum")[:20, :30]).save(small)
    with caplog.at_level(logging.WARNING):
        output = write_preview([bad, small], tmp_path / "sheet.png", seed=0, columns=2)
    assert read(output).shape[1] > 2 * 2 * 2 * 30
    assert "bad.jpg" in caplog.text


def test_nothing_to_show_is_said_and_nothing_written(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    for paths in ([], [bad]):
        with pytest.raises(FileNotFoundError, match="None of the pictures can be read"):
            write_preview(paths, tmp_path / "sheet.png", seed=0)
    with pytest.raises(ValueError, match="columns must be at least 1"):
        write_preview([bad], tmp_path / "sheet.png", seed=0, columns=0)
    assert not (tmp_path / "sheet.png").exists()
