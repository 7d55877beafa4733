"""The golden set: small pictures, what fixed protocols made of them, and how near a result is.

The files are made by `python -m benchmarks.golden`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from statistics import fmean

import numpy as np
from PIL import Image

from service.frame_codec import ImageArray

__all__ = ["UNTOUCHED", "GoldenPicture", "Scores", "load_golden_set", "mean_scores", "psnr_db"]

UNTOUCHED = "untouched"
_CLEAN = "clean"
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
    """All pictures in each kind of degradation, and untouched."""
    folder = resources.files("service.rollout") / "golden"
    images: dict[tuple[str, str], ImageArray] = {}
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        name, kind, _ = file.name.split(".")
        with Image.open(io.BytesIO(file.read_bytes())) as opened:
            images[name, kind] = np.array(opened.convert("RGB"))
    return tuple(
        GoldenPicture(name, UNTOUCHED if kind == _CLEAN else kind, image, images[name, _CLEAN])
        for (name, kind), image in images.items()
    )


def mean_scores(pictures: Iterable[GoldenPicture], images: Iterable[ImageArray]) -> Scores:
    """The mean PSNR of each kind, of one image for each picture."""
    by_kind: dict[str, list[float]] = {}
    for picture, image in zip(pictures, images, strict=True):
        by_kind.setdefault(picture.kind, []).append(psnr_db(image, picture.clean))
    return {kind: fmean(scores) for kind, scores in by_kind.items()}


def psnr_db(image: ImageArray, clean: ImageArray) -> float:
    """Over all channels, at most 60 dB; 0 where the shapes differ."""
    if image.shape != clean.shape:
        return 0.0
    difference = image.astype(np.float32) - clean
    error = float(np.mean(difference * difference))
    return min(_HIGHEST_DB, float(10 * np.log10(255**2 / error))) if error else _HIGHEST_DB
