"""Crops of drawn pages: their size, their text, and how much of them is paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.service.pictures import sample
from trainer.operators import ImageArray
from trainer.page_crops import draw_page_crop

CROP_PX = 96
BLOCK_PX = 8


def drawn(seed: int, fonts: Sequence[Path] = ()) -> ImageArray:
    return draw_page_crop(sample("museum"), np.random.default_rng(seed), CROP_PX, fonts=fonts)


def share_of_plain_blocks(image: ImageArray) -> float:
    across = CROP_PX // BLOCK_PX
    blocks = image.reshape(across, BLOCK_PX, across, BLOCK_PX, 3).swapaxes(1, 2)
    return float((np.ptp(blocks.astype(int), axis=(2, 3)).max(-1) == 0).mean())


@pytest.fixture(scope="module")
def pages() -> list[ImageArray]:
    return [drawn(seed) for seed in range(40)]


def test_a_crop_has_its_size_whatever_is_drawn(pages: list[ImageArray]) -> None:
    assert {page.shape for page in pages} == {(CROP_PX, CROP_PX, 3)}
    assert {page.dtype for page in pages} == {np.dtype(np.uint8)}


def test_nearly_every_crop_has_ink_on_it(pages: list[ImageArray]) -> None:
    inked = [bool((np.ptp(page.astype(int), axis=(0, 1)) > 80).any()) for page in pages]
    assert np.mean(inked) > 0.9


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


def test_some_letters_have_coloured_edges_on_grey_pages(pages: list[ImageArray]) -> None:
    coloured = [bool((np.ptp(page.astype(int), axis=2) > 0).any()) for page in pages]
    assert {True, False} == set(coloured)


def test_a_crop_depends_on_its_seed_alone() -> None:
    np.testing.assert_array_equal(drawn(3), drawn(3))
    assert (drawn(3) != drawn(4)).any()


def test_the_picture_that_a_page_shows_stays_as_it_is() -> None:
    picture = sample("museum")
    before = picture.copy()
    for seed in range(12):
        draw_page_crop(picture, np.random.default_rng(seed), CROP_PX)
    np.testing.assert_array_equal(picture, before)
