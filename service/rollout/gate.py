"""The gate: a new student is served only if it is no worse than the input and than the present one.

- On each kind of degradation of the golden set its mean PSNR is at least the input's, and at least
  the present student's minus a tolerance.
- Untouched pictures stay what they are, to 40 dB at least, and every pixel of those of one colour
  to 30 dB.
- It takes at most so many times as long as the present student, measured in turns, one picture
  each, the median of the pairs: what else the machine does slows both.

Pictures go through the engine as uploads do: behind the streams' frames.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from service.frame_codec import ImageArray
from service.lanes import Sharpened
from service.rollout.golden_set import (
    ONE_COLOUR,
    UNTOUCHED,
    GoldenPicture,
    Scores,
    scores_by_kind,
)

if TYPE_CHECKING:
    from service.model.sharpener import Sharpener

__all__ = ["Gate", "Verdict"]

_INPUT_TOLERANCE_DB = 0.05
_LEAST_DB = {UNTOUCHED: 40.0, ONE_COLOUR: 30.0}  # whatever the input is: it is perfect
_TIMED_PX = (360, 640)  # height, width
_TIMED_PAIRS = 7

Run = Callable[["Sharpener", ImageArray], Awaitable[Sharpened]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate found: scores in dB by kind; `fault` is why the student is refused, or None."""

    fault: str | None
    scores: Scores = field(default_factory=dict)
    slowdown: float | None = None


class Gate:
    """Judges students by one golden set; it remembers the present student's scores."""

    def __init__(
        self, pictures: tuple[GoldenPicture, ...], *, tolerance_db: float, max_slowdown: float
    ) -> None:
        """Prepares to judge.

        Args:
            pictures: The golden set.
            tolerance_db: By which a student may be worse than the present one, of each kind.
            max_slowdown: Its time over the present one's at most; 0 = any.
        """
        self._pictures = pictures
        self._tolerance_db = tolerance_db
        self._max_slowdown = max_slowdown
        self._input = scores_by_kind(pictures, [picture.degraded for picture in pictures])
        self._known: tuple[str, Scores] | None = None

    def judge_alone(self, candidate: Sharpener) -> Verdict:
        """By the input only, in the caller's thread: for the start, when nothing is served."""
        images = [candidate.sharpen(picture.degraded) for picture in self._pictures]
        scores = scores_by_kind(self._pictures, images)
        return Verdict(self._fault_beside_input(scores), scores)

    async def judge(self, candidate: Sharpener, current: Sharpener, run: Run) -> Verdict:
        """By the input and by the present student.

        Args:
            candidate: Warmed up.
            current: What is served.
            run: Sharpens an image with a student at its default strength.

        Raises:
            SharpeningFailed: The network fails.
            EngineStopped: The service stops.
        """
        scores = await self._scores(candidate, run)
        if fault := self._fault_beside_input(scores):
            return Verdict(fault, scores)
        current_id = current.checkpoint.model_id
        if self._known is None or self._known[0] != current_id:
            self._known = current_id, await self._scores(current, run)
        for kind, now_db in self._known[1].items():
            # Of one colour a level is decibels: those have a limit of their own only.
            if kind != ONE_COLOUR and scores[kind] < now_db - self._tolerance_db:
                fault = (
                    f"on {kind} pictures it reaches {scores[kind]:.2f} dB and {current_id}, which "
                    f"is served, {now_db:.2f} dB; {self._tolerance_db:g} dB less are allowed"
                )
                return Verdict(fault, scores)
        slowdown = await self._slowdown(candidate, current, run)
        return Verdict(self._fault_in_time(slowdown), scores, slowdown)

    async def _scores(self, sharpener: Sharpener, run: Run) -> Scores:
        images = [(await run(sharpener, picture.degraded)).image for picture in self._pictures]
        return scores_by_kind(self._pictures, images)

    def _fault_beside_input(self, scores: Scores) -> str | None:
        for kind, input_db in self._input.items():
            least_db = _LEAST_DB.get(kind, input_db - _INPUT_TOLERANCE_DB)
            if scores[kind] < least_db:
                return (
                    f"on {kind} pictures it reaches {scores[kind]:.2f} dB, and {least_db:.2f} dB "
                    "are the least: it makes them worse than they came"
                )
        return None

    async def _slowdown(self, candidate: Sharpener, current: Sharpener, run: Run) -> float | None:
        if not self._max_slowdown:
            return None
        image = np.zeros((*_TIMED_PX, 3), np.uint8)
        ratios: list[float] = []
        for _ in range(2):  # a second look where the first one says no
            for _ in range(_TIMED_PAIRS):
                mine_ms = (await run(candidate, image)).inference_ms
                theirs_ms = (await run(current, image)).inference_ms
                ratios.append(mine_ms / max(theirs_ms, 1e-3))
            if median(ratios) <= self._max_slowdown:
                break
        return median(ratios)

    def _fault_in_time(self, slowdown: float | None) -> str | None:
        if slowdown is None or slowdown <= self._max_slowdown:
            return None
        return (
            f"it takes {slowdown:.2f} times as long as what is served; "
            f"{self._max_slowdown:g} times are allowed"
        )
