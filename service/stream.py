"""One stream's session, pure: numbers, newest frame wins, drops, settings, errors in a row.

Of the frames that arrive while the pipeline is busy only the newest is kept; the one that it
replaces is dropped and counted. So a client that sends too fast, or reads too slowly, gets fewer
frames, never older ones. The session does no I/O and reads no clock: times are passed in. `pump`
moves the bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import FrameInvalid, RequestInvalid
from service.frames import Frame, FrameFormat, parse_frame

__all__ = ["MAX_BAD_FRAMES_IN_A_ROW", "Offered", "Session", "StreamSettings"]

MAX_BAD_FRAMES_IN_A_ROW = 30
_MAX_SETTINGS_CHARS = 4096
_SEQUENCE_MODULUS = 2**32


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How a stream's frames are sharpened and sent back.

    `strength` is 0 (off), 1 (as trained) to 2 (stronger); `quality` of JPEG and WebP is 1 to 100.
    """

    strength: float
    quality: int = 85
    format: FrameFormat = "jpeg"


@dataclass(frozen=True, slots=True)
class Offered:
    """A numbered frame and when it arrived, in the caller's seconds."""

    sequence: int
    frame: Frame
    arrived_s: float


class _SettingsMessage(BaseModel):
    """A settings message; a field that is absent keeps its value."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    type: Literal["settings"]
    strength: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    quality: int | None = Field(default=None, ge=1, le=100)
    format: FrameFormat | None = None


class Session:
    """One stream. Every frame received is also counted as answered, bad, replaced or unanswered."""

    def __init__(self, *, default_strength: float) -> None:
        self.settings = StreamSettings(strength=default_strength)
        self.received = 0
        self.answered = 0
        self.bad = 0
        self.replaced = 0
        self._bad_in_a_row = 0
        self._next_sequence = 0
        self._waiting: Offered | None = None

    @property
    def unanswered(self) -> int:
        """Frames that wait or are being worked on."""
        return self.received - self.answered - self.bad - self.replaced

    @property
    def is_beyond_repair(self) -> bool:
        """Whether so many bad frames came in a row that the stream should be closed."""
        return self._bad_in_a_row >= MAX_BAD_FRAMES_IN_A_ROW

    def change_settings(self, message: str) -> StreamSettings:
        """Reads a settings message and puts it into effect for the next frame that is taken.

        Raises:
            RequestInvalid: The message cannot be understood; the previous settings stay.
        """
        if len(message) > _MAX_SETTINGS_CHARS:
            raise RequestInvalid(
                f"A settings message has at most {_MAX_SETTINGS_CHARS} characters."
            )
        try:
            asked = _SettingsMessage.model_validate_json(message)
        except ValidationError as exc:
            raise RequestInvalid(_explain(exc)) from exc
        old = self.settings
        self.settings = StreamSettings(
            strength=old.strength if asked.strength is None else asked.strength,
            quality=asked.quality or old.quality,
            format=asked.format or old.format,
        )
        return self.settings

    def offer(self, message: bytes, *, now_s: float) -> bool:
        """Takes one binary message in; it replaces the frame that waits, if one does.

        Returns:
            Whether a waiting frame was replaced, and so dropped.

        Raises:
            FrameInvalid: Not a frame. It counts as received and bad, and replaces nothing.
        """
        self.received += 1
        try:
            frame = parse_frame(message)
        except FrameInvalid:
            self.note_bad()
            raise
        is_replacing = self._waiting is not None
        self.replaced += is_replacing
        self._waiting = Offered(self._number(frame), frame, now_s)
        return is_replacing

    def take(self) -> Offered | None:
        """Hands out the waiting frame, if there is one."""
        offered, self._waiting = self._waiting, None
        return offered

    def note_answered(self) -> None:
        """Counts a frame whose result is being sent."""
        self.answered += 1
        self._bad_in_a_row = 0

    def note_bad(self) -> None:
        """Counts a frame that is answered with an error."""
        self.bad += 1
        self._bad_in_a_row += 1

    def _number(self, frame: Frame) -> int:
        if frame.sequence is not None:
            return frame.sequence
        sequence = self._next_sequence
        self._next_sequence = (sequence + 1) % _SEQUENCE_MODULUS
        return sequence


def _explain(exc: ValidationError) -> str:
    problems = "; ".join(
        f"{'.'.join(str(part) for part in error['loc']) or 'message'}: {error['msg']}"
        for error in exc.errors()
    )
    return (
        'Expected {"type": "settings"} with, as needed, "strength" 0 to 2, "quality" 1 to 100 '
        f'and "format" jpeg, webp or png. {problems}.'
    )
