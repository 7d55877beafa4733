"""Grids: the right pictures in the right places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainer.evaluations import case
from trainer.picture_grid import draw_grid, write_grids


def test_a_row_holds_input_student_and_clean_at_their_own_size() -> None:
    grid = np.array(draw_grid([case("a.jpg", 1.0), case("b.jpg", -1.0)]))
    # Rows of 32 px under titles of 26, columns of 48, gaps of 8.
    assert grid.shape == (8 + 2 * (26 + 32 + 8), 8 + 3 * (48 + 8), 3)
    for top in (34, 34 + 66):
        for left, level in ((8, 60), (64, 180), (120, 20)):
            assert (grid[top : top + 32, left : left + 48] == level).all()


def test_each_protocol_gets_a_file_with_its_best_median_and_worst(tmp_path: Path) -> None:
    cases = [
        case("a.jpg", -1.0, rank="worst 1"),
        case("b.jpg", -0.5, rank="worst 2"),
        case("c.jpg", 0.1, rank="median"),
        case("d.jpg", 2.0, rank="best"),
        case("talk.mp4", 0.2, protocol="H264 / ../x", rank="100 kbit/s"),
    ]
    paths = write_grids(tmp_path / "grids", cases)
    assert [path.name for path in paths] == ["grid-webcam.png", "grid-h264-..-x.png"]
    assert sorted(path.name for path in (tmp_path / "grids").iterdir()) == sorted(
        path.name for path in paths
    )
    heights = []
    for path in paths:
        with Image.open(path) as grid:
            heights.append(grid.height)
    assert heights == [8 + 3 * 66, 8 + 66]


def test_names_in_other_scripts_are_no_error() -> None:
    draw_grid([case("画像 <ü>.jpg", 1.0)])


def test_a_grid_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one example"):
        draw_grid([])
    with pytest.raises(ValueError, match="no 'teacher'"):
        draw_grid([case("a.jpg", 1.0)], ("input", "teacher"))
