"""A shared screen that is worked on: typed, marked and scrolled text, windows that come and go.

What changes on a screen changes at once and in sharp-edged places, unlike what `call_scene` films.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from trainer.operators import ImageArray
from trainer.screen_page import (
    Page,
    draw_page,
    drawn_colour,
    drawn_font,
    part_of,
    random_words,
)

__all__ = ["screen_scene"]

_MAX_WINDOWS = 3
_STILL_SHARE = 0.5  # of the pages
_EVENT_SHARE = 0.12  # of the frames in which something begins or ends
_MARKED_SHARE = 0.4  # of the clips
_TYPED_PX = (9, 24)  # height of the text


@dataclass(frozen=True, slots=True)
class _Window:
    """A picture or a page at a place of the screen, from one frame to before another one."""

    content: Image.Image
    top: int
    left: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class _Mark:
    """Lines of a page that are marked: from one line and frame on, so many more each frame."""

    first: int
    pace: float
    begin: int
    end: int
    colour: npt.NDArray[np.uint16]


def screen_scene(
    pictures: Sequence[ImageArray],
    rng: np.random.Generator,
    *,
    frames: int,
    size_px: tuple[int, int],
    fonts: Sequence[Path] = (),
) -> ImageArray:
    """A clip (T, H, W, 3) uint8 RGB of a screen.

    A page of text and pictures, which stands, scrolls a few px a frame or jumps; lines that are
    marked one after the other; a line that is typed; windows that open and close; a pointer.

    Args:
        pictures: at least one, (H, W, 3) uint8 RGB of any size; parts of them are shown.
        size_px: (height, width) of the screen.
        fonts: of the text; none = Pillow's own.
    """
    height, width = size_px
    page = draw_page(pictures, rng, (2 * height + 8 * frames, width), fonts=fonts)
    offsets = _scrolled(rng, frames, len(page.image) - height)
    mark = _mark(rng, page, frames, offsets[0]) if rng.random() < _MARKED_SHARE else None
    windows = [
        _window(pictures, rng, frames, size_px, fonts)
        for _ in range(rng.integers(0, _MAX_WINDOWS + 1))
    ]
    typed = " ".join(random_words(rng, 15))
    pace = rng.uniform(0, 2.5)
    typed_at = (int(rng.integers(0, width // 2)), int(rng.integers(20, height)))
    font = drawn_font(rng, fonts, int(rng.integers(*_TYPED_PX)))
    ink = drawn_colour(rng)
    pointer = np.cumsum(rng.normal(size=(frames, 2)) * rng.uniform(0, 8), axis=0)
    pointer += rng.uniform(0.1, 0.9, 2) * (width, height)
    clip = np.empty((frames, height, width, 3), np.uint8)
    for t in range(frames):
        screen = Image.fromarray(_marked(page, mark, t)[offsets[t] : offsets[t] + height])
        for window in windows:
            if window.begin <= t < window.end:
                screen.paste(window.content, (window.left, window.top))
        ImageDraw.Draw(screen).text(typed_at, typed[: int(t * pace)], font=font, fill=ink)
        clip[t] = np.asarray(screen)
        tip = np.rint(pointer[t]).astype(int)
        corners = tip + np.array([(0, 0), (0, 14), (10, 10)])
        cv2.fillPoly(clip[t], [corners.astype(np.int32)], (20, 20, 20), cv2.LINE_AA)
    return clip


def _mark(rng: np.random.Generator, page: Page, frames: int, top: int) -> _Mark | None:
    seen = [at for at, line in enumerate(page.lines) if line.top >= top]
    if not seen:
        return None
    begin, end = _times(rng, frames)
    return _Mark(
        first=seen[int(rng.integers(min(len(seen), 20)))],
        pace=float(rng.uniform(0, 2)),
        begin=begin,
        end=end,
        colour=rng.integers(60, 256, 3).astype(np.uint16),
    )


def _marked(page: Page, mark: _Mark | None, t: int) -> ImageArray:
    if mark is None or not mark.begin <= t < mark.end:
        return page.image
    image = page.image.copy()
    last = mark.first + 1 + int(mark.pace * (t - mark.begin))
    for line in page.lines[mark.first : last]:
        levels = image[line.top : line.bottom, line.left : line.right]
        if page.is_dark:
            levels[:] = (levels + mark.colour) // 2
        else:
            levels[:] = levels * mark.colour // 255
    return image


def _window(
    pictures: Sequence[ImageArray],
    rng: np.random.Generator,
    frames: int,
    size_px: tuple[int, int],
    fonts: Sequence[Path],
) -> _Window:
    content = (
        part_of(pictures, rng, size_px)
        if rng.random() < 0.5
        else draw_page(pictures, rng, (size_px[0] // 2, size_px[1] // 2), fonts=fonts).image
    )
    begin, end = _times(rng, frames)
    top, left = (int(rng.integers(0, side)) for side in size_px)
    return _Window(Image.fromarray(content), top, left, begin, end)


def _times(rng: np.random.Generator, frames: int) -> tuple[int, int]:
    """From which frame on something is there, and before which one; also outside of the clip."""
    begin, end = sorted(rng.integers(-frames // 2, frames + frames // 2, 2).tolist())
    return begin, end


def _scrolled(rng: np.random.Generator, frames: int, most_px: int) -> npt.NDArray[np.int64]:
    """(T,): the first row of the page that is seen."""
    offset = int(rng.integers(0, most_px + 1))
    if rng.random() < _STILL_SHARE:
        return np.full(frames, offset)
    speed_px = 0
    offsets = np.empty(frames, np.int64)
    for t in range(frames):
        if rng.random() < _EVENT_SHARE:
            speed_px = int(rng.integers(-24, 25)) if speed_px == 0 else 0
        if rng.random() < _EVENT_SHARE / 2:
            offset = int(rng.integers(0, most_px + 1))
        offset = min(max(offset + speed_px, 0), most_px)
        offsets[t] = offset
    return offsets
