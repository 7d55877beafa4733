"""The engine's threads: each lane takes the next work from the queues, runs it and answers.

- Work that is alone gets the whole machine. While there is more, each of the model's lanes takes
  the next on its share of the cores: nobody waits for the slowest thread of a picture, so that more
  of them are finished.
- Where there are several lanes, one is kept free of images, and while several streams are at work
  none of them has every lane.
- An image goes through in pieces, and after each of them it is the queues' turn again.
- Where the model takes batches, frames that go together are run together. A lane waits at most
  `batch_wait_s` for more of them, and not at all where nobody is left who could send one.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from service.errors import ClearcallError, EngineStopped, SharpeningFailed
from service.frame_codec import ImageArray
from service.queues import Job, Queues, StreamQueue

if TYPE_CHECKING:  # loading torch takes seconds, and lanes only call what they are given
    from service.model.live import LiveFrame, LiveSharpener
    from service.model.sharpener import Sharpener

__all__ = ["Lanes", "Sharpened", "Work"]

_PIECE_PX = 768  # the sides of an image's pieces while streams are open: what a frame waits for


@dataclass(frozen=True, slots=True)
class Sharpened:
    """A sharpened image (H, W, 3) uint8 RGB, and how it was made.

    Attributes:
        queue_ms: its wait for the model.
        inference_ms: the model's time.
        student: the name of the student that did it: nano, small, base, or the checkpoint's id.
        scale: of the picture that the network worked on; 1.0 = at full resolution.
        still_share: of the picture, whose last correction was used again; 0 to 1.
        batch: frames that went through the network together.
        settle: of a frame of a batch, what is left to be done with its image; see `LiveTurn`.
    """

    image: ImageArray
    queue_ms: float
    inference_ms: float
    student: str
    scale: float = 1.0
    still_share: float = 0.0
    batch: int = 1
    settle: Callable[[ImageArray], LiveFrame] | None = None


@dataclass(slots=True, eq=False, kw_only=True)
class Work(Job):
    """One picture to sharpen; `live` is the memory of the stream whose frame it is."""

    image: ImageArray
    strength: float
    sharpener: Sharpener
    submitted_s: float
    answer: asyncio.Future[Sharpened]
    live: LiveSharpener | None = None
    scale: float = 1.0
    reuses_still: bool = False
    pieces: Generator[None, int | None, ImageArray] | None = None
    spent_s: float = 0.0  # in the network, in the pieces so far


_Outcome: TypeAlias = Sharpened | ClearcallError


class Lanes:
    """The queues and the threads that work them off. Its methods are called from one event loop."""

    def __init__(self, *, batch_wait_s: float, clock: Callable[[], float]) -> None:
        self._batch_wait_s = batch_wait_s
        self._clock = clock
        self._changed = threading.Condition()  # guards the queues
        self._queues: Queues[Work] = Queues()
        self._threads: list[threading.Thread] = []
        self._is_stopping = False
        self._max_images = 1
        self._max_of_stream: int | None = None

    @property
    def are_alive(self) -> bool:
        """Whether all threads run."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    @property
    def frames_waiting(self) -> int:
        """Frames of all streams that wait for a lane."""
        with self._changed:
            return self._queues.frames_waiting

    @property
    def images_waiting(self) -> int:
        """Images that wait for a lane, begun ones included."""
        return len(self._queues.images)

    def start(self, sharpener: Sharpener) -> None:
        """Starts the lanes that the model has, which answer in the running event loop."""
        count = sharpener.lanes
        self._max_images = max(1, count - 1)
        if sharpener.max_batch == 1:  # else a frame takes too little time to wait for one
            self._max_of_stream = max(1, count - 1)
        loop = asyncio.get_running_loop()
        for lane in range(count):
            thread = threading.Thread(
                target=self._work, args=(lane, loop), name=f"clearcall-engine-{lane}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    async def stop(self) -> None:
        """Lets what is in the network finish, fails what waits with EngineStopped."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        with self._changed:
            left = self._queues.waiting()
        for work in left:
            _settle(work.answer, EngineStopped("The service is stopping."))

    def open_stream(self) -> StreamQueue:
        """A queue for one more stream."""
        with self._changed:
            return self._queues.open_stream()

    def close_stream(self, stream: StreamQueue) -> None:
        """Ends a stream; whoever still waits for a frame of it is told."""
        with self._changed:
            left = self._queues.close_stream(stream)
            self._changed.notify_all()
        for work in left:
            _settle(work.answer, EngineStopped("The stream is closed."))

    async def run(self, work: Work) -> Sharpened:
        """Lets work wait for its turn and returns what came of it.

        A caller that is cancelled takes it out of the queue; what is in the network already is
        finished and thrown away.
        """
        with self._changed:
            self._queues.put(work)
            self._changed.notify_all()  # one of them may wait for other frames only
        try:
            return await work.answer
        except asyncio.CancelledError:
            with self._changed:
                self._queues.remove(work)
            raise

    # From here on, the lanes' threads.

    def _work(self, lane: int, loop: asyncio.AbstractEventLoop) -> None:
        while self._work_once(lane, loop):  # between two, no picture and no student is held
            pass

    def _work_once(self, lane: int, loop: asyncio.AbstractEventLoop) -> bool:
        if not (started := self._next()):
            return False
        # Only a picture that begins alone gets the whole machine, so that no two ever do.
        outcomes = self._run(started, None if started[0].is_alone else lane)
        with self._changed:
            for work in started:
                if work.pieces is None or work.answer.cancelled():
                    self._queues.finish(work)
                else:
                    self._queues.put_back(work)
            self._changed.notify_all()
        # Last, so that whoever sends his next frame upon an answer finds the machine free.
        for work, outcome in outcomes:
            loop.call_soon_threadsafe(_settle, work.answer, outcome)
        return True

    def _next(self) -> list[Work]:
        """What to run now, one image or frame, or several frames together; none = stop."""
        with self._changed:
            while not self._is_stopping:
                first = self._queues.start_next(
                    max_images=self._max_images, max_of_stream=self._max_of_stream
                )
                if first is not None:
                    return [first, *self._companions(first)]
                self._changed.wait()
        return []

    def _companions(self, first: Work) -> list[Work]:
        if first.key is None:
            return []
        room = first.sharpener.max_batch - 1
        companions: list[Work] = []
        end_s = self._clock() + self._batch_wait_s
        while True:
            companions += self._queues.start_companions(first, room - len(companions))
            wait_s = end_s - self._clock()
            is_complete = len(companions) >= min(room, self._queues.streams_open - 1)
            if is_complete or wait_s <= 0 or self._is_stopping:
                return companions
            self._changed.wait(wait_s)

    def _run(self, started: list[Work], lane: int | None) -> list[tuple[Work, _Outcome]]:
        """Runs what was started; an image that has pieces left has no outcome yet."""
        wanted = [work for work in started if not work.answer.cancelled()]
        if len(wanted) > 1:
            with contextlib.suppress(Exception):  # then each answers for itself
                return self._run_batch(wanted, lane)
        outcomes = [(work, self._run_one(work, lane)) for work in wanted]
        return [(work, outcome) for work, outcome in outcomes if outcome is not None]

    def _run_one(self, work: Work, lane: int | None) -> _Outcome | None:
        begun_s = self._clock()
        still_share = 0.0
        try:
            if work.live is not None:
                frame = work.live.sharpen(
                    work.sharpener,
                    work.image,
                    strength=work.strength,
                    scale=work.scale,
                    reuses_still=work.reuses_still,
                    lane=lane,
                )
                image, still_share = frame.image, frame.still_share
            else:
                finished = self._run_piece(work, lane)
                if finished is None:
                    work.spent_s += self._clock() - begun_s
                    return None
                image = finished
        except ClearcallError as exc:
            work.pieces = None
            return exc
        except Exception as exc:
            work.pieces = None
            failure = SharpeningFailed(
                "The network failed on this picture. The cause is in the service's log."
            )
            failure.__cause__ = exc
            return failure
        return self._sharpened(work, image, begun_s=begun_s, still_share=still_share)

    def _run_piece(self, work: Work, lane: int | None) -> ImageArray | None:
        """Does the next piece of an image; returns the image after the last one."""
        if work.pieces is None:
            tile_px = _PIECE_PX if self._queues.streams_open else None
            work.pieces = work.sharpener.pieces(work.image, strength=work.strength, tile_px=tile_px)
            next(work.pieces)
        try:
            work.pieces.send(lane)
        except StopIteration as done:
            work.pieces = None
            image: ImageArray = done.value
            return image
        return None

    def _run_batch(self, works: list[Work], lane: int | None) -> list[tuple[Work, _Outcome]]:
        begun_s = self._clock()
        first = works[0]
        turns = [
            work.live.begin(
                work.sharpener,
                work.image,
                strength=work.strength,
                reuses_still=work.reuses_still,
                lane=lane,
            )
            for work in works
            if work.live is not None
        ]
        images = first.sharpener.sharpen_batch(
            [work.image for work in works],
            strength=first.strength,
            descriptions=[turn.description for turn in turns],
            lane=lane,
        )
        return [
            (
                work,
                replace(
                    self._sharpened(work, image, begun_s=begun_s),
                    batch=len(works),
                    settle=turn.settle if work.reuses_still else None,
                ),
            )
            for work, image, turn in zip(works, images, turns, strict=True)
        ]

    def _sharpened(
        self,
        work: Work,
        image: ImageArray,
        *,
        begun_s: float,
        still_share: float = 0.0,
    ) -> Sharpened:
        end_s = self._clock()
        work.spent_s += end_s - begun_s
        return Sharpened(
            image,
            queue_ms=(end_s - work.submitted_s - work.spent_s) * 1000,
            inference_ms=work.spent_s * 1000,
            student=work.sharpener.name,
            scale=work.scale,
            still_share=still_share,
        )


def _settle(answer: asyncio.Future[Sharpened], outcome: _Outcome) -> None:
    if answer.done():
        return
    if isinstance(outcome, Sharpened):
        answer.set_result(outcome)
    else:
        answer.set_exception(outcome)
