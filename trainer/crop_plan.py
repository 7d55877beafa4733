"""Which crops of a source go into a pack, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from trainer.data import is_flat
from trainer.pictures import ImageArray
from trainer.sources import Source

__all__ = ["CropPlan", "Degrade", "PlannedCrop"]

# An image and the only source of chance -> an image of the same size; the input is not changed.
Degrade: TypeAlias = Callable[[ImageArray, np.random.Generator], ImageArray]

_FLAT_TRIES = 4
_MOST_CROPS = 250_000  # 10 GB of them, and as many as a reader of packs accepts


@dataclass(frozen=True, slots=True)
class PlannedCrop:
    """A crop of picture number `picture`, or a pair of them; images (crop_px, crop_px, 3) uint8."""

    picture: int
    top: int
    left: int
    clean: ImageArray
    degraded: ImageArray | None


@dataclass(frozen=True, slots=True)
class CropPlan:
    """The crops of a source, in the order of a pack; one picture is in memory at a time.

    Every picture gives one crop before any gives its second, in an order that the seed shuffles. No
    crop is taken twice.
    """

    source: Source
    crop_px: int
    seed: int
    per_picture: int
    degrade: Degrade | None

    def __len__(self) -> int:
        return min(_MOST_CROPS, len(self.source) * self.per_picture)

    def __iter__(self) -> Iterator[PlannedCrop]:
        order = np.random.default_rng(self.seed).permutation(len(self.source))
        taken: set[tuple[int, int, int]] = set()
        for turn in range(self.per_picture):
            for picture in map(int, order):
                if len(taken) == _MOST_CROPS:
                    return
                rng = np.random.default_rng((self.seed, picture, turn))
                crop = self._crop(picture, rng, taken)
                if crop is not None:
                    taken.add((picture, crop.top, crop.left))
                    yield crop

    def _crop(
        self, picture: int, rng: np.random.Generator, taken: set[tuple[int, int, int]]
    ) -> PlannedCrop | None:
        """A crop that is neither flat nor taken; after a few tries a flat one, or none."""
        degraded, clean = self.source.pair(picture)
        height, width = clean.shape[:2]
        found: tuple[int, int] | None = None
        for _ in range(_FLAT_TRIES):
            top = int(rng.integers(height - self.crop_px + 1))
            left = int(rng.integers(width - self.crop_px + 1))
            if (picture, top, left) in taken:
                continue
            found = (top, left)
            if not is_flat(clean[top : top + self.crop_px, left : left + self.crop_px]):
                break
        if found is None:
            return None
        top, left = found
        window = np.s_[top : top + self.crop_px, left : left + self.crop_px]
        clean = np.array(clean[window], order="C")
        if degraded is not None:
            degraded = np.array(degraded[window], order="C")
        elif self.degrade is not None:
            degraded = self.degrade(clean, rng)
        return PlannedCrop(picture, top, left, clean, degraded)
