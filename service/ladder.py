"""The quality ladder, pure: which student at which scale holds a stream's target.

A rung that does not hold the target is left downwards after one window of frames, several rungs at
once where it is far too slow. Upwards goes one rung at a time, after room has been seen for a
while. What a rung costs is not known beforehand and differs by machine, so it is tried: the first
time on the promise of clear room below it, later on the ratio that was measured, which is
forgotten after a while, later after each failure. So a machine between two rungs settles on the
lower one and misses its target for a fraction of a second now and then, ever more rarely.

It reads no clock and does no I/O: the times come with the frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

__all__ = ["Ladder", "Rung", "Target", "rungs_of"]

_SCALES = (1.0, 0.75)
_LAST_SCALE = 0.5

_WINDOW_S, _WINDOW_FRAMES = 0.5, 5
_FAR_FACTOR, _FAR_FRAMES = 2.0, 3  # so much too slow needs no long look
_TOLERANCE = 1.05  # a target counts as held up to here
_BUSY_SHARE = 0.9  # below it the client sends too little to tell that the rung is too slow
_ROOM_KNOWN = 0.88  # of the target, for the time that a rung above would take by its ratio
_ROOM_UNKNOWN = 0.7  # of the target, for the time that this rung takes, to try one never measured
_ROOM_S = 1.5  # for so long there must be room before a step up
_AFTER_FALL_S = 3.0  # and so long ago must be the last step down
_AGAIN_S, _AGAIN_MAX_DOUBLINGS = 30.0, 4  # until what was learned is tried again
# The engine uses other rungs for so long: the one asked for is not to be had. At first it may be
# loading, which takes long on a machine that is too slow.
_ABSENT_S, _ABSENT_AGAIN_S = 15.0, 3.0
_HELD_S = 10.0  # a rung that held for so long has its failures forgiven


@dataclass(frozen=True, slots=True)
class Rung:
    """A student's name, and the share of width and height that the network works at."""

    student: str
    scale: float


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be held: frames per second, a latency in ms, both or (None, None) nothing."""

    fps: float | None = None
    latency_ms: float | None = None

    def __bool__(self) -> bool:
        return self.fps is not None or self.latency_ms is not None


def rungs_of(students: Sequence[str]) -> tuple[Rung, ...]:
    """The sensible combinations of students (best first) and scales, best first.

    A smaller student at full resolution costs no more than a larger one at half of it and sees the
    detail that is to be sharpened, so only the smallest goes down to half.
    """
    rungs = [Rung(student, scale) for student in students for scale in _SCALES]
    if students:
        rungs.append(Rung(students[-1], _LAST_SCALE))
    return tuple(rungs)


@dataclass(slots=True)
class _Window:
    """The frames of one rung since the last decision."""

    begun_s: float | None = None
    service_ms: list[float] = field(default_factory=list)
    idle_ms: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Known:
    """What is known of going up to a rung from the one below it."""

    ratio: float | None = None  # its time over the time of the rung below
    until_s: float = -math.inf
    failures: int = 0
    barred_until_s: float = -math.inf
    absences: int = 0
    absent_until_s: float = -math.inf


class Ladder:
    """Steps between rungs to hold a target, with hysteresis."""

    def __init__(self, rungs: Sequence[Rung], *, start: Rung | None = None) -> None:
        """Begins at `start`, or at the best rung.

        Args:
            rungs: Best first, at least one.
            start: One of them.
        """
        assert rungs, "a ladder has a rung"
        self._rungs = tuple(rungs)
        self._start = self._rungs.index(start) if start in self._rungs else 0
        self._at = self._start
        self._target = Target()
        self._window = _Window()
        self._known = [_Known() for _ in self._rungs]
        self._absent_since_s: float | None = None
        self._room_since_s: float | None = None
        self._fell_s = -math.inf
        self._came_s = math.inf
        self._before: tuple[int, float] | None = None  # the rung that was left, and its time in ms

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """All rungs, best first."""
        return self._rungs

    @property
    def rung(self) -> Rung:
        """The rung for the next frame."""
        return self._rungs[self._at]

    @property
    def target(self) -> Target:
        """What is held."""
        return self._target

    def change_rungs(self, rungs: Sequence[Rung]) -> None:
        """Goes on with other rungs, of which nothing is known yet, from the same height.

        Args:
            rungs: Best first, at least one.
        """
        assert rungs, "a ladder has a rung"
        rung, height = self.rung, min(self._at, len(rungs) - 1)
        self._rungs = tuple(rungs)
        self._start = 0
        self._at = self._rungs.index(rung) if rung in self._rungs else height
        self._known = [_Known() for _ in self._rungs]
        self._absent_since_s = self._room_since_s = self._before = None
        self._begin_window()

    def aim(self, target: Target) -> None:
        """Sets what is to be held. Without a target the ladder is back where it began."""
        if target == self._target:
            return
        self._target = target
        self._begin_window()
        self._room_since_s = None
        self._fell_s = -math.inf
        if not target:
            self._at, self._before = self._start, None

    def note(
        self, rung: Rung, *, now_s: float, service_ms: float, idle_ms: float, latency_ms: float
    ) -> bool:
        """Takes in one answered frame.

        Args:
            rung: What did it; frames begun before a step come with the old one and do not count.
            now_s: When it was done, in the caller's seconds.
            service_ms: Since the previous frame of the stream was done, or since this one was
                taken up if that was later: while frames queue, the time between two answers.
            idle_ms: For so long before that the stream had nothing to work on.
            latency_ms: From its arrival to its answer.

        Returns:
            Whether there was a step.
        """
        if not self._target:
            return False
        if rung != self.rung:
            return self._note_absent(rung, now_s)
        self._absent_since_s = None
        window = self._window
        if window.begun_s is None:  # the first frame of a rung pays for the change
            window.begun_s = self._came_s = now_s
            return False
        window.service_ms.append(service_ms)
        window.idle_ms.append(idle_ms)
        window.latency_ms.append(latency_ms)
        return self._decide(now_s - window.begun_s, now_s)

    def _decide(self, window_s: float, now_s: float) -> bool:
        window = self._window
        count = len(window.service_ms)
        if count < _FAR_FRAMES:
            return False
        service_ms, idle_ms = fmean(window.service_ms), fmean(window.idle_ms)
        excess = self._excess(service_ms, idle_ms, fmean(window.latency_ms))
        is_whole = count >= _WINDOW_FRAMES and window_s >= _WINDOW_S
        if not is_whole and excess < _FAR_FACTOR:
            return False
        self._learn(service_ms, now_s)
        self._begin_window(now_s)
        if excess > _TOLERANCE:
            return self._fall(excess, service_ms, now_s)
        if now_s - self._came_s >= _HELD_S:
            self._known[self._at].failures = 0
        if self._has_room_above(excess, now_s):
            if self._room_since_s is None:
                self._room_since_s = now_s - window_s
            has_waited = now_s - self._fell_s >= _AFTER_FALL_S
            if has_waited and now_s - self._room_since_s >= _ROOM_S:
                self._move(self._next(-1, now_s), service_ms)
                return True
        else:
            self._room_since_s = None
        return False

    def _excess(self, service_ms: float, idle_ms: float, latency_ms: float) -> float:
        """The time taken over the time there is: above 1 the target is missed."""
        excess = 0.0
        if self._target.fps is not None:
            period_ms = 1000 / self._target.fps
            all_ms = service_ms + idle_ms
            is_busy = service_ms >= _BUSY_SHARE * all_ms
            # A client that sends less often than the target leaves more time for each frame.
            excess = service_ms / (period_ms if is_busy else max(period_ms, all_ms))
        if self._target.latency_ms is not None:
            excess = max(excess, latency_ms / self._target.latency_ms)
        return excess

    def _has_room_above(self, excess: float, now_s: float) -> bool:
        if (at := self._next(-1, now_s)) == self._at:
            return False
        above = self._known[at]
        if now_s < above.barred_until_s:
            return False
        if above.ratio is None or now_s >= above.until_s:
            return excess <= _ROOM_UNKNOWN
        return excess * above.ratio <= _ROOM_KNOWN

    def _learn(self, service_ms: float, now_s: float) -> None:
        """The first window after a step by one rung tells what the two cost beside each other."""
        before, self._before = self._before, None
        if before is None:
            return
        left, left_ms = before
        upper_ms, lower_ms = (service_ms, left_ms) if self._at < left else (left_ms, service_ms)
        known = self._known[min(left, self._at)]
        known.ratio = max(upper_ms / max(lower_ms, 1e-6), 1.0)
        known.until_s = now_s + _later_s(known.failures)

    def _fall(self, excess: float, service_ms: float, now_s: float) -> bool:
        self._room_since_s = None
        self._fell_s = now_s
        if (below := self._next(1, now_s)) == self._at:
            return False
        known = self._known[self._at]
        known.failures += 1
        self._move(below, service_ms)
        if excess >= _FAR_FACTOR:
            # Over several rungs no ratio is learned that would hold the one that was left back.
            known.barred_until_s = now_s + _later_s(known.failures)
            self._before = None
            for _ in range(int(math.log2(excess))):
                self._at = self._next(1, now_s)
        return True

    def _next(self, way: int, now_s: float) -> int:
        """The nearest rung up (-1) or down (1) to be had, or else the present one."""
        at = self._at + way
        while 0 <= at < len(self._rungs):
            if self._known[at].absent_until_s <= now_s:
                return at
            at += way
        return self._at

    def _note_absent(self, used: Rung, now_s: float) -> bool:
        """The engine used another rung: at first because frames were under way, or it loads."""
        if self._absent_since_s is None:
            self._absent_since_s = now_s
        known = self._known[self._at]
        if now_s - self._absent_since_s < (_ABSENT_AGAIN_S if known.absences else _ABSENT_S):
            return False
        known.absent_until_s = now_s + _later_s(known.absences)
        known.absences += 1
        self._absent_since_s = None
        self._at = self._rungs.index(used) if used in self._rungs else self._next(1, now_s)
        self._before = None
        self._room_since_s = None
        self._begin_window()
        return True

    def _move(self, to: int, service_ms: float) -> None:
        self._before = (self._at, service_ms)
        self._at = to
        self._room_since_s = None
        self._begin_window()

    def _begin_window(self, now_s: float | None = None) -> None:
        self._window = _Window(begun_s=now_s)


def _later_s(failures: int) -> float:
    return _AGAIN_S * float(2 ** min(failures, _AGAIN_MAX_DOUBLINGS))
