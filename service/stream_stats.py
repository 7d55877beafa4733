"""What a stream did in its last seconds, pure: rates, stage times, glass to glass."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from service.messages import Spread

__all__ = ["StreamStats"]

T = TypeVar("T")

_WINDOW_S = 5.0
_SHORTEST_S = 1.0
_MAX_EVENTS = 2_000


@dataclass(frozen=True, slots=True)
class _Answer:
    time_s: float
    size_bytes: int
    stages_ms: Mapping[str, float]
    still_share: float


class StreamStats:
    """Sliding over the last 5 seconds; the memory is bounded."""

    def __init__(self) -> None:
        self._begun_s: float | None = None
        self._received: deque[tuple[float, int]] = deque(maxlen=_MAX_EVENTS)
        self._answers: deque[_Answer] = deque(maxlen=_MAX_EVENTS)
        self._glass: deque[tuple[float, float]] = deque(maxlen=_MAX_EVENTS)

    def note_received(self, size_bytes: int, now_s: float) -> None:
        """A binary message came."""
        if self._begun_s is None:
            self._begun_s = now_s
        self._received.append((now_s, size_bytes))

    def note_answered(
        self, size_bytes: int, stages_ms: Mapping[str, float], still_share: float, now_s: float
    ) -> None:
        """A result went out; `stages_ms` are its times by stage."""
        self._answers.append(_Answer(now_s, size_bytes, stages_ms, still_share))

    def note_displayed(self, latency_ms: float, now_s: float) -> None:
        """The client showed a result, so long after its capture."""
        self._glass.append((now_s, latency_ms))

    def fps_in(self, now_s: float) -> float:
        """Binary messages per second."""
        return self._per_second(len(self._recent_received(now_s)), now_s)

    def fps_out(self, now_s: float) -> float:
        """Results per second."""
        return self._per_second(len(self._recent_answers(now_s)), now_s)

    def kbps_in(self, now_s: float) -> float:
        """1000 bits per second that came."""
        sizes = sum(size for _, size in self._recent_received(now_s))
        return self._per_second(sizes * 8 / 1000, now_s)

    def kbps_out(self, now_s: float) -> float:
        """1000 bits per second that went out."""
        sizes = sum(answer.size_bytes for answer in self._recent_answers(now_s))
        return self._per_second(sizes * 8 / 1000, now_s)

    def stages_ms(self, now_s: float) -> dict[str, Spread]:
        """Each stage's time; empty without answers."""
        answers = self._recent_answers(now_s)
        if not answers:
            return {}
        stages = answers[-1].stages_ms
        return {stage: _spread([a.stages_ms[stage] for a in answers]) for stage in stages}

    def still_share(self, now_s: float) -> float | None:
        """The mean over the answers."""
        answers = self._recent_answers(now_s)
        return sum(a.still_share for a in answers) / len(answers) if answers else None

    def glass_to_glass_ms(self, now_s: float) -> Spread | None:
        """From capture to display, where the client tells it."""
        _forget(self._glass, now_s, lambda entry: entry[0])
        return _spread([ms for _, ms in self._glass]) if self._glass else None

    def _recent_received(self, now_s: float) -> deque[tuple[float, int]]:
        _forget(self._received, now_s, lambda entry: entry[0])
        return self._received

    def _recent_answers(self, now_s: float) -> deque[_Answer]:
        _forget(self._answers, now_s, lambda answer: answer.time_s)
        return self._answers

    def _per_second(self, count: float, now_s: float) -> float:
        age_s = 0.0 if self._begun_s is None else now_s - self._begun_s
        return count / min(max(age_s, _SHORTEST_S), _WINDOW_S)


def _forget(entries: deque[T], now_s: float, time_of: Callable[[T], float]) -> None:
    while entries and now_s - time_of(entries[0]) > _WINDOW_S:
        entries.popleft()


def _spread(values: Iterable[float]) -> Spread:
    ordered = sorted(values)
    at_95 = math.ceil(0.95 * len(ordered)) - 1
    return Spread(p50=round(ordered[len(ordered) // 2], 3), p95=round(ordered[at_95], 3))
