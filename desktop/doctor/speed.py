"""A short measurement: what each bundled student takes for a picture, the network alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from desktop.best_student import mean_psnr_db

if TYPE_CHECKING:
    from service.model.sharpener import Sharpener

__all__ = ["SIZES", "Measurement", "Speed", "Student", "measure_students", "natural_picture"]

ImageArray = npt.NDArray[np.uint8]

SIZES = ((256, 256), (360, 640), (720, 1280))  # (height, width)
_EACH_S = 0.25  # for each student and size, so that all take about five seconds
_MOST_RUNS = 30
_WARM_UPS = 3  # by the third a GPU has captured its graph
_LONG_MS = 500.0  # a picture that takes longer is not worth the wait for a second
_SPECTRUM = 1.1  # amplitudes of natural pictures fall about with the frequency
_SEED = 6


class Student(Protocol):
    """What is measured, such as a `Sharpener`."""

    device: str
    backend: str
    precision: str

    def sharpen(self, image: ImageArray) -> ImageArray:
        """Sharpens one image."""


@dataclass(frozen=True, slots=True)
class Speed:
    """The median time for a picture.

    Attributes:
        height: In px, as is `width`.
        runs: Of which it is the median; 0 = estimated from the smaller size.
    """

    height: int
    width: int
    ms: float
    runs: int

    @property
    def fps(self) -> float:
        return 1000 / self.ms


@dataclass(frozen=True, slots=True)
class Measurement:
    """A student's speeds, and how good it is.

    Attributes:
        psnr_db: Mean of its scores over the kinds of degraded pictures, from its checkpoint; None
            where it has none.
        took_s: For the measurement, without loading.
    """

    student: str
    device: str
    backend: str
    precision: str
    psnr_db: float | None
    speeds: tuple[Speed, ...]
    took_s: float


def measure_students(
    names: Sequence[str],
    load: Callable[[str], Sharpener],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Measurement]:
    """Loads and measures each student, in the order of their names.

    Raises:
        ClearcallError: What `load` raised.
    """
    pictures = [natural_picture(size) for size in SIZES]
    measurements = []
    for name in names:
        student = load(name)
        begun_s = clock()
        speeds = tuple(_speeds(student, pictures, clock))
        measurements.append(
            Measurement(
                name,
                student.device,
                student.backend,
                student.precision,
                mean_psnr_db(student.checkpoint.facts),
                speeds,
                round(clock() - begun_s, 2),
            )
        )
    return measurements


def natural_picture(size: tuple[int, int]) -> ImageArray:
    """A picture with the spectrum of a natural one: (height, width, 3) uint8 RGB, always the same.

    Args:
        size: (height, width).
    """
    height, width = size
    random = np.random.default_rng(_SEED)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf  # no mean
    shared, *own = (
        np.fft.irfft2(np.fft.rfft2(random.standard_normal(size)) / frequency**_SPECTRUM, s=size)
        for _ in range(4)
    )
    planes = np.stack([shared / shared.std() + 0.3 * each / each.std() for each in own], axis=-1)
    picture: ImageArray = np.clip(128 + 50 * planes, 0, 255).astype(np.uint8)
    return picture


def _speeds(
    student: Student, pictures: Sequence[ImageArray], clock: Callable[[], float]
) -> list[Speed]:
    speeds: list[Speed] = []
    for picture in pictures:
        height, width = picture.shape[:2]
        if speeds:
            last = speeds[-1]
            expected_ms = last.ms * height * width / (last.height * last.width)
            if expected_ms > 2 * _LONG_MS:
                speeds.append(Speed(height, width, round(expected_ms, 2), 0))
                continue
        times_ms = _times_ms(student, picture, clock)
        speeds.append(Speed(height, width, round(statistics.median(times_ms), 2), len(times_ms)))
    return speeds


def _times_ms(student: Student, picture: ImageArray, clock: Callable[[], float]) -> list[float]:
    for _ in range(_WARM_UPS):
        first_ms = _time_ms(student, picture, clock)
        if first_ms > _LONG_MS:
            return [first_ms]
        if first_ms > _LONG_MS / 10:
            break
    times_ms: list[float] = []
    while len(times_ms) < _MOST_RUNS and sum(times_ms) < 1000 * _EACH_S:
        times_ms.append(_time_ms(student, picture, clock))
    return times_ms


def _time_ms(student: Student, picture: ImageArray, clock: Callable[[], float]) -> float:
    begun_s = clock()
    student.sharpen(picture)
    return (clock() - begun_s) * 1000
