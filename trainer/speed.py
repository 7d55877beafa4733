"""How long a method takes: wall-clock time around one call, with the device's queue empty.

Times include everything between the image that goes in and the image that comes out: conversion,
padding, copies to and from the device.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from trainer.methods import ImageArray, Method
from trainer.timing import median_and_p95

__all__ = ["Speed", "run_timed", "speed_of"]


@dataclass(frozen=True, slots=True)
class Speed:
    """Times of single calls.

    Attributes:
        median_ms, p95_ms: median and 95th percentile.
        fps: how many calls follow each other in a second at the median.
    """

    median_ms: float
    p95_ms: float
    fps: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def run_timed(method: Method, image: ImageArray) -> tuple[ImageArray, float]:
    """The method's result, and the time that the call took in ms.

    A GPU works behind the caller's back, so it is waited for before and after.
    """
    _wait_for_device()
    start_s = time.perf_counter()
    result = method(image)
    _wait_for_device()
    return result, (time.perf_counter() - start_s) * 1000


def speed_of(times_ms: Sequence[float]) -> Speed:
    """Summarises the times of at least one call."""
    median_ms, p95_ms = median_and_p95(times_ms)
    return Speed(round(median_ms, 3), round(p95_ms, 3), round(1000 / max(median_ms, 1e-6), 2))


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()
