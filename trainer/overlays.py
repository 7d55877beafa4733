"""What programs draw on a picture: name tags, captions, and other pictures beside it.

They are sharp where the picture is not, or degraded in another way. A student that has never seen
such pictures takes the sharpest part of them for the whole.

Pure: images in, images out. All choices come from the generator passed in.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from trainer.mixture import Mixture
from trainer.operators import ImageArray, compress_jpeg
from trainer.screen_page import drawn_colour, drawn_font, random_words
from trainer.steps import carry_out

__all__ = ["overlay_pair", "with_tile"]

_TEXT_SHARE = 0.5  # of the overlays; the others are pictures
_TEXT_PX = (9, 30)  # height of the letters
_BOX_SHARE = 0.6  # of the texts; the others have an outline
_BOX_OPACITY = (90, 255)
_SIDE_SHARES = (0.25, 0.7)  # of a picture's sides, where it does not reach from edge to edge
_STRIP_SHARE = 0.4  # of the pictures reach from edge to edge
_STRIP_SHARES = (0.2, 0.65)  # of the other side
_TILE_DEGRADED_SHARE = 0.5  # of the pictures are degraded, too
_COMPRESSED_SHARE = 0.3  # of all are compressed at last, as a recording of the screen is
_QUALITIES = (50, 97)  # of JPEG

_Box = tuple[slice, slice]


def overlay_pair(
    degraded: ImageArray, clean: ImageArray, rng: np.random.Generator, *, mixture: Mixture
) -> tuple[ImageArray, ImageArray]:
    """The same drawn on a degraded picture and on its original, each (H, W, 3) uint8 RGB.

    A line or two of text, or another picture, which is the original turned upside down, and
    degraded by a chain of its own or not at all.

    Args:
        mixture: of those degradations.

    Returns:
        New images; what was passed in stays as it is.
    """
    if rng.random() < _TEXT_SHARE:
        colour, opacity = _text(rng, clean.shape[:2])
        degraded, clean = (_blended(image, colour, opacity) for image in (degraded, clean))
    else:
        tile = clean[::-1, ::-1]
        is_degraded = rng.random() < _TILE_DEGRADED_SHARE
        chain = mixture.draw(rng) if is_degraded else ()
        box = _tile_box(rng, clean.shape[:2])
        degraded = with_tile(degraded, carry_out(chain, np.ascontiguousarray(tile)), box)
        clean = with_tile(clean, tile, box)
    if rng.random() < _COMPRESSED_SHARE:
        quality = int(rng.integers(*_QUALITIES))
        degraded = compress_jpeg(degraded, quality=quality, is_subsampled=bool(rng.random() < 0.8))
    return degraded, clean


def _text(
    rng: np.random.Generator, size_px: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Colours (H, W, 3), in levels, and how much of them is seen (H, W, 1), 0 to 1."""
    height, width = size_px
    letters = drawn_font(rng, (), int(rng.integers(*_TEXT_PX)))
    line = " ".join(random_words(rng, int(rng.integers(1, 6))))
    text = line if rng.random() < 0.7 else f"{line}\n{' '.join(random_words(rng, 4))}"
    is_light = bool(rng.random() < 0.7)
    ink = _near_white(rng) if is_light else _near_black(rng)
    behind = _near_black(rng) if is_light else _near_white(rng)
    if rng.random() < 0.2:
        behind = drawn_colour(rng)
    layer = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(layer)
    place = (float(rng.uniform(-0.3, 0.7) * width), float(rng.uniform(0, 0.85) * height))
    if rng.random() < _BOX_SHARE:
        pad = float(rng.uniform(1, 8))
        left, top, right, bottom = draw.multiline_textbbox(place, text, font=letters)
        box = (left - pad, top - pad, right + pad, bottom + pad)
        opacity = int(rng.integers(*_BOX_OPACITY))
        draw.rounded_rectangle(box, float(rng.uniform(0, pad)), fill=(*behind, opacity))
        draw.multiline_text(place, text, font=letters, fill=(*ink, 255))
    else:
        outline_px = int(rng.integers(0, 3))
        draw.multiline_text(
            place, text, font=letters, fill=ink, stroke_width=outline_px, stroke_fill=behind
        )
    drawn = np.asarray(layer, np.float32)
    return drawn[..., :3], drawn[..., 3:] / np.float32(255)


def _near_white(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(level) for level in rng.integers(215, 256, 3))


def _near_black(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(level) for level in rng.integers(0, 45, 3))


def _blended(
    image: ImageArray, colour: npt.NDArray[np.float32], opacity: npt.NDArray[np.float32]
) -> ImageArray:
    blended = image + opacity * (colour - image)
    levels: ImageArray = blended.round().astype(np.uint8)
    return levels


def _tile_box(rng: np.random.Generator, size_px: tuple[int, int]) -> _Box:
    """Half of the picture at most: along one of its edges, or anywhere within."""
    height, width = size_px
    if rng.random() >= _STRIP_SHARE:
        return _span(rng, height), _span(rng, width)
    if rng.random() < 0.5:
        return slice(None), _from_an_end(rng, width)
    return _from_an_end(rng, height), slice(None)


def _span(rng: np.random.Generator, side: int) -> slice:
    length = max(1, int(rng.uniform(*_SIDE_SHARES) * side))
    start = int(rng.integers(side - length + 1))
    return slice(start, start + length)


def _from_an_end(rng: np.random.Generator, side: int) -> slice:
    length = max(1, int(rng.uniform(*_STRIP_SHARES) * side))
    return slice(length) if rng.random() < 0.5 else slice(side - length, None)


def with_tile(image: ImageArray, tile: ImageArray, box: _Box) -> ImageArray:
    """An image with the same rows and columns of another one, of its size, in it."""
    composed = image.copy()
    composed[box] = tile[box]
    return composed
