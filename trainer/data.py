"""Sharp pictures from a folder, and the endless sequence of training crops made from them.

A crop depends on the seed and on its number in the sequence only: a run that is resumed, or that
uses another number of loader processes, sees the same ones.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainer.degradation import degrade_at_random

__all__ = ["CropDataset", "PictureSet", "crop_batches", "find_pictures", "read_picture"]

ImageArray = npt.NDArray[np.uint8]
_EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
_FLAT_DEVIATION = 6.0
_FLAT_TRIES = 4

_log = logging.getLogger(__name__)


def find_pictures(folder: Path) -> list[Path]:
    """The picture files below `folder`, sorted.

    Raises:
        FileNotFoundError: it is not a folder, or holds no picture.
    """
    paths = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in _EXTENSIONS and path.is_file()
    )
    if not paths:
        raise FileNotFoundError(
            f"{folder} holds no pictures ({', '.join(sorted(_EXTENSIONS))}). "
            "Pass a folder of sharp pictures."
        )
    return paths


def read_picture(path: Path) -> ImageArray | None:
    """The file as an image (H, W, 3) uint8 RGB, turned upright; None if it cannot be read."""
    encoded = np.fromfile(path, dtype=np.uint8)
    bgr = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    return None if bgr is None else np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class PictureSet:
    """The pictures of a folder that are large enough for a crop.

    While all of them fit into `cache_bytes` they are held decoded, in memory that loader processes
    share; otherwise each is read when it is needed.
    """

    paths: tuple[Path, ...]
    shapes: tuple[tuple[int, int], ...]
    manifest_hash: str
    cache: Tensor | None
    offsets: tuple[int, ...]

    @classmethod
    def open(cls, folder: Path, *, smallest_px: int, cache_bytes: int) -> PictureSet:
        """Reads every picture once.

        Files that cannot be read or are smaller than `smallest_px` are named in the log and left
        out.

        Raises:
            FileNotFoundError: no picture is left.
        """
        paths: list[Path] = []
        shapes: list[tuple[int, int]] = []
        decoded: list[ImageArray] | None = []
        manifest = hashlib.sha256()
        total_bytes = 0
        for path in find_pictures(folder):
            image = read_picture(path)
            if image is None:
                _log.warning("skipped %s: not a picture that can be read", path)
                continue
            if min(image.shape[:2]) < smallest_px:
                _log.warning("skipped %s: smaller than %d px", path, smallest_px)
                continue
            manifest.update(path.relative_to(folder).as_posix().encode())
            manifest.update(hashlib.sha256(image.tobytes()).digest())
            paths.append(path)
            shapes.append((image.shape[0], image.shape[1]))
            total_bytes += image.nbytes
            if decoded is not None:
                decoded.append(image)
                if total_bytes > cache_bytes:
                    decoded = None
        if not paths:
            raise FileNotFoundError(
                f"No picture in {folder} can be read and is at least {smallest_px} px on its short "
                "side. Pass larger pictures or a smaller --crop."
            )
        offsets = np.cumsum([0, *(height * width * 3 for height, width in shapes)])
        cache = None
        if decoded is not None:
            cache = torch.empty(total_bytes, dtype=torch.uint8)
            cache.share_memory_()  # type: ignore[no-untyped-call]
            flat = cache.numpy()
            for start, image in zip(offsets, decoded, strict=False):
                flat[start : start + image.size] = image.reshape(-1)
        return cls(
            paths=tuple(paths),
            shapes=tuple(shapes),
            manifest_hash=manifest.hexdigest(),
            cache=cache,
            offsets=tuple(int(offset) for offset in offsets),
        )

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> ImageArray:
        """Picture `index` as (H, W, 3) uint8 RGB; a view of the cache where there is one."""
        height, width = self.shapes[index]
        if self.cache is not None:
            flat = self.cache.numpy()[self.offsets[index] : self.offsets[index + 1]]
            return flat.reshape(height, width, 3)
        image = read_picture(self.paths[index])
        if image is None or image.shape[:2] != (height, width):
            raise OSError(f"{self.paths[index]} changed or vanished during training. Put it back.")
        return image


class CropDataset(Dataset[tuple[Tensor, Tensor]]):
    """Crop `number` of the sequence: (degraded, clean), each (3, crop_px, crop_px) uint8 RGB."""

    def __init__(
        self, pictures: PictureSet, *, crop_px: int, seed: int, clean_share: float
    ) -> None:
        self.pictures = pictures
        self.crop_px = crop_px
        self.seed = seed
        self.clean_share = clean_share

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, number))
        clean = self._clean_crop(rng)
        degraded = degrade_at_random(clean, rng, clean_share=self.clean_share)
        return (
            torch.from_numpy(degraded).permute(2, 0, 1),
            torch.from_numpy(clean).permute(2, 0, 1),
        )

    def _clean_crop(self, rng: np.random.Generator) -> ImageArray:
        """A random crop, flip and quarter turn; flat ones are drawn again a few times."""
        for _ in range(_FLAT_TRIES):
            image = self.pictures.image(int(rng.integers(len(self.pictures))))
            top = int(rng.integers(image.shape[0] - self.crop_px + 1))
            left = int(rng.integers(image.shape[1] - self.crop_px + 1))
            crop = image[top : top + self.crop_px, left : left + self.crop_px]
            if crop[::4, ::4].std() >= _FLAT_DEVIATION:
                break
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        return np.ascontiguousarray(np.rot90(crop, int(rng.integers(4))))


@dataclass(frozen=True, slots=True)
class _StepBatches(Sequence[list[int]]):
    """The crop numbers of each step from `first_step` on."""

    first_step: int
    last_step: int
    batch_size: int

    def __len__(self) -> int:
        return self.last_step - self.first_step

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        start = (self.first_step + index) * self.batch_size
        return list(range(start, start + self.batch_size))

    def __iter__(self) -> Iterator[list[int]]:
        return (self[index] for index in range(len(self)))


def crop_batches(
    dataset: CropDataset, *, first_step: int, last_step: int, batch_size: int, workers: int
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches (degraded, clean), each (batch_size, 3, crop, crop) uint8.

    For steps first_step to last_step - 1.
    """
    return DataLoader(
        dataset,
        batch_sampler=_StepBatches(first_step, last_step, batch_size),
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
        worker_init_fn=_use_one_thread,
        prefetch_factor=4 if workers else None,
    )


def _use_one_thread(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
