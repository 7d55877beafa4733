"""Which student fits, and what to run next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from desktop.best_student import best_student
from desktop.doctor.media import Media
from desktop.doctor.problem import Problem
from desktop.doctor.speed import Measurement, Speed

__all__ = ["LIVE_FPS", "Advice", "advise"]

LIVE_FPS = 30
_CALL = (360, 640)  # the (height, width) by which the next command is chosen
_DEFAULT = "small"


@dataclass(frozen=True, slots=True)
class Advice:
    """What the measurement is good for.

    Attributes:
        best: Where the time does not matter; None where nothing was measured.
        live: (height, width, student) of each size, None where no student holds 30 FPS.
        command: To run next.
        reason: Why this one.
    """

    best: str | None
    live: tuple[tuple[int, int, str | None], ...]
    command: str
    reason: str


def advise(
    measurements: Sequence[Measurement],
    media: Media,
    problems: Sequence[Problem] = (),
) -> Advice:
    """Chooses.

    Args:
        measurements: Of each student, faster ones first; empty = not measured.
        media: What comes in and goes out here.
        problems: What was found.
    """
    best = _best(measurements)
    sizes = [(each.height, each.width) for each in measurements[0].speeds] if measurements else []
    live = {
        size: _best([m for m in measurements if _speed(m, size).fps >= LIVE_FPS]) for size in sizes
    }
    command, reason = _next(live, media, problems)
    return Advice(best, tuple((*size, student) for size, student in live.items()), command, reason)


def _best(measurements: Sequence[Measurement]) -> str | None:
    if not measurements:
        return None
    return best_student({each.student: each.psnr_db for each in measurements})


def _speed(measurement: Measurement, size: tuple[int, int]) -> Speed:
    return next(each for each in measurement.speeds if (each.height, each.width) == size)


def _next(
    live: dict[tuple[int, int], str | None],
    media: Media,
    problems: Sequence[Problem],
) -> tuple[str, str]:
    if any(problem.is_essential for problem in problems):
        return "clearcall doctor", "again, when what is broken is mended"
    is_live = not live or live.get(_CALL) is not None
    has_camera = any(camera["width"] for camera in media.cameras)
    if has_camera and not is_live:
        return (
            "clearcall camera --server http://HOST:8000",
            "no student is fast enough here for 640x360: let a machine with a GPU, on which "
            "clearcall serve runs, do the work",
        )
    if has_camera and media.virtual_camera:
        return "clearcall camera --virtual", "your camera, sharp, for any meeting program"
    if has_camera:
        where = "a browser page" if media.window_lacks else "a window"
        return "clearcall camera", f"your camera, sharp, in {where}"
    student = (live.get(_CALL) or "nano") if live else _DEFAULT
    named = "" if student == _DEFAULT else f" --checkpoint {student}"
    return f"clearcall serve{named}", "then open http://127.0.0.1:8000; no camera was found here"
