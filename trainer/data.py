"""The endless sequence of training crops made from a source.

A crop depends on the seed, on its number in the sequence and on the source only: a run that is
resumed, or that uses another number of loader processes or of training processes, sees the same
ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from service.model.estimator import GRID_PX
from trainer.degradation import degrade_sample
from trainer.mixture import (
    DEFAULT_MIXTURE,
    Mixture,
    is_from_pairs,
    sample_chain,
    softening_chain,
)
from trainer.overlays import overlay_pair
from trainer.page_crops import draw_page_crop
from trainer.picture_set import PictureSet
from trainer.pictures import ImageArray, find_pictures, read_picture
from trainer.sources import Source, open_source
from trainer.steps import carry_out

__all__ = [
    "CropDataset",
    "PictureSet",
    "Source",
    "crop_batches",
    "find_pictures",
    "is_flat",
    "open_source",
    "read_picture",
]

_FLAT_DEVIATION = 6.0
_FLAT_TRIES = 4


def is_flat(crop: ImageArray) -> bool:
    """Whether a crop (H, W, 3) uint8 has next to nothing to sharpen: sky, wall, black border."""
    return bool(crop[::4, ::4].std() < _FLAT_DEVIATION)


class CropDataset(Dataset[tuple[Tensor, Tensor]]):
    """Crop `number` of the sequence: (degraded, clean), each (3, crop_px, crop_px) uint8 RGB.

    The two of a pair are cropped, flipped and turned together and otherwise left as they are, but
    for what is drawn on both.
    """

    def __init__(
        self,
        source: Source,
        *,
        crop_px: int,
        seed: int,
        clean_share: float = 0.1,
        mixture: Mixture = DEFAULT_MIXTURE,
        degrade_on_device: bool = False,
        pairs: Source | None = None,
        pair_share: float = 0.0,
        soft_share: float = 0.0,
        overlay_share: float = 0.0,
        page_share: float = 0.0,
        fonts: Sequence[Path] = (),
    ) -> None:
        """Makes crops of a source.

        Args:
            source: pictures at least `crop_px` high and wide.
            clean_share: share of the crops without a partner that stay as they are.
            mixture: what happens to the others; `device_degradation.degrade_batch` chooses alike.
            degrade_on_device: leave such crops clean, also in the place of the degraded one: the
                training loop degrades them where `needs_degradation` is true.
            pairs: a paired source that `pair_share` of the crops are taken from, see
                `mixture.is_from_pairs`.
            soft_share: of those crops whose chain allows it, made soft before they are degraded,
                see `mixture.softening_chain`.
            overlay_share: of all crops, with something drawn on them, see `overlays.overlay_pair`.
            page_share: of the crops without a partner, of drawn pages, see `page_crops`.
            fonts: files of their letters; none = Pillow's own.

        Raises:
            ValueError: a share of pairs without any, or of pairs that are none; a share of pairs or
                of overlays where the loader does not degrade; a share of pages of a paired source.
        """
        if page_share > 0 and source.is_paired:
            raise ValueError("page_share needs sharp pictures as data, not blurred/sharp pairs")
        if pair_share > 0 and (pairs is None or not pairs.is_paired):
            raise ValueError("pair_share needs blurred/sharp pairs: pass them as pairs")
        for name, share in (("pair_share", pair_share), ("overlay_share", overlay_share)):
            if share > 0 and degrade_on_device:
                raise ValueError(f"{name} needs the loader to degrade (degrade_on = loader)")
        self.source = source
        self.crop_px = crop_px
        self.seed = seed
        self.clean_share = clean_share
        self.mixture = mixture
        self.degrade_on_device = degrade_on_device
        self.pairs = pairs
        self.pair_share = pair_share
        self.soft_share = soft_share
        self.overlay_share = overlay_share
        self.page_share = page_share
        self.fonts = fonts

    @property
    def needs_degradation(self) -> bool:
        """Whether the crops come out clean in both places, for the loop to degrade."""
        return self.degrade_on_device and not self.source.is_paired

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, number))
        source = self.source
        if self.pairs is not None and is_from_pairs(self.seed, number, share=self.pair_share):
            source = self.pairs
        degraded, clean = self._crop(source, rng)
        if degraded is None:
            if self.page_share:
                clean = self._page_instead(clean, number)
            clean = self._soften(clean, number)
            degraded = clean if self.degrade_on_device else self._degrade(clean, number)
        if self.overlay_share:
            degraded, clean = self._draw_on(degraded, clean, number)
        return _planes(degraded), _planes(clean)

    def _page_instead(self, clean: ImageArray, number: int) -> ImageArray:
        # The third word keeps this sequence apart from the others of the crop.
        rng = np.random.default_rng((self.seed, number, 5))
        if rng.random() >= self.page_share:
            return clean
        return draw_page_crop(clean, rng, self.crop_px, fonts=self.fonts)

    def _soften(self, clean: ImageArray, number: int) -> ImageArray:
        if not self.soft_share:
            return clean
        later = sample_chain(self.seed, number, clean_share=self.clean_share, mixture=self.mixture)
        return carry_out(softening_chain(self.seed, number, later, share=self.soft_share), clean)

    def _degrade(self, clean: ImageArray, number: int) -> ImageArray:
        return degrade_sample(
            clean,
            seed=self.seed,
            number=number,
            clean_share=self.clean_share,
            mixture=self.mixture,
        )

    def _draw_on(
        self, degraded: ImageArray, clean: ImageArray, number: int
    ) -> tuple[ImageArray, ImageArray]:
        # The third word keeps this sequence apart from the crop's and its degradation's.
        rng = np.random.default_rng((self.seed, number, 4))
        if rng.random() >= self.overlay_share:
            return degraded, clean
        return overlay_pair(degraded, clean, rng, mixture=self.mixture)

    def _crop(
        self, source: Source, rng: np.random.Generator
    ) -> tuple[ImageArray | None, ImageArray]:
        """A random crop, flip and quarter turn; flat ones are drawn again a few times.

        Pairs are cut along the grid of a codec's blocks, as a student is shown whole pictures.
        """
        grid_px = GRID_PX if source.is_paired else 1
        for _ in range(_FLAT_TRIES):
            index = int(rng.integers(len(source)))
            degraded, clean = source.pair(index)
            height, width = clean.shape[:2]
            if min(height, width) < self.crop_px:
                raise ValueError(
                    f"picture {index} is {width}x{height} px, smaller than a crop of "
                    f"{self.crop_px} px. Open the source with smallest_px={self.crop_px}."
                )
            top, left = (
                int(rng.integers((side - self.crop_px) // grid_px + 1)) * grid_px
                for side in (height, width)
            )
            window = np.s_[top : top + self.crop_px, left : left + self.crop_px]
            if not is_flat(clean[window]):
                break
        is_flipped, turns = bool(rng.random() < 0.5), int(rng.integers(4))

        def cut(image: ImageArray) -> ImageArray:
            crop = image[window]
            return np.array(np.rot90(crop[:, ::-1] if is_flipped else crop, turns), order="C")

        return None if degraded is None else cut(degraded), cut(clean)


def _planes(image: ImageArray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)


@dataclass(frozen=True, slots=True)
class _StepBatches(Sequence[list[int]]):
    """This process's crop numbers of each step from `first_step` on."""

    first_step: int
    last_step: int
    batch_size: int
    rank: int
    world_size: int

    def __len__(self) -> int:
        return self.last_step - self.first_step

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        share = self.batch_size // self.world_size
        start = (self.first_step + index) * self.batch_size + self.rank * share
        return list(range(start, start + share))

    def __iter__(self) -> Iterator[list[int]]:
        return (self[index] for index in range(len(self)))


def crop_batches(
    dataset: Dataset[tuple[Tensor, Tensor]],
    *,
    first_step: int,
    last_step: int,
    batch_size: int,
    workers: int,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches (degraded, clean), each (batch_size / world_size, 3, crop, crop) uint8.

    For steps first_step to last_step - 1. The batches of all ranks, one after the other, are the
    batch of a single process.

    Args:
        batch_size: over all processes.
        workers: loader processes of each training process; 0 = none. With any, OpenCV has a single
            thread from now on, here too.
        rank: number of this training process, from 0.
        world_size: how many there are.

    Raises:
        ValueError: the batch cannot be shared out evenly, or there is no such rank.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be 0 to {world_size - 1}, not {rank}")
    if batch_size % world_size:
        raise ValueError(
            f"a batch of {batch_size} cannot be shared by {world_size} processes. "
            f"Make the batch a multiple of {world_size}."
        )
    if workers:
        # A loader process is a fork of this one, and hangs if OpenCV has threads at that moment.
        cv2.setNumThreads(1)
    return DataLoader(
        dataset,
        batch_sampler=_StepBatches(first_step, last_step, batch_size, rank, world_size),
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
        worker_init_fn=_use_one_thread,
        prefetch_factor=4 if workers else None,
    )


def _use_one_thread(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
