"""How long calls take: warm-up, synchronisation, median and 95th percentile. No printing.

Machines change their speed from second to second, so what a ratio compares is timed in turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from service.model.backends import Backend
from service.model.estimator import sample_image

__all__ = [
    "PICTURES",
    "Call",
    "Timing",
    "backend_call",
    "measure",
    "median_and_p95",
    "synchroniser",
    "time_calls",
]

PICTURES = ((256, 256), (360, 640), (720, 1280))  # (height, width), px
_WARM_UPS = 3
_FEWEST_CALLS = 7
_TURNS = 5
_FEWEST_CALLS_A_TURN = 2


@dataclass(frozen=True, slots=True)
class Call:
    """What is timed; `synchronise` waits for its device."""

    run: Callable[[], object]
    synchronise: Callable[[], None] = lambda: None

    def time_ms(self) -> float:
        """Runs it once, with the device's queue empty before and after."""
        self.synchronise()
        started_s = time.perf_counter()
        self.run()
        self.synchronise()
        return (time.perf_counter() - started_s) * 1000

    def warm_up(self, times: int) -> None:
        for _ in range(times):
            self.run()
        self.synchronise()

    def times_ms(self, *, seconds: float, fewest: int) -> list[float]:
        """Of as many calls as fit in `seconds`, and at least `fewest`."""
        times_ms: list[float] = []
        until_s = time.perf_counter() + seconds
        while len(times_ms) < fewest or time.perf_counter() < until_s:
            times_ms.append(self.time_ms())
        return times_ms


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds a frame of repeated calls; `backend` is runtime and device in words.

    `times_faster` is against the reference that took turns with it.
    """

    what: str
    backend: str
    height: int
    width: int
    median_ms: float
    p95_ms: float
    precision: str = "fp32"
    batch: int = 1
    times_faster: float = 1.0


def median_and_p95(times: Sequence[float]) -> tuple[float, float]:
    """Median and 95th percentile of at least one time."""
    median, p95 = (float(value) for value in np.percentile(times, (50, 95)))
    return median, p95


def time_calls(
    call: Callable[[], object],
    *,
    seconds: float,
    synchronise: Callable[[], None] = lambda: None,
) -> tuple[float, float]:
    """Median and 95th percentile in ms of `call`, repeated for `seconds` after three warm-ups.

    `synchronise` waits for the device, before each start and inside each time taken.
    """
    timed = Call(call, synchronise)
    timed.warm_up(_WARM_UPS)
    return median_and_p95(timed.times_ms(seconds=seconds, fewest=_FEWEST_CALLS))


def measure(
    backend: Backend,
    what: str,
    size: tuple[int, int],
    *,
    seconds: float,
    reference_ms: Callable[[], float],
    batch: int = 1,
) -> Timing:
    """Times a backend on noise of (height, width) px; milliseconds are for one frame of a batch.

    Args:
        seconds: for the calls of the backend.
        reference_ms: how long the reference takes, asked now and then in between; `times_faster`
            is the median of the ratios.
    """
    call = backend_call(backend, size, batch=batch)
    call.warm_up(_WARM_UPS)
    times_ms, ratio = _in_turns(call, reference_ms, seconds=seconds)
    median_ms, p95_ms = median_and_p95(times_ms)
    return Timing(
        what,
        f"{backend.name} {backend.device}",
        *size,
        median_ms / batch,
        p95_ms / batch,
        backend.precision,
        batch,
        times_faster=ratio * batch,
    )


def _in_turns(
    call: Call, reference_ms: Callable[[], float], *, seconds: float
) -> tuple[list[float], float]:
    """The call's times in ms; how many times as long the reference took, the turns' median."""
    times_ms: list[float] = []
    ratios = []
    for _ in range(_TURNS):
        beside_ms = reference_ms()
        call.warm_up(1)
        turn_ms = call.times_ms(seconds=seconds / _TURNS, fewest=_FEWEST_CALLS_A_TURN)
        times_ms += turn_ms
        ratios.append(beside_ms / float(np.median(turn_ms)))
    return times_ms, float(np.median(ratios))


def backend_call(backend: Backend, size: tuple[int, int], *, batch: int = 1) -> Call:
    """Describes pictures of noise, (height, width) px, and corrects them with strength 1."""
    images = np.random.default_rng(0).integers(0, 256, (batch, *size, 3), np.uint8)

    def run() -> npt.NDArray[np.uint8]:
        sample = np.stack([sample_image(image) for image in images])
        return backend.run(images, 1.0, backend.describe(sample))

    return Call(run, synchroniser(backend.device))


def synchroniser(device: str) -> Callable[[], None]:
    """What waits until a device such as `cuda:0`, `mps` or `cpu` has done all that it was given."""
    if device.startswith("cuda"):
        return lambda: torch.cuda.synchronize(device)
    if device == "mps":
        return torch.mps.synchronize
    return lambda: None
