"""The teacher as a method of the evaluation: image in, image out."""

from __future__ import annotations

import numpy as np
import torch

from trainer.methods import Method
from trainer.nafnet import NAFNet, with_local_statistics
from trainer.pictures import ImageArray
from trainer.teacher_file import teach

__all__ = ["teacher_method"]


def teacher_method(network: NAFNet, *, window_px: int = 0, device: str = "auto") -> Method:
    """A function from an image (H, W, 3) uint8 RGB of any size to what the teacher makes of it.

    Args:
        window_px: attention averages over a window of so many px (TLC), 1.5 times the training
            crop as published; 0 = over the whole picture.
        device: auto (CUDA where there is one, else the CPU) or a torch device.
    """
    if window_px < 0:
        raise ValueError(f"the teacher's window must be 0 or more px, not {window_px}")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    used = with_local_statistics(network, window_px=window_px) if window_px else network
    used = used.to(device).eval()

    def sharpen(image: ImageArray) -> ImageArray:
        pixels = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        levels = (teach(used, pixels.to(device)) * 255).round().to(torch.uint8)
        taught: ImageArray = np.ascontiguousarray(levels[0].permute(1, 2, 0).cpu().numpy())
        return taught

    return sharpen
