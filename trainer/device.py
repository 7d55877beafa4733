"""Where a run computes and in which number format."""

from __future__ import annotations

import torch

from service.model.backends import PRECISIONS

__all__ = ["choose_device", "choose_precision", "runs_bf16"]


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
    return torch.bfloat16 if device.type == "cpu" and runs_bf16() else torch.float32


def runs_bf16() -> bool:
    """Whether this CPU has instructions for bf16 (AVX-512 BF16 or AMX); others only emulate it."""
    checks = (
        getattr(torch.cpu, name, lambda: False)
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(check() for check in checks)
