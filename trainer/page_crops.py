"""Crops of drawn pages: crisp type on a plain ground, from densely written to nearly empty.

Photographs and reduced screenshots have detail nearly everywhere. Of a shared document most is
paper, and a student that has not seen such pictures misjudges how they are degraded.

Pure: images in, images out. All choices come from the generator passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from trainer.operators import ImageArray
from trainer.screen_page import Box, Page, draw_page, drawn_colour

__all__ = ["draw_page_crop"]

_PAGE_CROPS = 1.5  # a page's sides, in those of a crop
_TRIES = 4
_BLANK_LEVELS = 24  # between the darkest and the lightest of a crop that shows nothing
_EMPTY_SHARE = 0.08  # of the crops are of one colour, as a screen that shows nothing yet
_PRIMARY_SHARE = 0.5  # of these have each of red, green and blue at its least or most
_SPARSE_SHARE = 0.6  # of the pages lack lines
_WRITTEN_LINES = (0.05, 0.9)  # of such a page's
_MOST_BOXES = 4  # rules, frames and fields
_RULE_SHARE = 0.3
_RULE_PX = (1, 3)
_FRAME_SHARE = 0.35
_FIELD_LEVELS = 30  # by which its colour differs at most
_TEXTURE_SHARE = 0.25  # of the pages have a faint pattern on a part of what is plain
_TEXTURE_PX = (3, 13)  # after so many it repeats
_TEXTURE_LEVELS = (1.0, 9.0)  # the largest change
_STRIP_SHARE = 0.7  # of the patterns do not cover the page
_PURE_SHARE = 0.5  # of the pages are white or black
_SUBPIXEL_SHARE = 0.25  # of the pages have letters with coloured edges
_SUBPIXEL_PX = 1 / 3


def draw_page_crop(
    picture: ImageArray, rng: np.random.Generator, crop_px: int, *, fonts: Sequence[Path] = ()
) -> ImageArray:
    """A part (crop_px, crop_px, 3) uint8 RGB of a page of text.

    Some show one colour and nothing else.

    Args:
        picture: (H, W, 3) uint8 RGB of any size, parts of which some pages show.
        fonts: files of which two are drawn; none = Pillow's own.
    """
    if rng.random() < _EMPTY_SHARE:
        is_primary = rng.random() < _PRIMARY_SHARE
        colour = 255 * rng.integers(0, 2, 3) if is_primary else rng.integers(0, 256, 3)
        return np.full((crop_px, crop_px, 3), colour, np.uint8)
    side_px = round(_PAGE_CROPS * crop_px)
    for _ in range(_TRIES):
        is_sparse = rng.random() < _SPARSE_SHARE
        line_share = float(rng.uniform(*_WRITTEN_LINES)) if is_sparse else 1.0
        page = draw_page([picture], rng, (side_px, side_px), fonts=fonts, line_share=line_share)
        lines = [line for line in page.lines if line.bottom < side_px and 0 <= line.left < side_px]
        line = lines[int(rng.integers(len(lines)))] if lines else Box(0, side_px, 0, side_px)
        top = _start_around(rng.integers(line.top, line.bottom), rng, crop_px, side_px)
        left = _start_around(
            rng.integers(line.left, max(line.left + 1, line.right)), rng, crop_px, side_px
        )
        window = np.s_[top : top + crop_px, left : left + crop_px]
        if np.ptp(page.image[window].astype(np.int16)) > _BLANK_LEVELS:
            break
    return np.ascontiguousarray(_finished(page, rng)[window])


def _start_around(
    place: np.int64 | int, rng: np.random.Generator, crop_px: int, side_px: int
) -> int:
    """Where a crop begins that has this row, or column, of the page in it."""
    return min(max(0, int(place) - int(rng.integers(crop_px))), side_px - crop_px)


def _finished(page: Page, rng: np.random.Generator) -> ImageArray:
    """What is on a page besides text and pictures, and how its colours come out."""
    image = page.image
    for _ in range(rng.integers(_MOST_BOXES + 1)):
        _draw_box(image, rng)
    if rng.random() < _PURE_SHARE:
        image = _on_pure_paper(image, page)
    if rng.random() < _TEXTURE_SHARE:
        _draw_texture(image, rng)
    return _with_subpixels(image, page.pictures) if rng.random() < _SUBPIXEL_SHARE else image


def _draw_box(image: ImageArray, rng: np.random.Generator) -> None:
    """A rule, a frame, or a field of another colour that is seen through, in place."""
    height, width = image.shape[:2]
    top, left = (int(rng.integers(-side // 4, side)) for side in (height, width))
    right = left + int(rng.integers(8, width))
    colour = [int(level) for level in drawn_colour(rng)]
    kind = rng.random()
    if kind < _RULE_SHARE:
        bottom = top + int(rng.integers(*_RULE_PX)) - 1
        cv2.rectangle(image, (left, top), (right, bottom), colour, cv2.FILLED)
        return
    bottom = top + int(rng.integers(8, height))
    if kind < _RULE_SHARE + _FRAME_SHARE:
        cv2.rectangle(image, (left, top), (right, bottom), colour, int(rng.integers(1, 3)))
        return
    field = image[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    shift = rng.integers(-_FIELD_LEVELS, _FIELD_LEVELS + 1, 3)
    field[:] = np.clip(field.astype(np.int16) + shift, 0, 255).astype(np.uint8)


def _on_pure_paper(image: ImageArray, page: Page) -> ImageArray:
    """On white, or on black, as most screens are."""
    paper = np.array(page.paper, np.int16)
    levels = image.astype(np.int16) - (paper if page.is_dark else paper - 255)
    pure: ImageArray = levels.clip(0, 255).astype(np.uint8)
    return pure


def _draw_texture(image: ImageArray, rng: np.random.Generator) -> None:
    """A faint, smooth pattern on what is plain, of all of the page or of a strip, in place."""
    height, width = image.shape[:2]
    period_px = rng.integers(*_TEXTURE_PX, 2)
    repeats = (height // period_px[0] + 1, width // period_px[1] + 1)
    grain = np.tile(rng.normal(size=period_px).astype(np.float32), repeats)[:height, :width]
    smooth = cv2.GaussianBlur(grain, (0, 0), float(rng.uniform(0.5, 1.5)))
    levels = smooth * (rng.uniform(*_TEXTURE_LEVELS) / np.abs(smooth).max())
    tints = rng.uniform(0.3, 1, 3) if rng.random() < 0.5 else np.ones(3)
    is_plain = (cv2.Laplacian(image, cv2.CV_16S) == 0).all(axis=2)
    if rng.random() < _STRIP_SHARE:
        left, right = np.sort(rng.integers(0, width + 1, 2))
        is_plain[:, :left] = is_plain[:, right:] = False
    changed = image[is_plain] + levels[is_plain, None] * tints
    image[is_plain] = changed.round().clip(0, 255).astype(np.uint8)


def _with_subpixels(image: ImageArray, pictures: Sequence[Box]) -> ImageArray:
    """Red and blue a third of a pixel to either side, as letters on subpixels are drawn.

    Args:
        pictures: where there are no letters.
    """
    shifted = image.copy()
    for channel, shift_px in ((0, _SUBPIXEL_PX), (2, -_SUBPIXEL_PX)):
        move = np.array([[1, 0, shift_px], [0, 1, 0]], np.float32)
        shifted[..., channel] = cv2.warpAffine(
            image[..., channel],
            move,
            image.shape[1::-1],
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
    for box in pictures:
        inside = np.s_[box.top : box.bottom, max(0, box.left) : box.right]
        shifted[inside] = image[inside]
    return shifted
