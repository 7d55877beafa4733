"""Where a run computes and in which number format."""

from __future__ import annotations

from contextlib import suppress

import torch

from service.model.backends import PRECISIONS

__all__ = ["choose_device", "choose_precision"]


def choose_device(name: str, *, local_rank: int = 0) -> torch.device:
    """The device of that name; "auto" takes CUDA (one GPU a process), then MPS, then the CPU."""
    if name not in ("auto", "cuda"):
        return torch.device(name)
    if torch.cuda.is_available() or name == "cuda":
        return torch.device("cuda", local_rank)
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The type of that name; "auto" takes what the device is fast at."""
    if name in PRECISIONS:
        return PRECISIONS[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu" and _has_matrix_tiles():
        return torch.bfloat16
    return torch.float32


def _has_matrix_tiles() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware (AMX).

    Where bf16 is twice as fast and more.
    """
    with suppress(AttributeError, RuntimeError):
        return bool(torch.cpu._is_amx_tile_supported())
    return False
