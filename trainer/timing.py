"""How long calls take: warm-up, synchronisation, median and 95th percentile. No printing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from service.model.backends import Backend
from service.model.estimator import sample_image

__all__ = ["PICTURES", "Timing", "measure", "synchroniser", "time_calls"]

PICTURES = ((256, 256), (360, 640), (720, 1280))  # (height, width), px
_WARM_UPS = 3
_FEWEST_CALLS = 7


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds a frame of repeated calls; `backend` is runtime and device in words."""

    what: str
    backend: str
    height: int
    width: int
    median_ms: float
    p95_ms: float
    precision: str = "fp32"
    batch: int = 1


def time_calls(
    call: Callable[[], object],
    *,
    seconds: float,
    synchronise: Callable[[], None] = lambda: None,
) -> tuple[float, float]:
    """Median and 95th percentile in ms of `call`, repeated for `seconds` after three warm-ups.

    `synchronise` waits for the device, before each start and inside each time taken.
    """
    for _ in range(_WARM_UPS):
        call()
    synchronise()
    times_ms: list[float] = []
    until_s = time.perf_counter() + seconds
    while len(times_ms) < _FEWEST_CALLS or time.perf_counter() < until_s:
        synchronise()
        started_s = time.perf_counter()
        call()
        synchronise()
        times_ms.append((time.perf_counter() - started_s) * 1000)
    return float(np.median(times_ms)), float(np.percentile(times_ms, 95))


def measure(
    backend: Backend,
    what: str,
    size: tuple[int, int],
    *,
    seconds: float,
    batch: int = 1,
) -> Timing:
    """Times a backend on noise of (height, width) px; milliseconds are for one frame of a batch.

    Each call describes the pictures and corrects them.
    """
    images = np.random.default_rng(0).integers(0, 256, (batch, *size, 3), np.uint8)

    def sample() -> npt.NDArray[np.uint8]:
        return np.stack([sample_image(image) for image in images])

    median_ms, p95_ms = time_calls(
        lambda: backend.run(images, 1.0, backend.describe(sample())),
        seconds=seconds,
        synchronise=synchroniser(backend.device),
    )
    where = f"{backend.name} {backend.device}"
    return Timing(what, where, *size, median_ms / batch, p95_ms / batch, backend.precision, batch)


def synchroniser(device: str) -> Callable[[], None]:
    """What waits until a device such as `cuda:0`, `mps` or `cpu` has done all that it was given."""
    if device.startswith("cuda"):
        return lambda: torch.cuda.synchronize(device)
    if device == "mps":
        return torch.mps.synchronize
    return lambda: None
