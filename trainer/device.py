"""Where a run computes and in which number format."""

from __future__ import annotations

import functools

import torch
from torch.nn import functional as F

from service.model.backends import PRECISIONS, usable_device
from service.model.timing import is_faster

__all__ = ["choose_device", "choose_precision", "runs_bf16"]

# What is timed: 3x3 convolutions as in a student's blocks, on a few crops.
_PROBE_SHAPE = (4, 16, 64, 64)
_PROBE_KERNELS = (16, 16, 3, 3)
_PROBE_LAYERS = 4


def choose_device(name: str, *, local_rank: int = 0) -> torch.device:
    """The device of that name; "auto" takes CUDA (one GPU a process), then MPS, then the CPU.

    Raises:
        BackendUnavailable: there is no such device here.
    """
    device = torch.device(usable_device(name))
    if device.type == "cuda" and name in ("auto", "cuda"):
        return torch.device("cuda", local_rank)
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The type of that name; "auto" takes what the device is fast at, on a CPU by measuring it."""
    if name in PRECISIONS:
        return PRECISIONS[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    is_bf16 = device.type == "cpu" and runs_bf16() and _bf16_is_faster()
    return torch.bfloat16 if is_bf16 else torch.float32


def runs_bf16() -> bool:
    """Whether this CPU has instructions for bf16 (AVX-512 BF16 or AMX); others only emulate it."""
    checks = (
        getattr(torch.cpu, name, lambda: False)
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(check() for check in checks)


@functools.cache
def _bf16_is_faster() -> bool:
    """Whether convolutions and their gradients are, on one core: in AVX-512 that differs by CPU."""
    pictures, kernels = (
        torch.full(shape, 0.01).to(memory_format=torch.channels_last)
        for shape in (_PROBE_SHAPE, _PROBE_KERNELS)
    )
    kernels.requires_grad_()

    def step(dtype: torch.dtype) -> None:
        features = pictures
        with torch.autocast("cpu", dtype, enabled=dtype is torch.bfloat16):
            for _ in range(_PROBE_LAYERS):
                features = F.relu(F.conv2d(features, kernels, padding=1))
        features.float().square().mean().backward()  # type: ignore[no-untyped-call]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return is_faster(lambda: step(torch.bfloat16), lambda: step(torch.float32))
    finally:
        torch.set_num_threads(threads)
