"""Frames of video files, through PyAV (FFmpeg).

A file is gone through twice: once without decoding, for the times and keyframes of its frames, and
once decoding no more of it than the chosen frames need. Streams without times (raw H.264) are
decoded from the start.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from trainer.pictures import ImageArray, ImageUnreadable, require_few_pixels
from trainer.video_colour import to_rgb

if TYPE_CHECKING:
    from av import VideoFrame as DecodedFrame

__all__ = [
    "VIDEO_EXTENSIONS",
    "VideoFrame",
    "find_videos",
    "sample_frames",
    "video_size",
]

VIDEO_EXTENSIONS = frozenset(
    {
        ".264", ".265", ".avi", ".h264", ".h265", ".hevc", ".ivf", ".m4v", ".mkv", ".mov", ".mp4",
        ".mpeg", ".mpg", ".ts", ".webm", ".y4m",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """Where a frame is.

    Attributes:
        number: in the order of display, from 0.
        time: its presentation time in units of the stream, or None where the stream has none.
    """

    path: Path
    number: int
    time: int | None

    def read(self) -> ImageArray:
        """Decodes from the keyframe before it: tens of times slower than a picture file."""
        with _open(self.path) as (container, stream):
            timeline = _Timeline(() if self.time is None else (self.time,), ())
            for frame, image in _decode(container, stream, [self], timeline):
                if frame.time == self.time:
                    return image
        raise ImageUnreadable(f"it has no frame {self.number} any more")


def find_videos(folder: Path) -> list[Path]:
    """The video files below `folder`, told by their extension, sorted; perhaps none."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in VIDEO_EXTENSIONS and path.is_file()
    )


def video_size(path: Path) -> tuple[int, int]:
    """(height, width) in px, as the header says.

    Raises:
        ImageUnreadable: missing, no video, or above `MAX_PIXELS`.
    """
    with _open(path) as (_, stream):
        return stream.codec_context.height, stream.codec_context.width


def sample_frames(
    path: Path, *, count: int, run_length: int = 1
) -> Iterator[tuple[VideoFrame, ImageArray]]:
    """Frames spread evenly over the file, each (H, W, 3) uint8 RGB, upright, in order.

    Args:
        count: the most frames, 1 or more.
        run_length: this many neighbours are taken together, for what needs motion; the runs are
            spread evenly.

    Raises:
        ImageUnreadable: missing, no video, damaged, or above `MAX_PIXELS`. It can come after some
            frames, which are sound.
    """
    if not 1 <= run_length <= count:
        raise ValueError(f"count ({count}) must be at least run_length ({run_length}), and that 1")
    with _open(path) as (container, stream):
        timeline = _Timeline.of(container, stream)
    if not len(timeline):
        raise ImageUnreadable("it has no frames")
    numbers = _spread(len(timeline), count=count, run_length=run_length)
    wanted = [VideoFrame(path, number, timeline.time(number)) for number in numbers]
    with _open(path) as (container, stream):
        stream.thread_type = "AUTO"
        yield from _decode(container, stream, wanted, timeline)


def _spread(total: int, *, count: int, run_length: int) -> list[int]:
    """Numbers of frames, in order, without repetition."""
    run_length = min(run_length, total)
    runs = min(count // run_length, total // run_length)
    numbers: set[int] = set()
    for run in range(runs):
        middle = (2 * run + 1) * total // (2 * runs)
        first = min(max(0, middle - run_length // 2), total - run_length)
        numbers.update(range(first, first + run_length))
    return sorted(numbers)


@contextmanager
def _open(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens the first video stream; FFmpeg's errors become `ImageUnreadable`."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ImageUnreadable("it has no video stream")
            stream = container.streams.video[0]
            require_few_pixels(stream.codec_context.height, stream.codec_context.width)
            yield container, stream
    except av.FFmpegError as exc:
        raise ImageUnreadable(f"not a video that can be read ({exc.strerror})") from exc


@dataclass(frozen=True, slots=True)
class _Timeline:
    """The presentation times of a stream's frames and keyframes, sorted.

    Attributes:
        count: of the frames, for a stream without times.
    """

    times: Sequence[int]
    keyframes: Sequence[int]
    count: int = 0

    @classmethod
    def of(cls, container: InputContainer, stream: VideoStream) -> _Timeline:
        packets = [
            (packet.pts, packet.is_keyframe) for packet in container.demux(stream) if packet.size
        ]
        times = [time for time, _ in packets if time is not None]
        if len(times) < len(packets):
            return cls((), (), len(packets))
        keyframes = [time for time, is_keyframe in packets if time is not None and is_keyframe]
        return cls(sorted(times), sorted(keyframes), len(packets))

    def __len__(self) -> int:
        return self.count

    def time(self, number: int) -> int | None:
        return self.times[number] if self.times else None

    def has_keyframe_between(self, after: int, until: int) -> bool:
        place = bisect.bisect_right(self.keyframes, after)
        return place < len(self.keyframes) and self.keyframes[place] <= until


def _decode(
    container: InputContainer,
    stream: VideoStream,
    wanted: Sequence[VideoFrame],
    timeline: _Timeline,
) -> Iterator[tuple[VideoFrame, ImageArray]]:
    """The wanted frames; where one's time is not to be found, the next one there is."""
    if not timeline.times:
        yield from _decode_by_number(container, stream, wanted)
        return
    frames: Iterator[DecodedFrame] = iter(())
    last: int | None = None
    for target in wanted:
        assert target.time is not None, "a timeline gives every frame its time"
        if last is not None and last >= target.time:
            continue
        if last is None or timeline.has_keyframe_between(last, target.time):
            frames = _frames_from(container, stream, target.time)
        for frame in frames:
            last = frame.pts
            if last is not None and last >= target.time:
                yield VideoFrame(target.path, target.number, last), _image(frame)
                break


def _decode_by_number(
    container: InputContainer, stream: VideoStream, wanted: Sequence[VideoFrame]
) -> Iterator[tuple[VideoFrame, ImageArray]]:
    by_number = {target.number: target for target in wanted}
    for number, frame in enumerate(container.decode(stream)):
        if number in by_number:
            yield by_number.pop(number), _image(frame)
        if not by_number:
            return


def _frames_from(
    container: InputContainer, stream: VideoStream, time: int
) -> Iterator[DecodedFrame]:
    """Decoded frames, the first of them no later than `time`."""
    container.seek(time, stream=stream)
    frames = container.decode(stream)
    first = next(frames, None)
    if first is not None and first.pts is not None and first.pts <= time:
        yield first
    else:  # some containers find only a keyframe behind the wanted time
        container.seek(stream.start_time or 0, stream=stream)
        frames = container.decode(stream)
    yield from frames


def _image(frame: DecodedFrame) -> ImageArray:
    """Upright RGB, by the frame's own colour matrix and range."""
    require_few_pixels(frame.height, frame.width)
    image = to_rgb(VideoReformatter(), frame)
    return np.ascontiguousarray(np.rot90(image, frame.rotation // 90), dtype=np.uint8)
