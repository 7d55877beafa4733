"""Whose turn it is, pure: the frames of each stream in a queue of its own, the images in another.

- Streams share the machine by work, counted in pixels, and not by turns: whoever waits and had the
  least of it is next (start-time fair queueing, Goyal et al. 1996). By turns, a stream of 1080p
  would get nine times as much as one of 360p and leave it a frame rate of its own.
- No work is stopped in the middle, so that others wait for what runs: while another stream is at
  work too, one may not have every lane (`max_of_stream`).
- A stream that comes back from a pause has saved nothing up: it begins at what the others have.
- Frames go before images, with two bounds that keep images alive: `MAX_FRAMES_BEFORE_AN_IMAGE`
  overtake an image that waits, `MAX_FRAMES_BETWEEN_PIECES` go between two pieces of one.
- Frames with the same key can go through the network together; `start_companions` finds them.

Nothing here locks or reads a clock: the engine holds its lock around each call.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = [
    "MAX_FRAMES_BEFORE_AN_IMAGE",
    "MAX_FRAMES_BETWEEN_PIECES",
    "Job",
    "Queues",
    "StreamQueue",
]

MAX_FRAMES_BEFORE_AN_IMAGE = 30
MAX_FRAMES_BETWEEN_PIECES = 6
_AT_WORK_TURNS = 30  # a stream without any of so many turns is not at work


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """What waits or runs, as far as turns go.

    Attributes:
        cost_px: the pixels that the network has to work on.
        stream: whose frame it is; None = an image.
        key: frames with an equal one can go together; None = it goes alone.
        is_alone: whether nothing else was running or waiting when it was started.
        is_begun: an image of which a piece is done.
    """

    cost_px: int
    stream: StreamQueue | None = None
    key: Hashable = None
    is_alone: bool = False
    is_begun: bool = False


J = TypeVar("J", bound=Job)


@dataclass(slots=True, eq=False)
class StreamQueue:
    """One open stream: how much work it had, in the queues' pixels, and when its last turn was."""

    had_px: int = 0
    last_turn: int = 0


@dataclass(slots=True)
class Queues(Generic[J]):
    """The jobs that wait and those that run."""

    images: deque[J] = field(default_factory=deque)
    running: list[J] = field(default_factory=list)
    _frames: dict[StreamQueue, deque[J]] = field(default_factory=dict)
    _frames_since_image: int = 0
    _now_px: int = 0  # what the stream whose turn it was last had had
    _turn: int = 0

    @property
    def streams_open(self) -> int:
        """Streams that may have frames."""
        return len(self._frames)

    @property
    def frames_waiting(self) -> int:
        """Frames of all streams."""
        return sum(map(len, self._frames.values()))

    def waiting(self) -> list[J]:
        """All that waits."""
        return [*itertools.chain(*self._frames.values()), *self.images]

    def open_stream(self) -> StreamQueue:
        """A queue for one more stream."""
        stream = StreamQueue()
        self._frames[stream] = deque()
        return stream

    def close_stream(self, stream: StreamQueue) -> list[J]:
        """Ends a stream and hands out what still waited. Once is enough, twice does no harm."""
        return list(self._frames.pop(stream, ()))

    def put(self, job: J) -> None:
        """Lets a job wait, behind those of its stream, or behind the other images."""
        if job.stream is None:
            self.images.append(job)
            return
        frames = self._frames[job.stream]
        if not frames:
            job.stream.had_px = max(job.stream.had_px, self._now_px)
        frames.append(job)

    def remove(self, job: J) -> None:
        """Takes a job out that nobody waits for any more, if it has not been started."""
        frames = self.images if job.stream is None else self._frames.get(job.stream, ())
        if job in frames:
            assert isinstance(frames, deque)
            frames.remove(job)

    def start_next(self, *, max_images: int, max_of_stream: int | None = None) -> J | None:
        """Starts the job whose turn it is, if there is one.

        Args:
            max_images: So many images run at once.
            max_of_stream: So many frames of one stream, while others are at work; None = any.
        """
        has_room = self._running_of(None) < max_images
        image = self.images[0] if self.images and has_room else None
        stream = min(
            (
                stream
                for stream, frames in self._frames.items()
                if frames and self._may_have_more(stream, max_of_stream)
            ),
            key=lambda stream: (stream.had_px, stream.last_turn),
            default=None,
        )
        if stream is not None and not (image is not None and self._is_due(image)):
            return self._start_frame(stream, self._frames[stream][0])
        if image is None:
            return None
        self.images.popleft()
        self._frames_since_image = 0
        return self._start(image)

    def start_companions(self, first: J, room: int) -> list[J]:
        """Starts up to `room` frames more that go together with one that was just started.

        The next frame of each stream only, so that the frames of a stream stay in order.
        """
        if first.key is None:
            return []
        companions: list[J] = []
        found = True
        while found and len(companions) < room:
            found = False
            for stream, frames in sorted(
                self._frames.items(), key=lambda item: (item[0].had_px, item[0].last_turn)
            ):
                if len(companions) < room and frames and frames[0].key == first.key:
                    companions.append(self._start_frame(stream, frames[0]))
                    found = True
        return companions

    def finish(self, job: J) -> None:
        """Ends a job that runs."""
        self.running.remove(job)

    def put_back(self, job: J) -> None:
        """Ends a piece of an image; the image stays the first of the images."""
        self.running.remove(job)
        job.is_begun = True
        self.images.appendleft(job)

    def _running_of(self, stream: StreamQueue | None) -> int:
        return sum(job.stream is stream for job in self.running)

    def _may_have_more(self, stream: StreamQueue, max_of_stream: int | None) -> bool:
        if max_of_stream is None or self._running_of(stream) < max_of_stream:
            return True
        return not any(
            0 < other.last_turn >= self._turn - _AT_WORK_TURNS
            for other in self._frames
            if other is not stream
        )

    def _is_due(self, image: J) -> bool:
        most = MAX_FRAMES_BETWEEN_PIECES if image.is_begun else MAX_FRAMES_BEFORE_AN_IMAGE
        return self._frames_since_image >= most

    def _start_frame(self, stream: StreamQueue, job: J) -> J:
        self._frames[stream].popleft()
        self._now_px = max(self._now_px, stream.had_px)
        stream.had_px += job.cost_px
        self._turn += 1
        stream.last_turn = self._turn
        self._frames_since_image = self._frames_since_image + 1 if self.images else 0
        return self._start(job)

    def _start(self, job: J) -> J:
        job.is_alone = not self.running and not self.frames_waiting
        self.running.append(job)
        return job
