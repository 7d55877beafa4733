"""How good a student is.

Fixed degradations of sharp pictures, with the input and an unsharp mask measured beside it.

Owns the measuring; `report` writes it down. Every picture goes through the same `Sharpener` that
serves.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from service.model.backends import unsharp_mask
from service.model.sharpener import Sharpener
from trainer.data import find_pictures, read_picture
from trainer.degradation import PROTOCOLS
from trainer.quality import image_psnr_db, image_ssim

__all__ = [
    "BASELINE_STRENGTH",
    "CROP_PX",
    "METHODS",
    "Quality",
    "Region",
    "best_strength",
    "evaluate",
    "harm_count",
]

ImageArray = npt.NDArray[np.uint8]
Region = Literal["crop", "whole"]

CROP_PX = 256
METHODS = ("input", "unsharp", "student")
BASELINE_STRENGTH = 0.5
_HARM_DB = 0.05
_SEED = 20261123


@dataclass(frozen=True, slots=True)
class Quality:
    """One picture under one protocol.

    Attributes:
        psnr_db, ssim: by method, from `METHODS`; see `trainer.quality`.
    """

    picture: str
    region: Region
    protocol: str
    psnr_db: dict[str, float]
    ssim: dict[str, float]


def evaluate(
    sharpener: Sharpener,
    folder: Path,
    *,
    regions: Sequence[Region] = ("crop", "whole"),
    strength: float | None = None,
    limit: int = 0,
    on_picture: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Quality]:
    """Measures every picture of `folder` under every protocol.

    The random parts of a protocol depend on the names of protocol and picture only. Pictures that
    are smaller than the crop are measured whole and left out of the crops; files that cannot be
    read are left out.

    Args:
        regions: 256x256 centre crops, degraded as pictures of their own, whole pictures, or both.
        strength: of the student's unsharp mask; None = the checkpoint's default.
        limit: measure so many pictures, spread evenly over the folder; 0 = all.
        on_picture: called with the number of pictures done and in all.

    Raises:
        FileNotFoundError: the folder holds no picture.
    """
    paths = find_pictures(folder)
    if limit:
        paths = paths[:: max(1, len(paths) // limit)][:limit]
    measured: list[Quality] = []
    for done, path in enumerate(paths):
        on_picture(done, len(paths))
        image = read_picture(path)
        if image is not None:
            name = path.relative_to(folder).as_posix()
            for region, clean in _regions(image, regions):
                measured += _measure(sharpener, name, region, clean, strength)
    on_picture(len(paths), len(paths))
    if not measured:
        raise FileNotFoundError(f"No picture in {folder} can be read and is large enough.")
    return measured


def _regions(image: ImageArray, regions: Sequence[Region]) -> Iterator[tuple[Region, ImageArray]]:
    height, width = image.shape[:2]
    if "crop" in regions and min(height, width) >= CROP_PX:
        top, left = (height - CROP_PX) // 2, (width - CROP_PX) // 2
        yield "crop", np.ascontiguousarray(image[top : top + CROP_PX, left : left + CROP_PX])
    if "whole" in regions:
        yield "whole", image


def _measure(
    sharpener: Sharpener, name: str, region: Region, clean: ImageArray, strength: float | None
) -> Iterator[Quality]:
    for protocol, degraded in _degraded(name, clean):
        results = {
            "input": degraded,
            "unsharp": _unsharp(degraded),
            "student": sharpener.sharpen(degraded, strength=strength),
        }
        yield Quality(
            picture=name,
            region=region,
            protocol=protocol,
            psnr_db={method: image_psnr_db(image, clean) for method, image in results.items()},
            ssim={method: image_ssim(image, clean) for method, image in results.items()},
        )


def _degraded(name: str, clean: ImageArray) -> Iterator[tuple[str, ImageArray]]:
    for protocol, degrade in PROTOCOLS.items():
        rng = np.random.default_rng((_SEED, zlib.crc32(f"{protocol}\n{name}".encode())))
        yield protocol, degrade(clean, rng)


def _unsharp(image: ImageArray) -> ImageArray:
    pixels = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    masked = unsharp_mask(pixels, BASELINE_STRENGTH).clamp(0, 1)
    levels: ImageArray = (masked * 255).round().to(torch.uint8)[0].permute(1, 2, 0).numpy()
    return levels


def harm_count(qualities: Sequence[Quality], method: str) -> int:
    """How many pictures have a PSNR that `method` lowered by more than 0.05 dB."""
    return sum(q.psnr_db[method] < q.psnr_db["input"] - _HARM_DB for q in qualities)


def best_strength(
    sharpener: Sharpener, folder: Path, *, strengths: Sequence[float], limit: int = 0
) -> tuple[float, dict[float, float]]:
    """The strength with the highest mean PSNR over the degraded centre crops.

    Returns:
        That strength, and the mean PSNR in dB of each one tried.
    """
    means = {}
    for strength in strengths:
        measured = evaluate(sharpener, folder, regions=("crop",), strength=strength, limit=limit)
        values = [q.psnr_db["student"] for q in measured if q.protocol != "untouched"]
        means[strength] = float(np.mean(values))
    return max(means, key=means.__getitem__), means
