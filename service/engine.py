"""The engine: it alone runs the loaded model; everybody else waits for it in bounded queues.

- A picture that is alone gets the whole machine. While there is more work, each of the model's
  lanes takes the next picture on its share of the cores: nobody waits for the slowest thread of a
  picture, so that more of them are finished.
- Frames go before images: a stream is live, an upload can wait. Where there are several lanes, one
  is kept free of images. But no image is overtaken by more than `MAX_FRAMES_BEFORE_AN_IMAGE`
  frames, so that busy streams cannot starve it.
- Frames are bounded by their streams: `max_streams` times `frames_in_flight`.
- Images are admitted before they are decoded. `max_waiting_images` may wait, still encoded; one
  more is refused with QueueFull. At most `_DECODED_IMAGES` are held decoded: one in the network and
  one ready to follow it.
- A caller that is cancelled takes its work out of the queue; a picture that is in the network
  already is finished and thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from service.codec import ImageArray
from service.errors import ClearcallError, EngineStopped, QueueFull, SharpeningFailed

if TYPE_CHECKING:  # loading torch takes seconds, and the engine only calls what it is given
    from service.model.sharpener import Sharpener

__all__ = ["MAX_FRAMES_BEFORE_AN_IMAGE", "Engine", "Sharpened", "WorkKind"]

WorkKind = Literal["image", "frame"]

MAX_FRAMES_BEFORE_AN_IMAGE = 30
_DECODED_IMAGES = 2
_MAX_RETRY_AFTER_S = 60


@dataclass(frozen=True, slots=True)
class Sharpened:
    """A sharpened image (H, W, 3) uint8 RGB, its wait for the model and the model's time."""

    image: ImageArray
    queue_ms: float
    inference_ms: float


@dataclass(slots=True, eq=False)
class _Job:
    image: ImageArray
    strength: float
    kind: WorkKind
    submitted_s: float
    answer: asyncio.Future[Sharpened]
    is_alone: bool = False


@dataclass(slots=True)
class _Queues:
    """The jobs that wait or run; guarded by the engine's condition."""

    frame: deque[_Job] = field(default_factory=deque)
    image: deque[_Job] = field(default_factory=deque)
    running: list[_Job] = field(default_factory=list)
    frames_since_image: int = 0

    def of(self, kind: WorkKind) -> deque[_Job]:
        return self.frame if kind == "frame" else self.image

    def start_next(self, *, max_images: int) -> _Job | None:
        """The job to run now, counted as running; at most `max_images` images run at once."""
        job = self._pop(sum(job.kind == "image" for job in self.running) < max_images)
        if job is not None:
            job.is_alone = not self.running and not self.frame
            self.running.append(job)
        return job

    def _pop(self, has_room_for_image: bool) -> _Job | None:
        is_image_due = self.frames_since_image >= MAX_FRAMES_BEFORE_AN_IMAGE
        is_image_next = bool(self.image) and has_room_for_image
        if self.frame and not (is_image_next and is_image_due):
            self.frames_since_image = self.frames_since_image + 1 if self.image else 0
            return self.frame.popleft()
        if not is_image_next:
            return None
        self.frames_since_image = 0
        return self.image.popleft()


class Engine:
    """Owns the model and the threads that run it. Its methods are called from one event loop."""

    def __init__(
        self, *, max_waiting_images: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._max_waiting_images = max_waiting_images
        self._clock = clock
        self._sharpener: Sharpener | None = None
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._queues = _Queues()
        self._is_stopping = False
        self._places = asyncio.Semaphore(_DECODED_IMAGES)
        self._images_waiting = 0
        self._image_s = 1.0  # what an image takes, for Retry-After; a moving average

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded, warmed up and served."""
        is_alive = all(thread.is_alive() for thread in self._threads)
        return self._sharpener is not None and is_alive and not self._is_stopping

    @property
    def sharpener(self) -> Sharpener:
        """The loaded model, to read its facts; only the engine's threads run it.

        Raises:
            EngineStopped: It is not loaded yet, or no longer served.
        """
        if self._sharpener is None or not self.is_ready:
            raise EngineStopped("The model is not ready. Try again in a moment.")
        return self._sharpener

    def waiting(self, kind: WorkKind) -> int:
        """How many pictures of a kind wait: for the model, and images also for their place."""
        before = self._images_waiting if kind == "image" else 0
        return before + len(self._queues.of(kind))

    async def start(self, load: Callable[[], Sharpener]) -> None:
        """Loads the model and warms it up in a thread of the engine; returns when it is ready.

        Raises:
            ClearcallError: What `load` raised.
        """
        assert not self._threads, "an engine starts once"
        loop = asyncio.get_running_loop()
        loaded: asyncio.Future[Sharpener] = loop.create_future()
        self._start_thread(self._load, load, loop, loaded)
        sharpener = await loaded
        self._threads.clear()
        for lane in range(sharpener.lanes):
            self._start_thread(self._work, sharpener, lane, loop)
        self._sharpener = sharpener

    def _start_thread(self, target: Callable[..., None], *args: Any) -> None:
        name = f"clearcall-engine-{len(self._threads)}"
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    async def stop(self) -> None:
        """Fails what waits with EngineStopped, lets the pictures in the network finish."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        for job in (*self._queues.frame, *self._queues.image):
            if not job.answer.done():
                job.answer.set_exception(EngineStopped("The service is stopping."))

    @contextlib.asynccontextmanager
    async def image_place(self) -> AsyncIterator[float]:
        """Admits one image, before it is decoded, and waits for its turn; yields the wait in ms.

        Raises:
            QueueFull: As many as may wait are waiting.
            EngineStopped: The engine is not running.
        """
        self.check_admission()
        arrived_s = self._clock()
        self._images_waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._images_waiting -= 1
        try:
            yield (self._clock() - arrived_s) * 1000
        finally:
            self._places.release()

    def check_admission(self) -> None:
        """Says early, before an upload is read, that it would be refused.

        Raises:
            QueueFull: As many images as may wait are waiting.
            EngineStopped: The engine is not running.
        """
        if not self.is_ready:
            raise EngineStopped("The model is not ready. Try again in a moment.")
        if self._places.locked() and self._images_waiting >= self._max_waiting_images:
            estimate_s = math.ceil(self._image_s * (self._images_waiting + _DECODED_IMAGES))
            raise QueueFull(
                limit=self._max_waiting_images,
                retry_after_s=min(max(estimate_s, 1), _MAX_RETRY_AFTER_S),
            )

    async def sharpen(self, image: ImageArray, strength: float, kind: WorkKind) -> Sharpened:
        """Sharpens one image in a thread of the engine.

        Args:
            image: (H, W, 3) uint8 RGB.
            strength: Of the correction: 0 (off), 1 (as trained) to 2 (stronger).
            kind: A "frame" goes before an "image". For an image the caller holds an `image_place`.

        Raises:
            SharpeningFailed: The network failed on this image.
            EngineStopped: The engine is not running, or stops before the image's turn.
        """
        if not self.is_ready:
            raise EngineStopped("The model is not ready. Try again in a moment.")
        answer: asyncio.Future[Sharpened] = asyncio.get_running_loop().create_future()
        job = _Job(image, strength, kind, self._clock(), answer)
        queue = self._queues.of(kind)
        with self._changed:
            queue.append(job)
            self._changed.notify()
        try:
            sharpened = await answer
        except asyncio.CancelledError:
            with self._changed, contextlib.suppress(ValueError):  # it may be in the network already
                queue.remove(job)
            raise
        if kind == "image":
            self._image_s = 0.7 * self._image_s + 0.3 * sharpened.inference_ms / 1000
        return sharpened

    # From here on, the engine's threads.

    def _load(
        self,
        load: Callable[[], Sharpener],
        loop: asyncio.AbstractEventLoop,
        loaded: asyncio.Future[Sharpener],
    ) -> None:
        try:
            sharpener = load()
            sharpener.warm_up()
        except Exception as exc:
            loop.call_soon_threadsafe(_fail, loaded, exc)
        else:
            loop.call_soon_threadsafe(_answer, loaded, sharpener)

    def _work(self, sharpener: Sharpener, lane: int, loop: asyncio.AbstractEventLoop) -> None:
        max_images = max(1, sharpener.lanes - 1)
        while (job := self._next_job(max_images)) is not None:
            # Only a picture that begins alone gets the whole machine, so that no two ever do.
            self._run(sharpener, job, None if job.is_alone else lane, loop)
            with self._changed:
                self._queues.running.remove(job)
                self._changed.notify_all()

    def _next_job(self, max_images: int) -> _Job | None:
        with self._changed:
            while not self._is_stopping:
                if (job := self._queues.start_next(max_images=max_images)) is not None:
                    return job
                self._changed.wait()
        return None

    def _run(
        self,
        sharpener: Sharpener,
        job: _Job,
        lane: int | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        if job.answer.cancelled():
            return
        started_s = self._clock()
        try:
            image = sharpener.sharpen(job.image, strength=job.strength, lane=lane)
        except ClearcallError as exc:
            loop.call_soon_threadsafe(_fail, job.answer, exc)
        except Exception as exc:
            failure = SharpeningFailed(
                "The network failed on this picture. The cause is in the service's log."
            )
            failure.__cause__ = exc
            loop.call_soon_threadsafe(_fail, job.answer, failure)
        else:
            sharpened = Sharpened(
                image,
                queue_ms=(started_s - job.submitted_s) * 1000,
                inference_ms=(self._clock() - started_s) * 1000,
            )
            loop.call_soon_threadsafe(_answer, job.answer, sharpened)


def _answer(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], exc: Exception) -> None:
    if not future.done():
        future.set_exception(exc)
