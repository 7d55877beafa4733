"""The golden set: small pictures, what fixed protocols made of them, and how near a result is.

The files are made by `python -m benchmarks.golden`; blank pictures need none.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from statistics import fmean

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.frame_codec import ImageArray

__all__ = [
    "ONE_COLOUR",
    "UNTOUCHED",
    "GoldenPicture",
    "Scores",
    "load_golden_set",
    "psnr_db",
    "scores_by_kind",
    "worst_pixel_db",
]

UNTOUCHED = "untouched"
ONE_COLOUR = "one-colour"
_CLEAN = "clean"
_COLOUR_PX = 64
_LEVELS = (0, 128, 255)  # of each channel
_HIGHEST_DB = 60.0  # nearer than that nobody sees, and means stay means

Scores = Mapping[str, float]  # PSNR in dB by kind


@dataclass(frozen=True, slots=True)
class GoldenPicture:
    """One picture, degraded in one way; images are (H, W, 3) uint8 RGB."""

    name: str
    kind: str
    degraded: ImageArray
    clean: ImageArray


def load_golden_set() -> tuple[GoldenPicture, ...]:
    """All pictures in each kind of degradation, and untouched; and 27 of one colour each."""
    folder = resources.files("service.rollout") / "golden"
    images: dict[tuple[str, str], ImageArray] = {}
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        name, kind, _ = file.name.split(".")
        with Image.open(io.BytesIO(file.read_bytes())) as opened:
            images[name, kind] = np.array(opened.convert("RGB"))
    photographs = [
        GoldenPicture(name, UNTOUCHED if kind == _CLEAN else kind, image, images[name, _CLEAN])
        for (name, kind), image in images.items()
    ]
    colours = itertools.product(_LEVELS, repeat=3)
    return (*photographs, *(_one_colour(colour) for colour in colours))


def scores_by_kind(pictures: Iterable[GoldenPicture], images: Iterable[ImageArray]) -> Scores:
    """The mean PSNR of each kind, of one image for each picture; of one colour, the worst pixel's.

    A tint or a frame that one colour gets is seen on every screen that has it, however well the
    rest comes back.
    """
    by_kind: dict[str, list[float]] = {}
    for picture, image in zip(pictures, images, strict=True):
        score = worst_pixel_db if picture.kind == ONE_COLOUR else psnr_db
        by_kind.setdefault(picture.kind, []).append(score(image, picture.clean))
    return {
        kind: min(scores) if kind == ONE_COLOUR else fmean(scores)
        for kind, scores in by_kind.items()
    }


def psnr_db(image: ImageArray, clean: ImageArray) -> float:
    """Over all channels, at most 60 dB; 0 where the shapes differ."""
    return _decibels(image, clean, np.mean)


def worst_pixel_db(image: ImageArray, clean: ImageArray) -> float:
    """As `psnr_db`, of the one value that is furthest off; 8 levels are 30 dB."""
    return _decibels(image, clean, np.max)


def _decibels(
    image: ImageArray, clean: ImageArray, pool: Callable[[npt.NDArray[np.float32]], np.float32]
) -> float:
    if image.shape != clean.shape:
        return 0.0
    difference = image.astype(np.float32) - clean
    error = float(pool(difference * difference))
    return min(_HIGHEST_DB, float(10 * np.log10(255**2 / error))) if error else _HIGHEST_DB


def _one_colour(colour: tuple[int, ...]) -> GoldenPicture:
    image = np.full((_COLOUR_PX, _COLOUR_PX, 3), colour, np.uint8)
    return GoldenPicture("#" + bytes(colour).hex(), ONE_COLOUR, image, image)
