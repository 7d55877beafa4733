"""A quick measure of a network during training: fixed crops, fixed protocols, mean gains.

The report card comes from `evaluation`, which goes through the `Sharpener`; here the network itself
is measured, in batches on the training device.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from trainer.degradation import PROTOCOLS
from trainer.pictures import centre_crop, choose_pictures, read_picture
from trainer.quality import psnr_db, ssim_map

__all__ = ["Gains", "ValidationSet"]

_BATCH = 8
_SEED = 20261124
_UNTOUCHED = "untouched"


@dataclass(frozen=True, slots=True)
class Gains:
    """What a network gains over its input, on average over pictures.

    Attributes:
        psnr_db: by degraded protocol, in dB.
        ssim: by degraded protocol.
        untouched_psnr_db: how close it leaves sharp pictures to themselves.
    """

    psnr_db: dict[str, float]
    ssim: dict[str, float]
    untouched_psnr_db: float

    def metric(self, name: str) -> float:
        """The mean gain over the protocols, `psnr` in dB or `ssim`."""
        gains = self.psnr_db if name == "psnr" else self.ssim
        return sum(gains.values()) / len(gains)


class ValidationSet:
    """Centre crops (N, 3, crop, crop) uint8 of a folder's pictures, with their degraded versions.

    Raises:
        FileNotFoundError: no picture is large enough.
    """

    def __init__(self, folder: Path, *, pictures: int, crop_px: int) -> None:
        images = (read_picture(path) for path in choose_pictures(folder, pictures))
        crops = [
            centre_crop(image, crop_px)
            for image in images
            if image is not None and min(image.shape[:2]) >= crop_px
        ]
        if not crops:
            raise FileNotFoundError(
                f"No picture in {folder} can be read and is at least {crop_px} px on its short "
                "side. Pass another validation folder or a smaller crop."
            )
        self.clean = _stacked(crops)
        self.degraded = {
            name: _stacked(
                [
                    degrade(crop, np.random.default_rng((_SEED, number)))
                    for number, crop in enumerate(crops)
                ]
            )
            for name, degrade in PROTOCOLS.items()
        }

    def __len__(self) -> int:
        return len(self.clean)

    def gains(self, network: nn.Module, device: torch.device, precision: torch.dtype) -> Gains:
        """Measures the network, in evaluation mode, on every protocol."""
        was_training = network.training
        network.eval()
        psnr: dict[str, float] = {}
        ssim: dict[str, float] = {}
        for name, degraded in self.degraded.items():
            before, after = self._quality(network, degraded, device, precision)
            psnr[name] = after[0] if name == _UNTOUCHED else after[0] - before[0]
            ssim[name] = after[1] - before[1]
        network.train(was_training)
        untouched = psnr.pop(_UNTOUCHED)
        ssim.pop(_UNTOUCHED)
        return Gains(psnr, ssim, untouched)

    def examples(self, count: int) -> tuple[Tensor, Tensor]:
        """Degraded (webcam) and clean crops to look at, (count, 3, crop, crop) uint8."""
        return self.degraded["webcam"][:count], self.clean[:count]

    @torch.no_grad()
    def _quality(
        self, network: nn.Module, degraded: Tensor, device: torch.device, precision: torch.dtype
    ) -> tuple[tuple[float, float], tuple[float, float]]:
        """Mean PSNR in dB and SSIM of the input and of the output."""
        sums = torch.zeros(4, dtype=torch.float64)
        for start in range(0, len(self), _BATCH):
            rows = slice(start, start + _BATCH)
            clean, given = (
                stack[rows].to(device).float() / 255 for stack in (self.clean, degraded)
            )
            with torch.autocast(device.type, precision, enabled=precision is not torch.float32):
                sharpened = network(given)
            levels = (sharpened.float().clamp(0, 1) * 255).round() / 255
            measured = [psnr_db(given, clean), _ssim(given, clean)]
            measured += [psnr_db(levels, clean), _ssim(levels, clean)]
            sums += torch.stack([values.sum() for values in measured]).double().cpu()
        means = [float(total) / len(self) for total in sums]
        return (means[0], means[1]), (means[2], means[3])


def _ssim(first: Tensor, second: Tensor) -> Tensor:
    return ssim_map(first, second).mean(dim=(1, 2, 3))


def _stacked(images: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
