"""Crops of drawn pages: their size, their text, and how much of them is paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.service.pictures import sample
from trainer import page_crops
from trainer.operators import ImageArray
from trainer.page_crops import draw_page_crop

CROP_PX = 96
BLOCK_PX = 8


def drawn(seed: int, fonts: Sequence[Path] = ()) -> ImageArray:
    return draw_page_crop(sample("museum"), np.random.default_rng(seed), CROP_PX, fonts=fonts)


def drawn_with(share: str, seed: int) -> ImageArray:
    """A page that surely has what this share of the pages has."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(page_crops, share, 1.0)
        return drawn(seed)


def share_of_plain_blocks(image: ImageArray) -> float:
    across = CROP_PX // BLOCK_PX
    blocks = image.reshape(across, BLOCK_PX, across, BLOCK_PX, 3).swapaxes(1, 2)
    return float((np.ptp(blocks.astype(int), axis=(2, 3)).max(-1) == 0).mean())


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Pages of text and pictures alone, to which a test adds one thing."""
    for name in ("_MOST_BOXES", "_PURE_SHARE", "_TEXTURE_SHARE", "_SUBPIXEL_SHARE"):
        monkeypatch.setattr(page_crops, name, 0)
    return monkeypatch


@pytest.fixture(scope="module")
def pages() -> list[ImageArray]:
    return [drawn(seed) for seed in range(40)]


def test_a_crop_has_its_size_whatever_is_drawn(pages: list[ImageArray]) -> None:
    assert {page.shape for page in pages} == {(CROP_PX, CROP_PX, 3)}
    assert {page.dtype for page in pages} == {np.dtype(np.uint8)}


def test_nearly_every_crop_has_ink_on_it(pages: list[ImageArray]) -> None:
    inked = [bool((np.ptp(page.astype(int), axis=(0, 1)) > 80).any()) for page in pages]
    assert np.mean(inked) > 0.9


def test_a_few_crops_are_of_one_colour_half_of_them_of_a_primary_one() -> None:
    colours = [page[0, 0] for page in map(drawn, range(200)) if not np.ptp(page, axis=(0, 1)).any()]
    assert 8 < len(colours) < 30
    are_primary = [bool(np.isin(colour, (0, 255)).all()) for colour in colours]
    assert 0.2 < np.mean(are_primary) < 0.8
    assert len({tuple(colour) for colour in colours}) > 6


def test_some_crops_are_full_of_text_and_some_nearly_empty(pages: list[ImageArray]) -> None:
    plain = [share_of_plain_blocks(page) for page in pages]
    assert min(plain) < 0.3
    assert max(plain) > 0.8


def test_some_pages_are_white_some_black_and_some_neither(pages: list[ImageArray]) -> None:
    commonest = [
        np.bincount(page.reshape(-1, 3).mean(-1).round().astype(int), minlength=256).argmax()
        for page in pages
    ]
    assert {0, 255} < set(commonest)


@pytest.mark.usefixtures("plainly")
def test_letters_on_subpixels_have_red_and_blue_a_third_of_a_pixel_apart() -> None:
    shifted = 0
    for seed in range(8):
        before, after = drawn(seed), drawn_with("_SUBPIXEL_SHARE", seed)
        np.testing.assert_array_equal(after[..., 1], before[..., 1])
        for channel, neighbour in ((0, np.s_[:, :-2]), (2, np.s_[:, 2:])):
            old, new, beside = (
                part.astype(float)
                for part in (
                    before[:, 1:-1, channel],
                    after[:, 1:-1, channel],
                    before[..., channel][neighbour],
                )
            )
            is_shifted = np.abs(new - (2 * old + beside) / 3) <= 4  # OpenCV counts in 1/32 px
            assert (is_shifted | (new == old)).all()
            shifted += int((is_shifted & (np.abs(new - old) > 10)).sum())
    assert shifted > 1000


@pytest.mark.usefixtures("plainly")
def test_faint_patterns_are_on_what_is_plain_and_leave_ink_as_it_is() -> None:
    changed = 0
    for seed in range(8):
        before, after = drawn(seed), drawn_with("_TEXTURE_SHARE", seed)
        change = np.abs(after.astype(int) - before).max(axis=2)[1:-1, 1:-1]
        is_plain = (cv2.Laplacian(before, cv2.CV_16S) == 0).all(axis=2)[1:-1, 1:-1]
        assert change.max() <= 9
        assert not change[~is_plain].any()
        changed += int((change > 0).sum())
    assert changed > 8 * CROP_PX


def test_rules_frames_and_fields_are_drawn_on_some_pages(plainly: pytest.MonkeyPatch) -> None:
    seeds = range(40)
    before = [drawn(seed) for seed in seeds]
    plainly.setattr(page_crops, "_MOST_BOXES", 4)
    shares = [
        (drawn(seed) != page).any(axis=2).mean() for seed, page in zip(seeds, before, strict=True)
    ]
    assert 15 < np.count_nonzero(shares) <= 40
    assert np.ptp(shares) > 0.1


def test_the_letters_are_of_the_fonts_that_are_given(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot open"):
        drawn(3, [tmp_path / "gone.ttf"])


def test_a_crop_depends_on_its_seed_alone() -> None:
    np.testing.assert_array_equal(drawn(3), drawn(3))
    assert (drawn(3) != drawn(4)).any()


def test_the_picture_that_a_page_shows_stays_as_it_is() -> None:
    picture = sample("museum")
    before = picture.copy()
    for seed in range(12):
        draw_page_crop(picture, np.random.default_rng(seed), CROP_PX)
    np.testing.assert_array_equal(picture, before)
