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

_PAGE_CROPS = 2  # a page's sides, in those of a crop
_SPARSE_SHARE = 0.6  # of the pages lack lines
_KEPT_LINES = (0.05, 0.9)  # of such a page's
_MOST_BOXES = 4  # frames, fields and rules
_RULE_SHARE = 0.3  # of those are 1 or 2 px high
_TEXTURE_SHARE = 0.25  # of the pages have a faint pattern on a part of their paper
_TEXTURE_PX = (3, 13)  # after so many it repeats
_TEXTURE_LEVELS = (1.0, 9.0)  # the largest change
_STRIP_SHARE = 0.7  # of the patterns do not cover the page
_PURE_SHARE = 0.5  # of the pages are white or black
_SUBPIXEL_SHARE = 0.25  # of the pages have letters with coloured edges
_SUBPIXEL_PX = 1 / 3


def draw_page_crop(
    picture: ImageArray, rng: np.random.Generator, crop_px: int, *, fonts: Sequence[Path] = ()
) -> ImageArray:
    """A part (crop_px, crop_px, 3) uint8 RGB of a page of text, with some of it, where it fits.

    Args:
        picture: (H, W, 3) uint8 RGB of any size, parts of which some pages show.
        fonts: files of which two are drawn; none = Pillow's own.
    """
    side_px = _PAGE_CROPS * crop_px
    page = draw_page([picture], rng, (side_px, side_px), fonts=fonts)
    image = page.image.copy()
    line = _take_lines_out(image, page, rng)
    for _ in range(rng.integers(_MOST_BOXES + 1)):
        _draw_box(image, rng)
    if rng.random() < _PURE_SHARE:
        image = _on_pure_paper(image, page)
    if rng.random() < _TEXTURE_SHARE:
        _draw_texture(image, rng)
    if rng.random() < _SUBPIXEL_SHARE:
        image = _with_subpixels(image)
    middles = ((line.top + line.bottom) // 2, int(rng.integers(line.left, line.right)))
    top, left = (_start(rng, middle, crop_px, side_px) for middle in middles)
    return np.ascontiguousarray(image[top : top + crop_px, left : left + crop_px])


def _take_lines_out(image: ImageArray, page: Page, rng: np.random.Generator) -> Box:
    """Leaves all lines or a few, at least one, in place; returns one, or all of a page of none."""
    height, width = image.shape[:2]
    lines = [
        Box(line.top, line.bottom, max(0, line.left), min(width, line.right))
        for line in page.lines
        if line.bottom <= height and line.left < width and line.right > max(0, line.left)
    ]
    if not lines:
        return Box(0, height, 0, width)
    staying = lines[int(rng.integers(len(lines)))]
    share = rng.uniform(*_KEPT_LINES) if rng.random() < _SPARSE_SHARE else 1.0
    for line in lines:
        if line != staying and rng.random() >= share:
            image[line.top : line.bottom, line.left : line.right] = page.paper
    return staying


def _start(rng: np.random.Generator, middle: int, crop_px: int, side_px: int) -> int:
    """Where a crop begins that has this row, or column, of the page in it."""
    start = middle - int(rng.integers(crop_px))
    return min(max(0, start), side_px - crop_px)


def _draw_box(image: ImageArray, rng: np.random.Generator) -> None:
    """A frame, a rule, or a field of another colour that the text is seen through, in place."""
    height, width = image.shape[:2]
    top, left = (int(rng.integers(-side // 4, side)) for side in (height, width))
    is_rule = rng.random() < _RULE_SHARE
    bottom = top + int(rng.integers(1, 3) if is_rule else rng.integers(8, height))
    right = left + int(rng.integers(8, width))
    if rng.random() < 0.5:
        colour = [int(level) for level in drawn_colour(rng)]
        cv2.rectangle(image, (left, top), (right, bottom), colour, int(rng.integers(1, 3)))
        return
    field = image[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    shift = rng.integers(-30, 31, 3)
    field[:] = np.clip(field.astype(np.int16) + shift, 0, 255).astype(np.uint8)


def _on_pure_paper(image: ImageArray, page: Page) -> ImageArray:
    """On white, or on black, as most screens are."""
    paper = np.array(page.paper, np.int16)
    levels = image.astype(np.int16) - (paper if page.is_dark else paper - 255)
    pure: ImageArray = levels.clip(0, 255).astype(np.uint8)
    return pure


def _draw_texture(image: ImageArray, rng: np.random.Generator) -> None:
    """A faint, smooth pattern on the paper of all of the page or of a strip of it, in place."""
    height, width = image.shape[:2]
    period_px = rng.integers(*_TEXTURE_PX, 2)
    repeats = (height // period_px[0] + 1, width // period_px[1] + 1)
    grain = np.tile(rng.normal(size=period_px).astype(np.float32), repeats)[:height, :width]
    smooth = cv2.GaussianBlur(grain, (0, 0), float(rng.uniform(0.5, 1.5)))
    levels = smooth * (rng.uniform(*_TEXTURE_LEVELS) / np.abs(smooth).max())
    tints = rng.uniform(0.3, 1, 3) if rng.random() < 0.5 else np.ones(3)
    is_paper = (cv2.Laplacian(image, cv2.CV_16S) == 0).all(axis=2)
    if rng.random() < _STRIP_SHARE:
        left, right = np.sort(rng.integers(0, width + 1, 2))
        is_paper[:, :left] = is_paper[:, right:] = False
    changed = image[is_paper] + levels[is_paper, None] * tints
    image[is_paper] = changed.round().clip(0, 255).astype(np.uint8)


def _with_subpixels(image: ImageArray) -> ImageArray:
    """Red and blue a third of a pixel to either side, as on screens that draw on subpixels."""
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
    return shifted
