"""The engine: it alone runs the loaded students; everybody else waits for it in bounded queues.

- Frames of all streams meet here. Each stream has a queue of its own, bounded by its frames in
  flight; whose turn it is, `queues` says, and `lanes` runs it.
- Images are admitted before they are decoded, see `places`: `max_waiting_images` may wait, one more
  is refused with QueueFull.
- While the open streams take `max_pixels_per_s` or more (see `admission`), new streams and images
  are refused with EngineBusy. What the machine is measured to do is told in the log only.
- The stop: `begin_drain` sets `draining`, an event that whoever runs a stream waits for to end it
  with a reason. From then on nothing new is admitted and `is_ready` is false; what was admitted
  goes on, and so does `EngineStream.sharpen` for the frames that are under way. `drained` returns
  when the last stream is closed and the last image answered. `stop` ends the threads and fails what
  still waits with EngineStopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from service.admission import WINDOW_S, Load
from service.errors import EngineBusy, EngineStopped
from service.frame_codec import ImageArray
from service.ladder import Rung
from service.lanes import Lanes, Sharpened, Work
from service.model.live import LiveFrame, LiveSharpener
from service.places import ImagePlaces
from service.queues import MAX_FRAMES_BEFORE_AN_IMAGE, StreamQueue
from service.students import Students, load_students, smaller_sizes
from service.turnstile import Turnstile

if TYPE_CHECKING:  # loading torch takes seconds, and the engine only calls what it is given
    from service.model.sharpener import MeasuredSize, Sharpener

__all__ = ["MAX_FRAMES_BEFORE_AN_IMAGE", "Engine", "EngineStream", "Sharpened", "WorkKind"]

WorkKind = Literal["image", "frame"]

_LOGGER = logging.getLogger(__name__)
# Frames of 640x360 one by one instead of one on each core: 9 % fewer, with 0.65 of the delay. Of
# 256x256: 28 % fewer.
_LARGE_FRAME_PX = 200_000
_UNLOAD_AFTER_S = 300.0  # without any stream, the smaller students are freed


class Engine:
    """Owns the students and the threads that run them. It is called from one event loop."""

    def __init__(
        self,
        *,
        max_waiting_images: int,
        max_pixels_per_s: int = 0,
        batch_wait_ms: float = 0.0,
        note: Callable[[WorkKind, Sharpened], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Prepares an engine; `start` loads the model.

        Args:
            max_waiting_images: See above.
            max_pixels_per_s: See above; 0 = no limit.
            batch_wait_ms: How long a frame may wait for others to go with it, where batches are
                faster; 0 = never.
            note: Called with each picture that was sharpened.
            clock: Seconds.
        """
        self.draining = asyncio.Event()
        self._max_pixels_per_s = max_pixels_per_s
        self._note = note or (lambda _kind, _sharpened: None)
        self._clock = clock
        self._students: Students | None = None
        self._ladder: tuple[str, ...] = ()
        self.revision = 0  # goes up whenever another student takes the served one's place
        self._lanes = Lanes(batch_wait_s=batch_wait_ms / 1000, clock=clock)
        self.turnstile = Turnstile(turn=_turn, room=self._room)
        self._load = Load(clock=clock)
        self._streams: set[EngineStream] = set()
        self._unloading: asyncio.TimerHandle | None = None
        self._is_stopped = False
        self._places = ImagePlaces(max_waiting=max_waiting_images, clock=clock)
        self._is_idle = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded, warmed up, and new work is taken."""
        return self._is_running and not self.draining.is_set()

    @property
    def _is_running(self) -> bool:
        return self._students is not None and not self._is_stopped and self._lanes.are_alive

    @property
    def sharpener(self) -> Sharpener:
        """The served student, to read its facts; only the engine's threads run it.

        Raises:
            EngineStopped: It is not loaded yet, or no longer served.
        """
        return self._running_students().served

    @property
    def students(self) -> tuple[str, ...]:
        """The names that rungs may use, best first; the served student is the first.

        Raises:
            EngineStopped: None is loaded yet, or they are no longer served.
        """
        return self._running_students().names

    @property
    def sizes(self) -> tuple[MeasuredSize, ...]:
        """What the served student took for usual frame sizes when it was warmed up.

        Raises:
            EngineStopped: It is not loaded yet, or no longer served.
        """
        return self._running_students().sizes

    @property
    def load_px_per_s(self) -> float:
        """What the open streams take, see `admission`."""
        return self._load.px_per_s()

    def _running_students(self) -> Students:
        if self._students is None or not self._is_running:
            raise EngineStopped("The model is not ready. Try again in a moment.")
        return self._students

    def waiting(self, kind: WorkKind) -> int:
        """How many pictures of a kind wait: for the model, and images also for their place."""
        if kind == "frame":
            return self._lanes.frames_waiting
        return self._places.waiting + self._lanes.images_waiting

    async def start(
        self,
        load: Callable[[], Sharpener],
        *,
        ladder: Sequence[str] = (),
        load_smaller: Callable[[str], Sharpener] | None = None,
    ) -> None:
        """Loads the model and warms it up in a thread of its own; returns when it is ready.

        Args:
            load: Makes the served student.
            ladder: Bundled sizes that streams may use too, those that are smaller than the served
                student.
            load_smaller: Loads one of them, in a thread, when it is first asked for.

        Raises:
            ClearcallError: What `load` raised.
        """
        assert self._students is None, "an engine starts once"

        self._ladder = tuple(ladder)
        students = await load_students(load, ladder=ladder, load_smaller=load_smaller)
        self._hint_at_load(students.sizes)
        self._lanes.start(students.served)
        self._students = students

    def swap(self, sharpener: Sharpener, *, sizes: Sequence[MeasuredSize]) -> None:
        """Serves another student from the next picture on; what is in work ends with the old one.

        Args:
            sharpener: Warmed up, and of the old one's device, lanes and batches.
            sizes: What it takes for usual frame sizes.

        Raises:
            EngineStopped: The engine is not running.
            ValueError: It runs in another way than the old one.
        """
        students = self._running_students()
        old = students.served
        for name in ("device", "lanes", "max_batch"):
            if (now := getattr(sharpener, name)) != (before := getattr(old, name)):
                raise ValueError(f"its {name} is {now}, and that of what is served {before}")
        smaller = smaller_sizes(sharpener, self._ladder)
        students.replace(sharpener, smaller, sizes=tuple(sizes))
        self.revision += 1

    async def trial(self, sharpener: Sharpener, image: ImageArray) -> Sharpened:
        """What a student, served or not, makes of an image at its default strength.

        It waits as an upload does, behind the streams' frames, and is counted nowhere.

        Raises:
            SharpeningFailed: The network failed on it.
            EngineStopped: The engine is not running, or stops before its turn.
        """
        self.check_ready()
        return await self._lanes.run(self._image_work(sharpener, image, sharpener.default_strength))

    def _image_work(self, sharpener: Sharpener, image: ImageArray, strength: float) -> Work:
        return Work(
            cost_px=_pixels(image),
            image=image,
            strength=strength,
            sharpener=sharpener,
            submitted_s=self._clock(),
            answer=asyncio.get_running_loop().create_future(),
        )

    def _room(self, stream: EngineStream) -> int:
        """Frames to prepare at a time, see `turnstile`.

        On a CPU one for each lane, whose core decodes it; a large one by itself, on every core.
        Elsewhere, whole batches: one is prepared while another one is in the network.
        """
        served = self._running_students().served
        if served.device != "cpu":
            return int(2 * served.lanes * served.max_batch)
        return 1 if stream.frame_px >= _LARGE_FRAME_PX else int(served.lanes)

    def _hint_at_load(self, sizes: Sequence[MeasuredSize]) -> None:
        measured = max((size.px_per_s for size in sizes), default=0.0)
        if self._max_pixels_per_s > measured > 0:
            _LOGGER.warning(
                "max_pixels_per_s is %d, but this machine was measured to do about %d: streams "
                "will get fewer frames before new ones are refused",
                self._max_pixels_per_s,
                measured,
            )

    def begin_drain(self) -> None:
        """Takes nothing new from now on, see the module; may be called again."""
        self.draining.set()
        self._note_idle()

    async def drained(self) -> None:
        """Returns when the engine is draining, no stream is open and no image is left."""
        await self._is_idle.wait()

    def _note_idle(self) -> None:
        if self.draining.is_set() and not self._streams and not self._places.admitted:
            self._is_idle.set()

    async def stop(self) -> None:
        """Fails what waits with EngineStopped, lets the pictures in the network finish."""
        self.begin_drain()
        self._is_stopped = True
        if self._unloading is not None:
            self._unloading.cancel()
        await self._lanes.stop()
        if self._students is not None:
            await asyncio.to_thread(self._students.close)

    def open_stream(self) -> EngineStream:
        """A place for one more stream; it has to be closed.

        Raises:
            EngineBusy: The open streams are as much load as is allowed.
            EngineStopped: The engine is not running, or about to stop.
        """
        self._check_load()
        if self._unloading is not None:
            self._unloading.cancel()
        stream = EngineStream(self, self._lanes.open_stream())
        self._streams.add(stream)
        self._load.open(stream)
        return stream

    def _close_stream(self, stream: EngineStream, queue: StreamQueue) -> None:
        if stream not in self._streams:
            return
        self._streams.remove(stream)
        self.turnstile.forget(stream)
        self._load.close(stream)
        self._lanes.close_stream(queue)
        self._note_idle()
        if not self._streams and self._students is not None and not self._is_stopped:
            loop = asyncio.get_running_loop()
            self._unloading = loop.call_later(_UNLOAD_AFTER_S, self._students.unload)

    @contextlib.asynccontextmanager
    async def image_place(self) -> AsyncIterator[float]:
        """Admits one image, before it is decoded, and waits for its turn; yields the wait in ms.

        Raises:
            QueueFull: As many as may wait are waiting.
            EngineBusy: The open streams are as much load as is allowed.
            EngineStopped: The engine is not running, or about to stop.
        """
        self.check_admission()
        try:
            async with self._places.take() as waited_ms:
                yield waited_ms
        finally:
            self._note_idle()

    def check_admission(self) -> None:
        """Says early, before an upload is read, that it would be refused.

        Raises:
            QueueFull: As many images as may wait are waiting.
            EngineBusy: The open streams are as much load as is allowed.
            EngineStopped: The engine is not running, or about to stop.
        """
        self._check_load()
        self._places.check()

    def check_ready(self) -> None:
        """Whether the model is loaded and new work is taken, whatever the load.

        Raises:
            EngineStopped: It is not.
        """
        self._running_students()
        if self.draining.is_set():
            raise EngineStopped("The service is stopping. Try again in a moment.")

    def _check_load(self) -> None:
        self.check_ready()
        load_px_per_s = self.load_px_per_s
        if self._max_pixels_per_s and load_px_per_s >= self._max_pixels_per_s:
            raise EngineBusy(
                limit_px_per_s=self._max_pixels_per_s,
                load_px_per_s=load_px_per_s,
                retry_after_s=math.ceil(WINDOW_S),
            )

    async def sharpen(self, image: ImageArray, strength: float) -> Sharpened:
        """Sharpens an uploaded image, for which the caller holds an `image_place`.

        Args:
            image: (H, W, 3) uint8 RGB.
            strength: Of the correction: 0 (off), 1 (as trained) to 2 (stronger).

        Raises:
            SharpeningFailed: The network failed on this image.
            EngineStopped: The engine is not running, or stops before the image's turn.
        """
        work = self._image_work(self.sharpener, image, strength)
        sharpened = await self._lanes.run(work)
        self._places.note_took(sharpened.inference_ms / 1000)
        self._note("image", sharpened)
        return sharpened

    async def _sharpen_frame(
        self,
        stream: EngineStream,
        image: ImageArray,
        strength: float,
        *,
        rung: Rung | None,
        reuses_still: bool,
    ) -> Sharpened:
        students = self._running_students()
        if stream not in self._streams:
            raise EngineStopped("The stream is closed.")
        sharpener = students.served if rung is None else students.pick(rung.student)
        scale = 1.0 if rung is None else rung.scale
        cost_px = max(1, round(_pixels(image) * scale**2))
        stream.frame_px = cost_px
        self._load.note(stream, _pixels(image))
        is_fit = scale == 1 and strength > 0 and not stream.live.has_bars
        key = sharpener.batch_key(image) if is_fit else None
        work = Work(
            cost_px=cost_px,
            stream=stream.queue,
            key=None if key is None else (sharpener, key, strength),
            image=image,
            strength=strength,
            sharpener=sharpener,
            submitted_s=self._clock(),
            answer=asyncio.get_running_loop().create_future(),
            live=stream.live,
            scale=scale,
            reuses_still=reuses_still,
        )
        sharpened = await self._lanes.run(work)
        if sharpened.settle is not None:  # not in the lane: the network has other frames to do
            sharpened = await asyncio.to_thread(_settled, sharpened, sharpened.settle, self._clock)
        self._note("frame", sharpened)
        return sharpened


class EngineStream:
    """One stream's place in the engine: its queue, and what it remembers between its frames.

    `frame_px` is what the network had to work on in its last frame.
    """

    def __init__(self, engine: Engine, queue: StreamQueue) -> None:
        self._engine = engine
        self.queue = queue
        self.frame_px = 0
        self.live = LiveSharpener()

    @property
    def revision(self) -> int:
        """See `Engine.revision`."""
        return self._engine.revision

    async def sharpen(
        self,
        image: ImageArray,
        strength: float,
        *,
        rung: Rung | None = None,
        reuses_still: bool = True,
    ) -> Sharpened:
        """Sharpens the stream's next frame. The caller bounds how many of them wait.

        Args:
            image: (H, W, 3) uint8 RGB; it is kept, and must not be changed afterwards.
            strength: Of the correction: 0 (off), 1 (as trained) to 2 (stronger).
            rung: Which student, and at which scale; None = the served one at full resolution. While
                its student is being loaded, the next better one that is loaded does it.
            reuses_still: Whether the last correction is used again where the picture stands still.

        Raises:
            SharpeningFailed: The network failed on this frame.
            EngineStopped: The engine is not running, or stops before the frame's turn.
        """
        return await self._engine._sharpen_frame(
            self, image, strength, rung=rung, reuses_still=reuses_still
        )

    def enter(self, wake: Callable[[], object]) -> bool:
        """Whether the stream may take a frame up now; if not, `wake` is called when it may.

        Each frame that is let in has to `leave`, when it is sharpened or came to nothing.
        """
        return self._engine.turnstile.enter(self, wake)

    def leave(self) -> None:
        """See `enter`; once the stream is closed it does nothing."""
        self._engine.turnstile.leave(self)

    def close(self) -> None:
        """Gives the place back; may be called again."""
        self._engine._close_stream(self, self.queue)


def _settled(
    sharpened: Sharpened, settle: Callable[[ImageArray], LiveFrame], clock: Callable[[], float]
) -> Sharpened:
    begun_s = clock()
    frame = settle(sharpened.image)
    return replace(
        sharpened,
        image=frame.image,
        still_share=frame.still_share,
        inference_ms=sharpened.inference_ms + (clock() - begun_s) * 1000,
        settle=None,
    )


def _turn(stream: EngineStream) -> tuple[int, int]:
    """As in `queues`: who had the least work is next."""
    return stream.queue.had_px, stream.queue.last_turn


def _pixels(image: ImageArray) -> int:
    height, width = image.shape[:2]
    return int(height * width)
