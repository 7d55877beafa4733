"""How long the model takes, per size, backend and picture; `reference` in torch eager beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from service.model.backends import Backend, OpenVinoBackend, TorchBackend
from service.model.student import SIZES, build_student

__all__ = ["PICTURES", "Timing", "measure", "model_timings", "time_calls"]

PICTURES = ((256, 256), (360, 640), (720, 1280))


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of repeated calls."""

    what: str
    backend: str
    height: int
    width: int
    median_ms: float
    p95_ms: float


def time_calls(call: Callable[[], object], *, seconds: float) -> tuple[float, float]:
    """Median and 95th percentile in ms of `call`, repeated for `seconds` after three warm-ups."""
    for _ in range(3):
        call()
    times_ms: list[float] = []
    until_s = time.perf_counter() + seconds
    while len(times_ms) < 7 or time.perf_counter() < until_s:
        started_s = time.perf_counter()
        call()
        times_ms.append((time.perf_counter() - started_s) * 1000)
    return float(np.median(times_ms)), float(np.percentile(times_ms, 95))


def measure(backend: Backend, what: str, size: tuple[int, int], *, seconds: float) -> Timing:
    """Times uint8 image in to uint8 image out, strength 0; a GPU is waited for by the copy back."""
    image = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    median_ms, p95_ms = time_calls(lambda: backend.run(image, 0.0), seconds=seconds)
    return Timing(what, f"{backend.name} {backend.device}", *size, median_ms, p95_ms)


def model_timings(*, seconds: float) -> list[Timing]:
    """The reference first, then every size on every backend of this machine; random weights."""
    reference = TorchBackend(build_student(SIZES["reference"]).eval(), device="cpu")
    timings = [measure(reference, "reference", PICTURES[0], seconds=seconds)]
    for name in ("nano", "small", "base"):
        frozen = replace(SIZES[name], normalisation="frozen")
        network = build_student(frozen).eval().folded()
        backends: list[Backend] = [TorchBackend(network, device="cpu"), OpenVinoBackend(network)]
        if torch.cuda.is_available():
            backends.append(TorchBackend(network, device="cuda:0"))
        timings += [
            measure(backend, name, size, seconds=seconds)
            for backend in backends
            for size in PICTURES
        ]
    return timings
