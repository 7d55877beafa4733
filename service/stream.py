"""One stream's session, pure: its settings, which frame is worked on next, and what is counted.

A client that keeps at most `in_flight` + 1 frames unanswered loses none. Of one that sends more, or
whose window is closed, only the newest frame is kept while the pipeline is busy; what it replaces
is dropped and counted. So a client that sends too fast, or reads too slowly, gets fewer frames,
never older ones. A frame is taken up when there is room: fewer than `in_flight` are in work, and,
where the client tells what it displays, its window is open.

The session does no I/O and reads no clock: times are passed in. `pump` moves the bytes.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from service.bitrate import BitRate
from service.credit import Credit
from service.errors import FrameInvalid, RequestInvalid
from service.frames import Frame, FrameFormat, parse_frame
from service.ladder import Ladder, Rung, Target
from service.ledger import DropReason, Ledger
from service.limits import RateLimit
from service.messages import (
    Displayed,
    Pause,
    Paused,
    Ping,
    Pong,
    Resume,
    Resumed,
    RungFacts,
    ServerMessage,
    Settings,
    SettingsNow,
    Stats,
    parse_message,
)
from service.stream_stats import StreamStats

__all__ = [
    "MAX_BAD_FRAMES_IN_A_ROW",
    "Answered",
    "Session",
    "StreamLimits",
    "StreamSettings",
    "Taken",
]

MAX_BAD_FRAMES_IN_A_ROW = 30
_SEQUENCE_MODULUS = 2**32
_OVERRUN_S = 2.0  # a client that sent too much once is taken to go on like that for so long
_LOSSLESS: tuple[FrameFormat, ...] = ("png",)
_NULL_MEANS_NONE = ("target_fps", "target_latency_ms", "max_kbps")


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What one client may do: frames and bytes per second, seconds of silence; 0 = no limit."""

    max_fps: float = 0.0
    max_bytes_per_s: float = 0.0
    idle_timeout_s: float = 0.0


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How a stream's frames are sharpened and sent back; see `messages.Settings`."""

    strength: float
    quality: int = 85
    format: FrameFormat = "jpeg"
    window: int = 2
    target_fps: float | None = None
    target_latency_ms: float | None = None
    adapt: bool = True
    still_regions: bool = True
    max_kbps: float | None = None

    def message(self) -> SettingsNow:
        """As the client is told."""
        return SettingsNow(**dataclasses.asdict(self))


@dataclass(frozen=True, slots=True)
class _Waiting:
    sequence: int
    frame: Frame
    arrived_s: float


@dataclass(frozen=True, slots=True)
class Taken:
    """A frame to be worked on, and how; `rung` is None for the served student as it is."""

    sequence: int
    frame: Frame
    arrived_s: float
    taken_s: float
    wanted_s: float  # when it would have been, if no other stream had had its turn
    settings: StreamSettings
    rung: Rung | None
    quality: int
    was_held: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a frame: when it was done, its times by stage, and its rung."""

    done_s: float
    stages_ms: Mapping[str, float]
    rung: Rung
    still_share: float
    size_bytes: int


class Session:
    """One stream. Every frame received is also counted as answered, dropped or in work."""

    def __init__(
        self,
        *,
        default_strength: float,
        ladder: Ladder,
        in_flight: int = 3,
        window: int = 2,
        limits: StreamLimits = StreamLimits(),
        on_drop: Callable[[DropReason, int], None] | None = None,
        on_displayed: Callable[[float], None] | None = None,
        now_s: float = 0.0,
    ) -> None:
        """Begins a stream.

        Args:
            default_strength: Of the correction, until the client sets another one.
            ladder: The rungs that it may use.
            in_flight: Frames in work at most.
            window: Results on their way at most, until the client sets another number.
            limits: What the client may do.
            on_drop: Told of every frame without a result: the reason and how many.
            on_displayed: Told how long a frame took from its capture to its display, in ms.
            now_s: The time, as in all methods, in seconds of the caller's clock.
        """
        self.settings = StreamSettings(default_strength, window=min(window, in_flight + 1))
        self.ledger = Ledger(on_drop)
        self.window_stalls = 0
        self._on_displayed = on_displayed
        self._in_flight = in_flight
        self._limits = limits
        self._ladder = ladder
        self._rung_used: Rung | None = None
        self._credit = Credit()
        self._stats = StreamStats()
        self._bit_rate: BitRate | None = None
        self._frame_limit = RateLimit(limits.max_fps)
        self._byte_limit = RateLimit(limits.max_bytes_per_s)
        self._bad_in_a_row = 0
        self._next_sequence = 0
        self._waiting: deque[_Waiting] = deque()
        self._overrun_until_s = -math.inf
        self._is_held = False
        self._no_turn_since_s: float | None = None
        self._working = 0
        self._done_s = now_s
        self._heard_s = now_s
        self._turns_away: DropReason | None = None

    @property
    def is_beyond_repair(self) -> bool:
        """Whether so many bad frames came in a row that the stream should be closed."""
        return self._bad_in_a_row >= MAX_BAD_FRAMES_IN_A_ROW

    def is_idle(self, now_s: float) -> bool:
        """Whether nothing came for so long that the stream should be closed."""
        timeout_s = self._limits.idle_timeout_s
        return bool(timeout_s) and now_s - self._heard_s >= timeout_s

    # Text

    def use_rungs(self, rungs: Sequence[Rung]) -> None:
        """Goes on with other students, best first; the settings stay."""
        self._ladder.change_rungs(rungs)

    def hear(self, text: str, now_s: float) -> ServerMessage | None:
        """Does what a text message asks for.

        Returns:
            The answer, where the message has one.

        Raises:
            RequestInvalid: It cannot be understood; everything stays as it was.
        """
        self._heard_s = now_s
        match parse_message(text):
            case Settings() as asked:
                self._change_settings(asked)
                return self.settings.message()
            case Pause():
                self._turn_away("paused")
                return Paused()
            case Resume():
                if self._turns_away == "paused":
                    self._turns_away = None
                return Resumed()
            case Ping(id=number):
                return Pong(id=number)
            case Displayed(sequence=sequence, latency_ms=latency_ms):
                self._credit.note_displayed(sequence)
                if latency_ms is not None:
                    self._stats.note_displayed(latency_ms, now_s)
                    if self._on_displayed is not None:
                        self._on_displayed(latency_ms)
                return None
            case _:
                return self.stats(now_s)

    def _change_settings(self, asked: Settings) -> None:
        if (asked.window or 1) > self._in_flight + 1:
            raise RequestInvalid(f"The window is 1 to in_flight + 1 = {self._in_flight + 1}.")
        changes = {
            name: value
            for name in asked.model_fields_set - {"type"}
            if (value := getattr(asked, name)) is not None or name in _NULL_MEANS_NONE
        }
        before, self.settings = self.settings, dataclasses.replace(self.settings, **changes)
        now = self.settings
        if now.max_kbps != before.max_kbps:
            self._bit_rate = None if now.max_kbps is None else BitRate(now.max_kbps)
        self._ladder.aim(Target(now.target_fps, now.target_latency_ms) if now.adapt else Target())

    # Frames

    def offer(self, message: bytes, now_s: float) -> None:
        """Takes one binary message in; it replaces the frame that waits, if one does.

        Raises:
            FrameInvalid: Not a frame. It counts as received and bad, and replaces nothing.
        """
        self._heard_s = now_s
        self.ledger.received += 1
        self._stats.note_received(len(message), now_s)
        if self._turns_away is not None:
            self.ledger.drop(self._turns_away)
            return
        if not self._is_within_limits(len(message), now_s):
            self.ledger.drop("limited")
            return
        try:
            frame = parse_frame(message)
        except FrameInvalid:
            self._note_bad("invalid")
            raise
        if self._working + len(self._waiting) > self._in_flight:
            self._overrun_until_s = now_s + _OVERRUN_S
        is_overrun = now_s < self._overrun_until_s
        if self._waiting and (self._is_held or is_overrun):
            self.ledger.drop("replaced", len(self._waiting))
            self._waiting.clear()
            if is_overrun:  # it goes on like that
                self._overrun_until_s = now_s + _OVERRUN_S
        self._waiting.append(_Waiting(self._number(frame), frame, now_s))

    @property
    def has_waiting(self) -> bool:
        """Whether a frame waits to be taken up."""
        return bool(self._waiting)

    def note_no_turn(self, now_s: float) -> None:
        """A frame waits for other streams: for the ladder that is no idle time."""
        if self._no_turn_since_s is None:
            self._no_turn_since_s = now_s

    def note_held_up(self) -> None:
        """From here on a frame waits for its own client, and not for other streams."""
        self._no_turn_since_s = None

    def take(self, now_s: float, *, room: int | None = None) -> Taken | None:
        """Hands the next waiting frame out to be worked on, if there is one and there is room.

        Args:
            room: Frames in work at most, where it is fewer than usual.
        """
        since_s, self._no_turn_since_s = self._no_turn_since_s, None
        if not self._waiting:
            return None
        if self._working >= min(self._in_flight, room or self._in_flight):
            return None
        # One frame more than the window may be in work, so that the next result is ready when
        # the window opens.
        if self._credit.unacknowledged(now_s) + self._working > self.settings.window:
            self.window_stalls += not self._is_held
            self._is_held = True
            return None
        waiting = self._waiting.popleft()
        was_held, self._is_held = self._is_held, False
        self._working += 1
        return Taken(
            waiting.sequence,
            waiting.frame,
            waiting.arrived_s,
            now_s,
            now_s if since_s is None else since_s,
            self.settings,
            self._ladder.rung if self._ladder.target else None,
            self._quality(),
            was_held,
        )

    def may_send(self, now_s: float) -> bool:
        """Whether the window is open for a result."""
        return self._credit.unacknowledged(now_s) < self.settings.window

    def note_answered(self, taken: Taken, answered: Answered, now_s: float) -> None:
        """Counts a frame whose result is being sent."""
        self._working -= 1
        self.ledger.answered += 1
        self._bad_in_a_row = 0
        self._rung_used = answered.rung
        self._credit.note_sent(taken.sequence, now_s)
        self._stats.note_answered(
            answered.size_bytes, answered.stages_ms, answered.still_share, now_s
        )
        if self._bit_rate is not None and taken.settings.format not in _LOSSLESS:
            self._bit_rate.note(answered.size_bytes, quality=taken.quality, now_s=now_s)
        begun_s = max(taken.wanted_s, self._done_s)
        waited_from_s = taken.taken_s if taken.was_held else taken.arrived_s
        self._ladder.note(
            answered.rung,
            now_s=answered.done_s,
            service_ms=max(0.0, answered.done_s - begun_s) * 1000,
            idle_ms=(begun_s - self._done_s) * 1000,
            latency_ms=(answered.done_s - waited_from_s) * 1000,
        )
        self._done_s = max(self._done_s, answered.done_s)

    def note_failed(self, reason: DropReason) -> None:
        """Counts a frame that was taken and is answered with an error."""
        self._working -= 1
        self._note_bad(reason)

    def stop(self) -> None:
        """From now on every frame is dropped as the service stops; what is in work goes on."""
        self._turn_away("stopping")

    def end(self, reason: DropReason) -> None:
        """Counts what is left when the stream is over."""
        self._waiting.clear()
        self._working = 0
        self.ledger.drop(reason, self.ledger.in_work)

    def stats(self, now_s: float) -> Stats:
        """The answer to a request for statistics."""
        recent, used = self._stats, self._rung_used
        still_share = recent.still_share(now_s)
        return Stats(
            received=self.ledger.received,
            answered=self.ledger.answered,
            dropped=dict(self.ledger.dropped.items()),
            in_work=self.ledger.in_work,
            fps_in=round(recent.fps_in(now_s), 2),
            fps_out=round(recent.fps_out(now_s), 2),
            kbps_in=round(recent.kbps_in(now_s), 1),
            kbps_out=round(recent.kbps_out(now_s), 1),
            stages_ms=recent.stages_ms(now_s),
            rung=None if used is None else RungFacts(student=used.student, scale=used.scale),
            quality=self._quality(),
            still_share=None if still_share is None else round(still_share, 3),
            unacknowledged=self._credit.unacknowledged(now_s),
            window_stalls=self.window_stalls,
            glass_to_glass_ms=recent.glass_to_glass_ms(now_s),
        )

    def _quality(self) -> int:
        highest = self.settings.quality
        return highest if self._bit_rate is None else self._bit_rate.quality(highest)

    def _turn_away(self, reason: DropReason) -> None:
        if self._turns_away != "stopping":
            self._turns_away = reason
        if self._waiting:
            self.ledger.drop(reason, len(self._waiting))
            self._waiting.clear()
            self._no_turn_since_s = None

    def _is_within_limits(self, size_bytes: int, now_s: float) -> bool:
        # Both are asked, so that both know the time.
        has_room = self._frame_limit.has_room(now_s), self._byte_limit.has_room(now_s)
        if all(has_room):
            self._frame_limit.take(1)
            self._byte_limit.take(size_bytes)
        return all(has_room)

    def _note_bad(self, reason: DropReason) -> None:
        self.ledger.drop(reason)
        self._bad_in_a_row += 1

    def _number(self, frame: Frame) -> int:
        if frame.sequence is not None:
            return frame.sequence
        sequence = self._next_sequence
        self._next_sequence = (sequence + 1) % _SEQUENCE_MODULUS
        return sequence
