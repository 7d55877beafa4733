"""The engine: one thread owns the loaded model; everybody else waits for it in bounded queues.

- Frames go before images: a stream is live, an upload can wait. But no image is overtaken by more
  than `MAX_FRAMES_BEFORE_AN_IMAGE` frames, so that busy streams cannot starve it.
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
    submitted_s: float
    answer: asyncio.Future[Sharpened]


@dataclass(slots=True)
class _Queues:
    """The jobs that wait; guarded by the engine's condition."""

    frame: deque[_Job] = field(default_factory=deque)
    image: deque[_Job] = field(default_factory=deque)
    frames_since_image: int = 0

    def of(self, kind: WorkKind) -> deque[_Job]:
        return self.frame if kind == "frame" else self.image

    def pop(self) -> _Job | None:
        is_image_due = self.frames_since_image >= MAX_FRAMES_BEFORE_AN_IMAGE
        if self.frame and not (self.image and is_image_due):
            self.frames_since_image = self.frames_since_image + 1 if self.image else 0
            return self.frame.popleft()
        self.frames_since_image = 0
        return self.image.popleft() if self.image else None


class Engine:
    """Owns the model and the thread that runs it. Its methods are called from one event loop."""

    def __init__(
        self, *, max_waiting_images: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._max_waiting_images = max_waiting_images
        self._clock = clock
        self._sharpener: Sharpener | None = None
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._queues = _Queues()
        self._is_stopping = False
        self._places = asyncio.Semaphore(_DECODED_IMAGES)
        self._images_waiting = 0
        self._image_s = 1.0  # what an image takes, for Retry-After; a moving average

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded, warmed up and served."""
        is_alive = self._thread is not None and self._thread.is_alive()
        return self._sharpener is not None and is_alive and not self._is_stopping

    @property
    def sharpener(self) -> Sharpener:
        """The loaded model, to read its facts; only the engine's thread runs it.

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
        """Loads the model and warms it up in the owner's thread; returns when it is ready.

        Raises:
            ClearcallError: What `load` raised.
        """
        assert self._thread is None, "an engine starts once"
        loop = asyncio.get_running_loop()
        loaded: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(
            target=self._own, args=(load, loop, loaded), name="clearcall-engine", daemon=True
        )
        self._thread.start()
        await loaded

    async def stop(self) -> None:
        """Fails what waits with EngineStopped, lets the picture in the network finish."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
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
        """Sharpens one image in the owner's thread.

        Args:
            image: (H, W, 3) uint8 RGB.
            strength: Of the unsharp mask, 0 to 2.
            kind: A "frame" goes before an "image". For an image the caller holds an `image_place`.

        Raises:
            SharpeningFailed: The network failed on this image.
            EngineStopped: The engine is not running, or stops before the image's turn.
        """
        if not self.is_ready:
            raise EngineStopped("The model is not ready. Try again in a moment.")
        answer: asyncio.Future[Sharpened] = asyncio.get_running_loop().create_future()
        job = _Job(image, strength, self._clock(), answer)
        queue = self._queues.of(kind)
        with self._changed:
            queue.append(job)
            self._changed.notify()
        try:
            sharpened = await answer
        except asyncio.CancelledError:
            with self._changed, contextlib.suppress(ValueError):  # the owner may have it already
                queue.remove(job)
            raise
        if kind == "image":
            self._image_s = 0.7 * self._image_s + 0.3 * sharpened.inference_ms / 1000
        return sharpened

    # From here on, the owner's thread.

    def _own(
        self,
        load: Callable[[], Sharpener],
        loop: asyncio.AbstractEventLoop,
        loaded: asyncio.Future[None],
    ) -> None:
        try:
            sharpener = load()
            sharpener.warm_up()
        except Exception as exc:
            loop.call_soon_threadsafe(_fail, loaded, exc)
            return
        self._sharpener = sharpener
        loop.call_soon_threadsafe(_answer, loaded, None)
        while (job := self._next_job()) is not None:
            self._run(sharpener, job, loop)

    def _next_job(self) -> _Job | None:
        with self._changed:
            while not self._is_stopping:
                if (job := self._queues.pop()) is not None:
                    return job
                self._changed.wait()
        return None

    def _run(self, sharpener: Sharpener, job: _Job, loop: asyncio.AbstractEventLoop) -> None:
        if job.answer.cancelled():
            return
        started_s = self._clock()
        try:
            image = sharpener.sharpen(job.image, strength=job.strength)
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
