"""Pages of text to train on: where their lines are, and which fonts write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.service.pictures import sample
from tests.trainer.datasets import write_font
from trainer.screen_page import draw_page, drawn_font, find_fonts

SIZE_PX = (220, 320)


@pytest.mark.parametrize("seed", range(8))
def test_a_page_has_the_size_that_is_asked_for_and_text_in_its_lines(seed: int) -> None:
    page = draw_page([sample("museum")], np.random.default_rng(seed), SIZE_PX)
    assert page.image.shape == (*SIZE_PX, 3)
    assert page.image.dtype == np.uint8
    inside = [
        page.image[line.top : line.bottom, max(0, line.left) : line.right]
        for line in page.lines
        if line.bottom <= SIZE_PX[0] and line.right <= SIZE_PX[1]
    ]
    assert len(inside) > 3
    assert np.mean([np.ptp(part.astype(int)) > 60 for part in inside]) > 0.8  # ink on paper


def test_a_page_depends_on_its_seed_alone() -> None:
    one, again, other = (
        draw_page([sample("museum")], np.random.default_rng(s), SIZE_PX).image for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_fonts_are_found_below_a_folder_and_what_is_none_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "sans").mkdir()
    write_font(tmp_path / "sans" / "own.TTF")
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    (tmp_path / "readme.txt").write_text("fonts")
    fonts = find_fonts(tmp_path)
    assert fonts == [tmp_path / "sans" / "own.TTF"]
    assert drawn_font(np.random.default_rng(0), fonts, 14).getname() == ("Aileron", "Regular")
    page = draw_page([sample("museum")], np.random.default_rng(3), SIZE_PX, fonts=fonts)
    assert len(page.lines) > 3


def test_a_folder_without_fonts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no TrueType or OpenType font"):
        find_fonts(tmp_path)
