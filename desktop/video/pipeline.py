"""The stages of a video - decode, network, encode - and the threads that run them.

Each stage is an object with one method, so that it can also be run and timed alone; between the
last two there may be one that looks ahead, see `fusing`. Between two stages a few frames wait at
most: the slowest sets the pace, and memory stays bounded.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from av import Packet, VideoFrame
from av.video.reformatter import VideoReformatter

from desktop.video.channel import Channel, ChannelClosed
from desktop.video.colour import Colour
from desktop.video.frames import FrameFitter, scaled
from desktop.video.overlay import Overlay, before_half
from desktop.video.sink import Sink
from desktop.video.source import Item

if TYPE_CHECKING:
    from service.model.live import LiveSharpener
    from service.model.sharpener import Sharpener

__all__ = ["Decoding", "Encoding", "Passed", "Picture", "Sharpening", "Tally", "run_stages"]

ImageArray = npt.NDArray[np.uint8]

_WAITING = 4  # frames between two stages
_POLL_S = 0.1  # how often the progress is told
_SPEED_OVER = 30  # frames, of the speed that is drawn


@dataclass(slots=True)
class Picture:
    """A frame on its way.

    Attributes:
        frame: planar YUV, as it will be encoded.
        image: the same as (H, W, 3) uint8 RGB.
        sharpened: what the network made of it, once it has.
        inference_ms: how long that took.
    """

    frame: VideoFrame
    image: ImageArray
    sharpened: ImageArray | None = None
    inference_ms: float = 0.0


Passed: TypeAlias = "Packet[Any] | Picture"


@dataclass(slots=True)
class Tally:
    """What was done so far; written by one thread, read by others.

    Attributes:
        frames: encoded.
        time_s: of the last one in the new file.
        still_share: summed over the frames, how much of each stood still.
        inference_s: in the network.
        fusing_s: in the fusion with neighbours; written by another thread than the rest.
    """

    frames: int = 0
    time_s: float = 0.0
    still_share: float = 0.0
    inference_s: float = 0.0
    fusing_s: float = 0.0


class Decoding:
    """Decoded frames -> pictures; packets pass."""

    def __init__(self, items: Iterator[Item], fitter: FrameFitter) -> None:
        self._items = items
        self._fitter = fitter

    def __iter__(self) -> Iterator[Passed]:
        for item in self._items:
            if isinstance(item, VideoFrame):
                frame = self._fitter.fit(item)
                yield Picture(frame, Colour.of(frame).to_rgb(frame))
            else:
                yield item


class Sharpening:
    """Pictures -> sharpened pictures, several side by side where the backend has lanes.

    A frame on each core leaves no core waiting for another's part of a picture, which matters where
    encoder and decoder want their share of the cores in between.
    """

    def __init__(
        self, sharpener: Sharpener, live: LiveSharpener, *, strength: float, tally: Tally
    ) -> None:
        self._sharpener = sharpener
        self._live = live
        self._strength = strength
        self._tally = tally
        self._counting = threading.Lock()

    @property
    def lanes(self) -> tuple[int | None, ...]:
        """The lanes that pictures may go through at once; None = the whole machine."""
        lanes = self._sharpener.lanes
        return (None,) if lanes == 1 else tuple(range(lanes))

    def run(self, picture: Picture, *, lane: int | None = None) -> None:
        """Sharpens one picture as the next of its stream."""
        if not self._strength:
            return
        begun_s = time.perf_counter()
        done = self._live.sharpen(
            self._sharpener, picture.image, strength=self._strength, lane=lane
        )
        took_s = time.perf_counter() - begun_s
        picture.sharpened, picture.inference_ms = done.image, took_s * 1000
        with self._counting:
            self._tally.still_share += done.still_share
            self._tally.inference_s += took_s


class Encoding:
    """Corrections into frames, and these and the packets into the file."""

    def __init__(
        self,
        sink: Sink,
        *,
        quarter_turns: int,
        has_overlay: bool,
        is_split: bool,
        size_px: tuple[int, int] | None,
        tally: Tally,
    ) -> None:
        """Args:
        sink: set up already.
        quarter_turns: see `overlay.before_half`.
        has_overlay: whether the speed is drawn.
        is_split: whether the left half stays what it was.
        size_px: (height, width) that finished frames are scaled to, or None.
        """
        self._sink = sink
        self._turns = quarter_turns
        self._has_overlay = has_overlay
        self._is_split = is_split
        self._size_px = size_px
        self._tally = tally
        self._scaler = VideoReformatter()
        self._overlay: Overlay | None = None
        self._done_s: deque[float] = deque(maxlen=_SPEED_OVER)

    def run(self, passed: Passed) -> None:
        """Takes what comes next.

        Raises:
            VideoError: the disk is full, or the encoder failed.
        """
        if not isinstance(passed, Picture):
            self._sink.copy(passed)
            return
        frame = self._corrected(passed)
        if self._size_px is not None:
            height, width = self._size_px
            frame = scaled(self._scaler, frame, height, width, pixels=frame.format.name)
        if self._has_overlay or self._is_split:
            self._draw(frame, passed.inference_ms)
        assert frame.pts is not None, "the source gave it"
        assert frame.time_base is not None, "the source gave it"
        time_s = float((frame.pts + frame.duration) * frame.time_base)
        self._sink.encode(frame)
        self._tally.frames += 1
        self._tally.time_s = time_s

    def finish(self) -> None:
        """Writes what the encoder still holds."""
        self._sink.encode(None)

    def _corrected(self, picture: Picture) -> VideoFrame:
        frame = picture.frame
        frame.make_writable()  # the decoder may still look at it
        if picture.sharpened is None:
            return frame
        correction: Any = cv2.subtract(picture.sharpened, picture.image, dtype=cv2.CV_16S)
        if self._is_split:
            correction[before_half(frame.height, frame.width, self._turns)] = 0
        Colour.of(frame).add(frame, correction)
        return frame

    def _draw(self, frame: VideoFrame, inference_ms: float) -> None:
        if self._overlay is None:
            self._overlay = Overlay(frame.height, frame.width, self._turns, has_line=self._is_split)
        self._done_s.append(time.perf_counter())
        text = ""
        if self._has_overlay and len(self._done_s) > 1:
            fps = (len(self._done_s) - 1) / (self._done_s[-1] - self._done_s[0])
            text = f"{fps:.1f} FPS  {inference_ms:.0f} ms"
        self._overlay.draw(frame, Colour.of(frame), text)


class Ending(Protocol):
    """What takes the pictures and packets at the end: `Encoding`, or a measurement's."""

    def run(self, passed: Passed, /) -> object: ...

    def finish(self) -> object: ...


class Between(Protocol):
    """What pictures and packets go through before the end, in their order: `fusing.Fusing`."""

    def through(self, passing: Iterable[Passed], /) -> Iterable[Passed]: ...


def run_stages(
    decoding: Iterable[Passed],
    sharpening: Sharpening,
    encoding: Ending,
    *,
    fusing: Between | None = None,
    on_progress: Callable[[], None] = lambda: None,
) -> None:
    """Runs the stages side by side, in threads of their own, until the last frame is written.

    `on_progress` is called now and then, in the calling thread. Whatever is raised, in a stage or
    in the calling thread (Ctrl-C), ends all stages and comes out here.
    """
    lanes = sharpening.lanes
    ended = threading.Semaphore(len(lanes) - 1)  # so many lanes end without being the last
    decoded: Channel[Picture] = Channel(_WAITING)
    sharpened: Channel[Passed] = Channel(_WAITING)
    finished: Channel[Passed] = Channel(_WAITING) if fusing else sharpened
    channels: tuple[Channel[Any], ...] = (decoded, sharpened, finished)
    failures: list[BaseException] = []

    def decode() -> None:
        for passed in decoding:
            # Packets need no network; the container sorts them in.
            if isinstance(passed, Picture):
                decoded.put(passed)
            else:
                sharpened.put(passed)
        decoded.finish()

    def sharpen(lane: int | None) -> None:
        while (taken := decoded.take()) is not None:
            number, picture = taken
            sharpening.run(picture, lane=lane)
            sharpened.put(picture, number=number)
        if not ended.acquire(blocking=False):
            sharpened.finish()

    def fuse(between: Between) -> None:
        for passed in between.through(sharpened):
            finished.put(passed)
        finished.finish()

    def encode() -> None:
        for passed in finished:
            encoding.run(passed)
        encoding.finish()

    def guarded(stage: Callable[[], None]) -> None:
        try:
            stage()
        except ChannelClosed:
            pass
        except BaseException as exc:
            failures.append(exc)
            for channel in channels:
                channel.close()

    stages: dict[str, Callable[[], None]] = {"decode": decode, "encode": encode}
    if fusing is not None:
        stages["fuse"] = partial(fuse, fusing)
    stages |= {f"sharpen-{number}": partial(sharpen, lane) for number, lane in enumerate(lanes)}
    _run_threads(
        {name: partial(guarded, stage) for name, stage in stages.items()}, channels, on_progress
    )
    if failures:
        raise failures[0]


def _run_threads(
    stages: Mapping[str, Callable[[], None]],
    channels: Iterable[Channel[Any]],
    on_progress: Callable[[], None],
) -> None:
    """Runs each in a thread until all have ended; closes the channels if it is interrupted."""
    threads = [
        threading.Thread(target=stage, name=f"video-{name}", daemon=True)
        for name, stage in stages.items()
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_POLL_S)
                on_progress()
    finally:
        for channel in channels:
            channel.close()
        for thread in threads:
            if thread.ident is not None:  # it was started
                thread.join()
