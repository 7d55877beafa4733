"""A page as documents, mails and editors show it: dense text in columns, headings, pictures.

Drawn larger and reduced for some, as screens are that are shared at a lower resolution.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from trainer.operators import ImageArray

__all__ = [
    "Box",
    "Page",
    "draw_page",
    "drawn_colour",
    "drawn_font",
    "find_fonts",
    "font_facts",
    "part_of",
    "random_words",
]

_Font = ImageFont.FreeTypeFont
_Colour = tuple[int, ...]

_TRIED_LETTERS = "aenot"
_FONT_SUFFIXES = (".otf", ".ttc", ".ttf")
_LETTERS = (
    "eeeettttaaaooiinnsshhrrddlluccmmwffggyyppbbvvkkjxqzETAOINSHRDLU0123456789.,;:()[]{}=+-_/*"
)
_LONGEST_WORD = 12
_DARK_SHARE = 0.3
_GREY_SHARE = 0.6  # of the pages: paper, ink and viewer without a colour
_BODY_PX = (6.0, 18.0)  # height of the text, of the reduced page
_COLUMN_SHARES = (0.6, 0.3, 0.1)  # one, two, three
_REDUCTIONS = (1.0, 1.0, 1.5, 2.0)
_LONGEST_PARAGRAPH = 14  # lines


@dataclass(frozen=True, slots=True)
class Box:
    """Rows `top` to before `bottom`, columns `left` to before `right`, px."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True, slots=True)
class Page:
    """(H, W, 3) uint8 RGB, and where text and pictures are, from above to below by columns.

    `paper` is the colour that is written on, levels of red, green and blue.
    """

    image: ImageArray
    lines: tuple[Box, ...]
    pictures: tuple[Box, ...]
    is_dark: bool
    paper: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Style:
    """How a page looks; lengths in px of the page before it is reduced."""

    font: _Font
    heading_font: _Font
    line_px: float
    ink: _Colour
    colours: tuple[_Colour, ...]  # of the words, as editors have them; none = the ink
    is_justified: bool
    is_indented: bool
    picture_share: float  # of the paragraphs


def find_fonts(folder: Path) -> list[Path]:
    """The TrueType and OpenType fonts below a folder, sorted.

    Raises:
        FileNotFoundError: there is none that can be read and has Latin letters.
    """
    found = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _FONT_SUFFIXES]
    readable = [path for path in found if _has_letters(path)]
    if not readable:
        raise FileNotFoundError(
            f"{folder} holds no TrueType or OpenType font with Latin letters. Pass some."
        )
    return readable


def font_facts(fonts: Sequence[Path]) -> str:
    """Their names and what is in them, in one line: which letters are drawn."""
    sums = (hashlib.sha256(font.read_bytes()).hexdigest()[:8] for font in fonts)
    return " ".join(f"{font.name}:{digits}" for font, digits in zip(fonts, sums, strict=True))


def _has_letters(path: Path) -> bool:
    """Whether it is a font in which letters differ: not one of symbols, or of boxes for them."""
    try:
        font = ImageFont.truetype(path, 24)
        looks = {bytes(font.getmask(letter)) for letter in _TRIED_LETTERS}
        return font.getlength(" ") > 0 and len(looks) == len(_TRIED_LETTERS)
    except OSError:
        return False


def drawn_font(rng: np.random.Generator, fonts: Sequence[Path], height_px: int) -> _Font:
    """One of the fonts; Pillow's own if there is none."""
    return _font(fonts[int(rng.integers(len(fonts)))] if fonts else None, height_px)


@lru_cache(maxsize=512)
def _font(path: Path | None, height_px: int) -> _Font:
    if path is not None:
        return ImageFont.truetype(path, height_px)
    own = ImageFont.load_default(height_px)
    assert isinstance(own, _Font)
    return own


def drawn_colour(rng: np.random.Generator) -> _Colour:
    """Any RGB, in levels of 255."""
    return _rgb(rng.integers(0, 256, 3))


def random_words(rng: np.random.Generator, count: int) -> list[str]:
    """Words of letters as frequent as in English, with some digits and brackets."""
    letters = rng.integers(len(_LETTERS), size=(count, _LONGEST_WORD))
    lengths = 1 + rng.binomial(_LONGEST_WORD - 1, 0.35, size=count)
    return [
        "".join(_LETTERS[at] for at in row[:length])
        for row, length in zip(letters, lengths, strict=True)
    ]


def part_of(
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


def draw_page(
    pictures: Sequence[ImageArray],
    rng: np.random.Generator,
    size_px: tuple[int, int],
    *,
    fonts: Sequence[Path] = (),
    line_share: float = 1.0,
) -> Page:
    """A page of text, with parts of the pictures between the paragraphs.

    Args:
        pictures: at least one, (H, W, 3) uint8 RGB of any size.
        size_px: (height, width).
        fonts: files of which two are drawn; none = Pillow's own.
        line_share: of the lines are written; the places of the others stay empty.
    """
    reduction = float(rng.choice(_REDUCTIONS))
    height, width = (round(reduction * side) for side in size_px)
    is_dark = bool(rng.random() < _DARK_SHARE)
    channels = 1 if rng.random() < _GREY_SHARE else 3
    paper = rng.integers(0, 60, channels) if is_dark else rng.integers(225, 256, channels)
    paper_colour = _rgb(paper)
    canvas = Image.new("RGB", (width, height), paper_colour)
    draw = ImageDraw.Draw(canvas)
    left, right = 0, width
    if rng.random() < 0.4:  # a sheet before the grey of its viewer
        left, right = int(rng.uniform(0, 0.2) * width), int(rng.uniform(0.8, 1) * width)
        desk = _rgb(rng.integers(30, 200, channels))
        draw.rectangle((0, 0, left, height), fill=desk)
        draw.rectangle((right, 0, width, height), fill=desk)
    low, high = (170, 256) if is_dark else (0, 90)
    ink = _rgb(rng.integers(low, high, channels))
    style = _style(rng, reduction, ink, fonts)
    sheet = _Sheet(canvas, draw, rng, style, line_share)
    columns = 1 + int(rng.choice(3, p=_COLUMN_SHARES))
    gap = rng.uniform(0.5, 3) * style.line_px
    top = gap
    if rng.random() < 0.6:
        for _ in range(rng.integers(1, 4)):
            title = " ".join(random_words(rng, int(rng.integers(2, 8))))
            middle = (left + right) / 2 - style.heading_font.getlength(title) / 2
            draw.text((middle, top), title, font=style.heading_font, fill=style.ink)
            top += 1.3 * style.heading_font.size
        top += gap
    across = (right - left - gap) / columns
    for column in range(columns):
        start = left + gap + column * across
        sheet.fill_column(pictures, top, start, start + across - gap)
    image = np.array(canvas)
    if reduction > 1:
        image = cv2.resize(image, size_px[::-1], interpolation=cv2.INTER_AREA)
    lines, shown = (
        tuple(_reduced(box, reduction) for box in boxes) for boxes in (sheet.lines, sheet.pictures)
    )
    return Page(image, lines, shown, is_dark, paper_colour)


def _style(
    rng: np.random.Generator, reduction: float, ink: _Colour, fonts: Sequence[Path]
) -> _Style:
    body_px = reduction * rng.uniform(*_BODY_PX)
    return _Style(
        font=drawn_font(rng, fonts, round(body_px)),
        heading_font=drawn_font(rng, fonts, round(body_px * rng.uniform(1.2, 2.6))),
        line_px=body_px * rng.uniform(1.05, 1.7),
        ink=ink,
        colours=tuple(drawn_colour(rng) for _ in range(4 * int(rng.random() < 0.25))),
        is_justified=bool(rng.random() < 0.4),
        is_indented=bool(rng.random() < 0.3),
        picture_share=float(rng.choice([0.0, 0.05, 0.3])),
    )


@dataclass(frozen=True, slots=True)
class _Sheet:
    """What is drawn on, by what, with which chances and looks, and what has been drawn."""

    canvas: Image.Image
    draw: ImageDraw.ImageDraw
    rng: np.random.Generator
    style: _Style
    line_share: float
    lines: list[Box] = field(default_factory=list)
    pictures: list[Box] = field(default_factory=list)

    def fill_column(
        self, pictures: Sequence[ImageArray], top: float, left: float, right: float
    ) -> None:
        """Writes and shows pictures down to the bottom."""
        rng, style = self.rng, self.style
        while top < self.canvas.height:
            if rng.random() < style.picture_share:
                most = (max(1, self.canvas.height // 3), max(1, int(right - left)))
                part = part_of(pictures, rng, most)
                self.canvas.paste(Image.fromarray(part), (int(left), int(top)))
                height, width = part.shape[:2]
                at = (int(top), int(top) + height, int(left), int(left) + width)
                self.pictures.append(Box(*at))
                top += len(part) + style.line_px
            for _ in range(rng.integers(1, _LONGEST_PARAGRAPH + 1)):
                indent = style.line_px * int(rng.integers(0, 5)) if style.is_indented else 0.0
                if self.line_share == 1 or rng.random() < self.line_share:
                    end = self._line(top, left + indent, right)
                    line = Box(int(top), int(top + style.line_px), int(left), int(end))
                    self.lines.append(line)
                top += style.line_px
            top += style.line_px * rng.choice([0.0, 0.5, 1.0])

    def _line(self, top: float, left: float, right: float) -> float:
        """Writes words, as many as there is room for or, on some lines, fewer; where they end."""
        rng, style = self.rng, self.style
        space = max(1.0, style.font.getlength(" "))
        room = (right - left) * (1.0 if style.is_justified else rng.uniform(0.3, 1))
        words: list[tuple[str, float]] = []
        for word in random_words(rng, 1 + max(0, int(room / (2 * space)))):
            length = style.font.getlength(word)
            if words and room < length:
                break
            words.append((word, length))
            room -= length + space
        if style.is_justified and len(words) > 2:
            space += max(0.0, room + space) / (len(words) - 1)
        for word, length in words:
            ink = style.colours[int(rng.integers(4))] if style.colours else style.ink
            self.draw.text((left, top), word, font=style.font, fill=ink)
            left += length + space
        return left - space


def _reduced(box: Box, reduction: float) -> Box:
    edges = (box.top, box.bottom, box.left, box.right)
    return Box(*(round(edge / reduction) for edge in edges))


def _rgb(levels: npt.NDArray[np.int64]) -> _Colour:
    """Of one level, which is that of all channels, or of three."""
    return tuple(int(level) for level in np.broadcast_to(levels, 3))
