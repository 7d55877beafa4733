"""A video file as it is read: decoded frames of one video stream, and packets of all others.

Frames that cannot be decoded, or only with damage, are skipped and counted, as are those whose time
is damaged; packets of sound too. Every frame gets a time: its own, or where the file has none, the
next one at its rate.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from av import FFmpegError, Packet, VideoFrame
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from desktop.video.covers import is_cover
from desktop.video.errors import VideoError
from desktop.video.frames import deinterlaced
from desktop.video.jumps import MOST_BACK_S, JumpFilter
from desktop.video.opening import open_container

if TYPE_CHECKING:
    from av.container.core import Chapter

__all__ = ["MAX_PIXELS", "Item", "Source", "Span", "open_source"]

# A packet that is copied, or a decoded frame; a frame's time base is its stream's.
Item: TypeAlias = "Packet[Any] | VideoFrame"

MAX_PIXELS = 8192 * 8192  # of a frame
_MICROSECONDS = 1_000_000
_BEFORE_S = 10  # more than most have between two keyframes
_AFTER_END_S = 2  # other streams' packets may come so much later in the file
_DEFAULT_FPS = Fraction(25)


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a video that is taken, in seconds from its beginning; `length_s` None = all."""

    start_s: float = 0.0
    length_s: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self.start_s == 0 and self.length_s is None


@dataclass(frozen=True, slots=True)
class _Shown:
    """When a frame is shown and for how long, in ticks of its time base."""

    pts: int
    duration: int

    def time_s(self, time_base: Fraction) -> float:
        return float(self.pts * time_base)


def open_source(path: Path, span: Span, *, deinterlaces: bool = False) -> Source:
    """Opens a file; close it afterwards, or use it as a context.

    Raises:
        VideoError: it cannot be read, is no video, has no video stream or too large frames.
    """
    container = open_container(path)
    try:
        stream = _video_stream(path, container)
        return Source(path, container, stream, span, deinterlaces=deinterlaces)
    except BaseException:
        container.close()
        raise


class Source:
    """An open file; see `open_source`.

    Attributes:
        path: the file.
        span: the part that is taken.
        container: as PyAV has it.
        stream: the video stream that is decoded.
        copied: the others, in their order.
        shift_s: what is taken off all times, so that a part begins at 0.
        duration_s: of what is read, as far as the file tells.
        frames: decoded so far.
        skipped: frames that could not be decoded, or only damaged.
        lost_sounds: packets of sound with a damaged time.
        interlaced: frames of two fields.
        ends_early: why reading stopped before the end, or None.
    """

    def __init__(
        self,
        path: Path,
        container: InputContainer,
        stream: VideoStream,
        span: Span,
        *,
        deinterlaces: bool = False,
    ) -> None:
        self.path = path
        self.span = span
        self.container = container
        self.stream = stream
        self.copied: list[Stream] = [
            other for other in container.streams if other.index != stream.index
        ]
        self._deinterlaces = deinterlaces
        origin_s = Fraction(container.start_time or 0, _MICROSECONDS)
        self._begin_s = origin_s + Fraction(span.start_s).limit_denominator(_MICROSECONDS)
        length_s = span.length_s
        self._end_s = (
            None
            if length_s is None
            else self._begin_s + Fraction(length_s).limit_denominator(_MICROSECONDS)
        )
        self.shift_s = self._begin_s if span.start_s else Fraction(0)
        self._latest_s = origin_s
        self._seeks = span.start_s > 0
        self.duration_s = _duration_s(container, stream, span)
        self.frames = self.skipped = self.interlaced = self.lost_sounds = 0
        self.ends_early: str | None = None
        self._is_over = False  # the video, as far as it is wanted
        rate = stream.guessed_rate or stream.average_rate or _DEFAULT_FPS
        assert stream.time_base is not None, "an input stream has a time base"
        self.time_base: Fraction = stream.time_base
        self.rate: Fraction = rate
        self._usual_ticks = max(1, round(1 / (rate * self.time_base)))
        self._last: _Shown | None = None
        self._frame_jumps: JumpFilter[VideoFrame] = JumpFilter()
        self._sound_jumps: dict[int, JumpFilter[Packet[Any]]] = {
            other.index: JumpFilter() for other in self.copied if other.type == "audio"
        }
        # Frames are what is sharpened: as many threads as there are cores fill the gaps only.
        stream.thread_type = "AUTO"

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self.container.close()

    def begin_at_zero(self) -> None:
        """Takes off the time at which the file begins, where that is after 0, as streams from
        broadcasts do.

        Before 0 other files have what players leave out; a broadcast begins there where its clock
        is about to begin anew.
        """
        if self._begin_s > 0 or self.container.format.name == "mpegts":
            self.shift_s = self._begin_s

    def chapters(self) -> list[Chapter]:
        """The chapters of the part that is taken, with times shifted."""
        kept: list[Chapter] = []
        for chapter in self.container.chapters():
            unit = chapter["time_base"]
            if unit is None:
                continue
            start = max(chapter["start"], math.floor(self._begin_s / unit))
            end = chapter["end"]
            if self._end_s is not None:
                end = min(end, math.ceil(self._end_s / unit))
            if start < end:
                shift = round(self.shift_s / unit)
                moved = chapter.copy()
                moved["start"], moved["end"] = start - shift, end - shift
                kept.append(moved)
        return kept

    @property
    def missing_s(self) -> float:
        """By how much the file ended before the time that it says, in seconds, once it was read."""
        if not self.span.is_whole or self.container.duration is None:
            return 0.0
        says_s = Fraction(self.container.duration, _MICROSECONDS)
        return max(0.0, float(says_s - (self._latest_s - self._begin_s)))

    def items(self) -> Generator[Item, None, None]:
        """Packets to copy and decoded frames, in the file's order, with times shifted.

        Raises:
            VideoError: times jump back, so that what follows is another recording.
        """
        if self._seeks:
            self._seek()
        if not self._deinterlaces:
            yield from self._items()
            return
        # A filter takes frames one after another: packets wait in between.
        waiting: list[Packet[Any]] = []

        def frames() -> Iterator[VideoFrame]:
            for item in self._items():
                if isinstance(item, VideoFrame):
                    yield item
                else:
                    waiting.append(item)

        try:
            for frame in deinterlaced(frames(), self.time_base):
                yield from waiting
                waiting.clear()
                yield frame
        except FFmpegError as exc:
            raise VideoError(
                self.path, f"cannot be deinterlaced ({exc.strerror}); leave --deinterlace out"
            ) from exc
        yield from waiting

    def _seek(self) -> None:
        """Goes to a place no later than the start; all before the start is decoded and left out.

        Some containers land too late, or cannot seek at all.
        """
        origin_s = self._begin_s - Fraction(self.span.start_s)
        for target_s in (self._begin_s, self._begin_s - _BEFORE_S, origin_s):
            with suppress(FFmpegError):
                self.container.seek(int(target_s * _MICROSECONDS))
                times_s = map(_time_of, self.container.demux(self.stream))
                first_s = next((time_s for time_s in times_s if time_s is not None), None)
                self.container.seek(int(target_s * _MICROSECONDS))
                if first_s is not None and first_s <= self._begin_s:
                    return

    def _items(self) -> Iterator[Item]:
        for packet in self._packets():
            self._notice(packet)
            if packet.stream_index == self.stream.index:
                yield from self._decoded(packet)
            else:
                yield from self._moved(packet)
            if self._is_past(packet):
                break
        yield from self._timed(self._frame_jumps.rest())
        self.skipped += self._frame_jumps.left_out
        for jumps in self._sound_jumps.values():
            # Sound goes on without a gap: what jumps at the end is damage.
            self.lost_sounds += jumps.left_out + len(jumps.rest())

    def _moved(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        """The packets to copy that are certain now that this one is there."""
        passed, time_s = [packet], _time_of(packet)
        if packet.stream_index in self._sound_jumps and time_s is not None:
            passed = self._sound_jumps[packet.stream_index].passed(packet, time_s)
        for each in passed:
            if self._is_wanted(each):
                self._move(each)
                yield each

    def _packets(self) -> Iterator[Packet[Any]]:
        try:
            yield from self.container.demux()
        except FFmpegError as exc:
            self.ends_early = str(exc.strerror)
            yield from self._last_packets()
        except IndexError:
            # PyAV ends so, when it has flushed the streams that it knows, where the file had one
            # more on its way.
            pass

    def _last_packets(self) -> Iterator[Packet[Any]]:
        flush: Packet[Any] = Packet()
        flush.stream = self.stream
        flush.time_base = self.time_base
        yield flush

    def _decoded(self, packet: Packet[Any]) -> Iterator[VideoFrame]:
        if self._is_over:
            return
        try:
            frames = self.stream.decode(packet if packet.size else None)
        except EOFError:
            return
        except FFmpegError:
            self._skip(_time_of(packet))
            return
        for frame in frames:
            if frame.is_corrupt:
                self._skip(None if frame.pts is None else frame.pts * self.time_base)
            elif frame.pts is None:
                yield from self._timed([frame])
            else:
                yield from self._timed(self._frame_jumps.passed(frame, frame.pts * self.time_base))

    def _timed(self, frames: list[VideoFrame]) -> Iterator[VideoFrame]:
        """Of frames that can be shown, those of the part that is taken, with their times."""
        for frame in frames:
            if self._is_over:
                return
            self._give_time(frame)
            assert frame.pts is not None, "it was given one"
            time_s = frame.pts * self.time_base
            if self._end_s is not None and time_s >= self._end_s:
                self._is_over = True
                return
            if self._seeks and time_s < self._begin_s:
                continue
            frame.pts -= round(self.shift_s / self.time_base)
            self.frames += 1
            self.interlaced += frame.interlaced_frame
            yield frame

    def _skip(self, time_s: Fraction | None) -> None:
        # Behind a place that was sought, frames before the start may lack what they refer to.
        if not self._seeks or time_s is None or time_s >= self._begin_s:
            self.skipped += 1

    def _give_time(self, frame: VideoFrame) -> None:
        frame.time_base = self.time_base
        if frame.duration <= 0:
            frame.duration = self._usual_ticks
        last = self._last
        if frame.pts is None:
            frame.pts = 0 if last is None else last.pts + last.duration
        elif last is not None and frame.pts <= last.pts:
            back_s = float((last.pts - frame.pts) * self.time_base)
            if back_s > MOST_BACK_S:
                raise VideoError(
                    self.path,
                    f"its times jump back by {back_s:.1f} s at {last.time_s(self.time_base):.1f} "
                    "s, as where two recordings were joined; ffmpeg -i IN -c copy OUT.mkv may "
                    "write them anew",
                )
            frame.pts = last.pts + 1
        self._last = _Shown(frame.pts, frame.duration)

    def _is_wanted(self, packet: Packet[Any]) -> bool:
        time_s = _time_of(packet)
        if time_s is None:
            return packet.size > 0  # else it only ends its stream
        return (not self._seeks or time_s >= self._begin_s) and (
            self._end_s is None or time_s < self._end_s
        )

    def _is_past(self, packet: Packet[Any]) -> bool:
        """Whether nothing of interest comes after this packet."""
        if self._end_s is None or not self._is_over:
            return False
        time_s = _time_of(packet)
        return time_s is not None and time_s > self._end_s + _AFTER_END_S

    def _notice(self, packet: Packet[Any]) -> None:
        time_s = _time_of(packet)
        if time_s is not None:
            length_s = (packet.duration or 0) * packet.time_base
            self._latest_s = max(self._latest_s, time_s + length_s)

    def _move(self, packet: Packet[Any]) -> None:
        if self.shift_s:
            ticks = round(self.shift_s / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - ticks
            packet.dts = None if packet.dts is None else packet.dts - ticks


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    """The stream to sharpen: the one that players would show, never a cover picture."""
    videos = [stream for stream in container.streams.video if not is_cover(stream)]
    if not videos:
        kinds = {
            "a cover picture" if stream.type == "video" else stream.type
            for stream in container.streams
        }
        raise VideoError(path, f"has no video, only {' and '.join(sorted(kinds)) or 'a header'}")
    defaults = [stream for stream in videos if stream.disposition & Disposition.default]
    stream = (defaults or videos)[0]
    if stream.codec_context is None:
        raise VideoError(path, "its video codec is not one that the installed FFmpeg decodes")
    height, width = stream.codec_context.height, stream.codec_context.width
    if height * width > MAX_PIXELS:
        raise VideoError(
            path,
            f"is {width}x{height} = {height * width / 1e6:.0f} megapixels a frame; at most "
            f"{MAX_PIXELS / 1e6:.0f} are taken",
        )
    return stream


def _duration_s(container: InputContainer, stream: VideoStream, span: Span) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        whole_s = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        whole_s = container.duration / _MICROSECONDS
    else:
        return span.length_s
    rest_s = max(0.0, whole_s - span.start_s)
    return rest_s if span.length_s is None else min(rest_s, span.length_s)


def _time_of(packet: Packet[Any]) -> Fraction | None:
    ticks = packet.pts if packet.pts is not None else packet.dts
    return None if ticks is None else ticks * packet.time_base
