"""Degraded pictures on which something sharp is drawn: what calls and their recordings show.

A student that goes by the sharpest part of such a picture leaves the rest of it blurred; one that
goes by the rest may spoil what is sharp. The originals have the same drawn on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from trainer.degradation import Protocol
from trainer.operators import ImageArray
from trainer.overlays import with_tile
from trainer.wide_protocols import EVERY_PROTOCOL

__all__ = ["OVERLAID_PROTOCOLS", "OverlaidProtocol"]

# Draws on an image, (H, W, 3) uint8 RGB; what it takes of the original is the second argument.
Overlay = Callable[[ImageArray, ImageArray], ImageArray]


@dataclass(frozen=True, slots=True)
class OverlaidProtocol:
    """A degradation, and what is drawn afterwards on the degraded picture and on its original."""

    degrade: Protocol
    draw: Overlay

    def __call__(
        self, clean: ImageArray, rng: np.random.Generator
    ) -> tuple[ImageArray, ImageArray]:
        """A degraded picture and its original, each (H, W, 3) uint8 RGB; `clean` stays as it is."""
        return self.draw(self.degrade(clean, rng), clean), self.draw(clean, clean)


def _name_tag(image: ImageArray, _: ImageArray) -> ImageArray:
    """White on a dark bar that lets a fifth of the picture through, at the left of the bottom."""
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas, "RGBA")
    bottom = image.shape[0] - 8
    draw.rectangle((8, bottom - 20, 110, bottom), fill=(20, 20, 20, 204))
    draw.text((14, bottom - 10), "Alex Example", font_size=14, fill=(255, 255, 255), anchor="lm")
    return np.array(canvas)


def _caption(image: ImageArray, _: ImageArray) -> ImageArray:
    """Two lines in white with a black contour, in the middle of the bottom."""
    canvas = Image.fromarray(image)
    height, width = image.shape[:2]
    ImageDraw.Draw(canvas).multiline_text(
        (width / 2, height - 36),
        "and then we will look\nat last week's figures",
        font_size=20,
        fill=(255, 255, 255),
        stroke_width=2,
        stroke_fill=(0, 0, 0),
        anchor="mm",
        align="center",
    )
    return np.array(canvas)


def _tile(image: ImageArray, clean: ImageArray) -> ImageArray:
    """The original upside down, as another participant's picture, in a ninth at the top right."""
    height, width = image.shape[:2]
    top, bottom = height // 16, height // 16 + height // 3
    left, right = width - width // 16 - width // 3, width - width // 16
    return with_tile(image, clean[::-1, ::-1], (slice(top, bottom), slice(left, right)))


def _half(image: ImageArray, clean: ImageArray) -> ImageArray:
    """The original upside down in all of the right half."""
    return with_tile(image, clean[::-1, ::-1], (slice(None), slice(image.shape[1] // 2, None)))


_DEGRADATIONS: Mapping[str, Protocol] = {
    name: EVERY_PROTOCOL[name] for name in ("bicubic x2", "gaussian 1.0", "gaussian 1.5", "webcam")
}
_OVERLAYS: Mapping[str, Overlay] = {
    "name tag": _name_tag,
    "caption": _caption,
    "tile": _tile,
    "half": _half,
}

# Fixed for good, as `PROTOCOLS` are, but for the letters, which are those of the installed Pillow.
OVERLAID_PROTOCOLS: Mapping[str, OverlaidProtocol] = {
    f"{degradation}, {overlay}": OverlaidProtocol(degrade, draw)
    for degradation, degrade in _DEGRADATIONS.items()
    for overlay, draw in _OVERLAYS.items()
}
