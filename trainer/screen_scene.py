"""A shared screen that is worked on: text that is typed and scrolled, windows that come and go.

What changes on a screen changes at once and in sharp-edged places, unlike what `call_scene` films.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from trainer.operators import ImageArray

__all__ = ["screen_scene"]

_Colour = tuple[int, ...]

_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_PLAIN,
)
_LETTERS = (
    "eeeettttaaaooiinnsshhrrddlluccmmwffggyyppbbvvkkjxqzETAOINSHRDLU0123456789.,;:()[]{}=+-_/*"
)
_SPACE_SHARE = 0.17
_MAX_WINDOWS = 3
_EVENT_SHARE = 0.12  # of the frames in which something begins or ends


@dataclass(frozen=True, slots=True)
class _Window:
    """A picture or a page at a place of the screen, from one frame to before another one."""

    content: ImageArray
    top: int
    left: int
    begin: int
    end: int


def screen_scene(
    pictures: Sequence[ImageArray],
    rng: np.random.Generator,
    *,
    frames: int,
    size_px: tuple[int, int],
) -> ImageArray:
    """A clip (T, H, W, 3) uint8 RGB of a screen.

    A page of text and pictures, which stands, scrolls a few px a frame or jumps; a line that is
    typed; windows that open and close; a pointer.

    Args:
        pictures: at least one, (H, W, 3) uint8 RGB of any size; parts of them are shown.
        size_px: (height, width) of the screen.
    """
    height, width = size_px
    page = _page(pictures, rng, (2 * height + 8 * frames, width))
    offsets = _scrolled(rng, frames, len(page) - height)
    windows = [
        _window(pictures, rng, frames, size_px) for _ in range(rng.integers(0, _MAX_WINDOWS + 1))
    ]
    typed = "".join(rng.choice(list(_LETTERS), 60))
    pace = rng.uniform(0, 2.5)
    typed_at = (int(rng.integers(0, width // 2)), int(rng.integers(20, height)))
    font, ink = _FONTS[rng.integers(len(_FONTS))], _colour(rng)
    pointer = np.cumsum(rng.normal(size=(frames, 2)) * rng.uniform(0, 8), axis=0)
    pointer += rng.uniform(0.1, 0.9, 2) * (width, height)
    clip = np.empty((frames, height, width, 3), np.uint8)
    for t in range(frames):
        screen = clip[t]
        screen[:] = page[offsets[t] : offsets[t] + height]
        for window in windows:
            if window.begin <= t < window.end:
                below = window.content[: height - window.top, : width - window.left]
                screen[window.top :, window.left :][: len(below), : below.shape[1]] = below
        _write(screen, typed[: int(t * pace)], typed_at, font=font, scale=0.5, ink=ink)
        tip = np.rint(pointer[t]).astype(int)
        corners = tip + np.array([(0, 0), (0, 14), (10, 10)])
        cv2.fillPoly(screen, [corners.astype(np.int32)], (20, 20, 20), cv2.LINE_AA)
    return clip


def _page(
    pictures: Sequence[ImageArray], rng: np.random.Generator, size_px: tuple[int, int]
) -> ImageArray:
    height, width = size_px
    is_dark = rng.random() < 0.4
    paper = rng.integers(0, 60, 3) if is_dark else rng.integers(220, 256, 3)
    page = np.empty((height, width, 3), np.uint8)
    page[:] = paper
    for _ in range(rng.integers(0, 4)):
        content = _part(pictures, rng, (height // 2, width))
        top = rng.integers(0, height - len(content) + 1)
        left = rng.integers(0, width - content.shape[1] + 1)
        page[top : top + len(content), left : left + content.shape[1]] = content
    scale = rng.uniform(0.35, 0.9)
    step = int(30 * scale + rng.uniform(4, 14))
    font = _FONTS[rng.integers(len(_FONTS))]
    ink = rng.integers(180, 256, 3) if is_dark else rng.integers(0, 90, 3)
    is_coloured = rng.random() < 0.3
    for baseline in range(step, height, step):
        if rng.random() < 0.15:
            continue
        count = int(rng.uniform(0.2, 1.0) * width / (18 * scale))
        letters = rng.choice(list(_LETTERS), count)
        letters[rng.random(count) < _SPACE_SHARE] = " "
        colour = _colour(rng) if is_coloured else tuple(int(level) for level in ink)
        at = (int(rng.integers(4, 60)), baseline)
        _write(page, "".join(letters), at, font=font, scale=scale, ink=colour)
    return page


def _write(
    image: ImageArray, text: str, at: tuple[int, int], *, font: int, scale: float, ink: _Colour
) -> None:
    cv2.putText(image, text, at, font, scale, ink, 1, cv2.LINE_AA)


def _colour(rng: np.random.Generator) -> _Colour:
    return tuple(int(level) for level in rng.integers(0, 256, 3))


def _part(
    pictures: Sequence[ImageArray], rng: np.random.Generator, largest_px: tuple[int, int]
) -> ImageArray:
    """A random part of a random picture."""
    picture = pictures[int(rng.integers(len(pictures)))]
    height, width = (
        int(rng.integers(min(24, side), side + 1))
        for side in (min(picture.shape[axis], largest_px[axis]) for axis in (0, 1))
    )
    top = rng.integers(0, picture.shape[0] - height + 1)
    left = rng.integers(0, picture.shape[1] - width + 1)
    part: ImageArray = picture[top : top + height, left : left + width]
    return part


def _window(
    pictures: Sequence[ImageArray], rng: np.random.Generator, frames: int, size_px: tuple[int, int]
) -> _Window:
    content = (
        _part(pictures, rng, size_px)
        if rng.random() < 0.5
        else _page(pictures, rng, (size_px[0] // 2, size_px[1] // 2))
    )
    begin, end = np.sort(rng.integers(-frames // 2, frames + frames // 2, 2))
    top, left = (int(rng.integers(0, side)) for side in size_px)
    return _Window(content, top, left, int(begin), int(end))


def _scrolled(rng: np.random.Generator, frames: int, most_px: int) -> npt.NDArray[np.int64]:
    """(T,): the first row of the page that is seen."""
    offset = int(rng.integers(0, most_px + 1))
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
