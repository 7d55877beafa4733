"""What one stream remembers between its frames.

- The description. What degrades a stream's pictures (a camera, a lens, an encoder) changes slowly:
  it is asked for every few frames and smoothed, and taken anew after a cut.
- The last corrections, for the regions that stand still: see `still`.
- The bars around its pictures, which are left out: see `bars`.

The network may work on the picture scaled down; its correction is added to the full picture.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from service.model.bars import Bars, bars_around, sides_of_one_colour
from service.model.still import StillMemory

if TYPE_CHECKING:  # loading torch takes seconds, and a Sharpener is only called here
    from service.model.sharpener import Description, ImageArray, Sharpener

__all__ = ["DESCRIBE_EVERY", "LiveFrame", "LiveSharpener", "LiveTurn"]

DESCRIBE_EVERY = 8  # frames
_DESCRIBE_SOON = 2  # frames, after a description that was another one: a lens may be moving
_FRESH_SHARE = 0.25  # of a new description in the smoothed one

# Root mean squares of the difference of two descriptions. Frames of one scene are 0.1 to 0.25
# apart, which moves a correction by about a level; a blur of 1 px is 1.0 away from none, and a lens
# that finds its focus in two seconds goes 0.25 to 0.6 from one description to the next.
_DRIFT = 0.25  # by which the smoothed description leaves the one in use before it takes its place
_JUMP = 0.3  # by which a new description is another one, and is not smoothed

_SAMPLES_ACROSS = 32  # the shorter side of a picture
_OTHER_LEVELS = 30  # by which a sample is another one
_CUT_SHARE = 0.4  # of the samples are others: at least 0.55 after cuts, at most 0.26 of a talker


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """A sharpened image (H, W, 3) uint8 RGB.

    `still_share` is the share of it whose last correction was used again, 0 to 1.
    """

    image: ImageArray
    still_share: float


@dataclass(frozen=True, slots=True)
class LiveTurn:
    """A frame that someone else sharpens, with frames of other streams.

    Attributes:
        description: what it goes by.
        settle: from what the network made of it, (H, W, 3) uint8 RGB, to the stream's frame. It
            takes milliseconds, of any thread.
    """

    description: Description
    settle: Callable[[ImageArray], LiveFrame]


class LiveSharpener:
    """What one stream remembers between its frames; thread-safe, frames may overlap on two lanes.

    Another sharpener, strength, scale or frame size than the last time begins anew. One description
    is in use for all of a picture and replaced only when it has become another one, so that
    corrections of different frames go together.
    """

    def __init__(self, *, is_exact: bool = False) -> None:
        """With `is_exact` any change counts, not only one beyond the noise: each frame is what a
        whole run with the same description makes of it, bit for bit, and few are faster."""
        self._is_exact = is_exact
        self._lock = threading.Lock()
        self._asked: tuple[object, ...] = ()
        self._samples: npt.NDArray[np.uint8] | None = None
        self._descriptions = _Descriptions()
        self._memory: StillMemory | None = None
        self._bars = _BarsSeen()

    def sharpen(
        self,
        sharpener: Sharpener,
        image: ImageArray,
        *,
        strength: float,
        scale: float = 1.0,
        reuses_still: bool = True,
        lane: int | None = None,
    ) -> LiveFrame:
        """Sharpens the stream's next frame.

        Args:
            sharpener: does the work.
            image: (H, W, 3) uint8 RGB; it is not changed.
            strength: 0 (off), 1 (as trained) to 2 (stronger).
            scale: of the picture that the network works on, above 0 to 1.
            reuses_still: whether the last correction is used again where the picture stands still.
            lane: as in `Sharpener.sharpen`.

        Raises:
            ValueError: the array is no image, or the strength or scale is out of range.
        """
        if not 0 < scale <= 1:
            raise ValueError(f"scale must be above 0 and at most 1, not {scale}")
        if strength == 0 or not _is_image(image):
            return LiveFrame(sharpener.sharpen(image, strength=strength, lane=lane), 0.0)
        with self._lock:
            bars = self._bars.next(image)
        picture = image if bars is None else bars.without(image)
        done = self._sharpened(
            sharpener, picture, strength, scale=scale, reuses_still=reuses_still, lane=lane
        )
        return done if bars is None else replace(done, image=bars.around(image, done.image))

    def _sharpened(
        self,
        sharpener: Sharpener,
        image: ImageArray,
        strength: float,
        *,
        scale: float,
        reuses_still: bool,
        lane: int | None,
    ) -> LiveFrame:
        seen = np.ascontiguousarray(image if scale == 1 else _scaled_down(image, scale))
        description, memory = self._next(
            sharpener, seen, strength, scale=scale, reuses_still=reuses_still, lane=lane
        )

        def compute(part: ImageArray) -> ImageArray:
            return sharpener.sharpen(part, strength=strength, description=description, lane=lane)

        if memory is not None and sharpener.gains_by_parts:
            sharpened, still_share = memory.sharpen(
                seen, compute, context_px=sharpener.context_px, multiple=sharpener.size_multiple
            )
            done = LiveFrame(sharpened, still_share)
        elif reuses_still:
            done = self._settled(
                seen, compute(seen), memory, description, context_px=sharpener.context_px
            )
        else:
            done = LiveFrame(compute(seen), 0.0)
        if scale < 1:
            done = replace(done, image=_add_scaled_up(image, seen, done.image))
        return done

    @property
    def has_bars(self) -> bool:
        """Whether the last frame had bars around it: such frames do better alone."""
        return self._bars.seen is not None

    def begin(
        self,
        sharpener: Sharpener,
        image: ImageArray,
        *,
        strength: float,
        reuses_still: bool = True,
        lane: int | None = None,
    ) -> LiveTurn:
        """The stream's next frame, for whoever sharpens it with other streams' frames.

        See `sharpen`: the network works on the picture itself, bars and all.
        """
        with self._lock:
            self._bars.next(image)
        seen = np.ascontiguousarray(image)
        description, memory = self._next(
            sharpener, seen, strength, scale=1.0, reuses_still=reuses_still, lane=lane
        )

        def settle(sharpened: ImageArray) -> LiveFrame:
            if not reuses_still:
                return LiveFrame(sharpened, 0.0)
            return self._settled(
                seen, sharpened, memory, description, context_px=sharpener.context_px
            )

        return LiveTurn(description, settle)

    def _next(
        self,
        sharpener: Sharpener,
        seen: ImageArray,
        strength: float,
        *,
        scale: float,
        reuses_still: bool,
        lane: int | None,
    ) -> tuple[Description, StillMemory | None]:
        """What the next frame goes by, and the corrections that it may use again."""
        with self._lock:
            self._begin(sharpener, seen, strength=strength, scale=scale)
            description = self._descriptions.next(sharpener, seen, lane)
            if not reuses_still or self._descriptions.is_new:
                self._memory = None
            return description, self._memory

    def _settled(
        self,
        seen: ImageArray,
        sharpened: ImageArray,
        memory: StillMemory | None,
        description: Description,
        *,
        context_px: int,
    ) -> LiveFrame:
        """A whole that was computed, with the last correction where the picture stands still."""
        if memory is not None:
            return LiveFrame(*memory.settle(seen, sharpened, context_px=context_px))
        memory = StillMemory(seen, sharpened, is_exact=self._is_exact)
        with self._lock:
            if description is self._descriptions.in_use:
                self._memory = memory
        return LiveFrame(sharpened, 0.0)

    def _begin(
        self, sharpener: Sharpener, seen: ImageArray, *, strength: float, scale: float
    ) -> None:
        """Forgets everything if this is another stream than before, or another scene."""
        # Only a reference: a stream that pauses does not keep a student that is served no more.
        asked = (weakref.ref(sharpener), strength, scale, seen.shape)
        samples = _samples_of(seen)
        if self._samples is None or asked != self._asked or _is_cut(self._samples, samples):
            self._descriptions = _Descriptions()
        self._asked, self._samples = asked, samples


class _Descriptions:
    """The description of one scene; not thread-safe.

    Attributes:
        in_use: what the frames go by.
        is_new: whether that was replaced for the last frame.
    """

    def __init__(self) -> None:
        self.in_use: Description | None = None
        self.is_new = False
        self._smoothed: Any = None
        self._due_in = 0  # frames

    def next(self, sharpener: Sharpener, seen: ImageArray, lane: int | None) -> Description:
        """What the next frame goes by; asks for it where it is time to."""
        self.is_new = False
        if self._due_in == 0:
            fresh = sharpener.describe(seen, lane=lane)
            self._due_in = DESCRIBE_EVERY
            if self.in_use is None:
                self._smoothed = fresh
            elif _distance(fresh, self._smoothed) > _JUMP:
                self._smoothed = fresh
                self._due_in = _DESCRIBE_SOON
            else:
                self._smoothed = self._smoothed + _FRESH_SHARE * (fresh - self._smoothed)
            if self.in_use is None or _distance(self._smoothed, self.in_use) > _DRIFT:
                self.in_use, self.is_new = self._smoothed, True
        self._due_in -= 1
        assert self.in_use is not None, "the first frame is described"
        return self.in_use


class _BarsSeen:
    """The bars around a stream's pictures; not thread-safe.

    They are looked for now and then, after a cut, and where a side of the picture has one colour
    that had more, or the other way round.

    Attributes:
        seen: those of the last frame.
    """

    def __init__(self) -> None:
        self.seen: Bars | None = None
        self._samples: npt.NDArray[np.uint8] | None = None
        self._even_sides: list[bool] = []
        self._due_in = 0  # frames

    def next(self, image: ImageArray) -> Bars | None:
        """Those of the next frame."""
        samples, even_sides = _samples_of(image), sides_of_one_colour(image)
        is_other = (
            self._samples is None
            or self._samples.shape != samples.shape
            or _is_cut(self._samples, samples)
        )
        if self._due_in == 0 or is_other or even_sides != self._even_sides:
            found = bars_around(image)
            if is_other or not (self.seen and found and self.seen.still_fit(found)):
                self.seen = found
            self._due_in = DESCRIBE_EVERY
        self._samples, self._even_sides = samples, even_sides
        self._due_in -= 1
        return self.seen


def _distance(one: Description, other: Description) -> float:
    return float(np.sqrt(np.mean((one - other) ** 2)))


def _samples_of(image: ImageArray) -> npt.NDArray[np.uint8]:
    step = max(1, min(image.shape[:2]) // _SAMPLES_ACROSS)
    return np.ascontiguousarray(image[step // 2 :: step, step // 2 :: step])


def _is_cut(before: npt.NDArray[np.uint8], now: npt.NDArray[np.uint8]) -> bool:
    """Whether these are samples of different scenes, of one size."""
    differences: Any = cv2.absdiff(before, now)
    return float((differences.max(axis=2) > _OTHER_LEVELS).mean()) > _CUT_SHARE


def _is_image(array: npt.NDArray[Any]) -> bool:
    has_planes = array.ndim == 3 and array.shape[2] == 3 and 0 not in array.shape
    return has_planes and array.dtype == np.uint8


def _scaled_down(image: ImageArray, scale: float) -> ImageArray:
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    # From a half up, linear interpolation sees every position; it is ten times as fast as areas are
    # where the sides do not divide, and the results are as good or better.
    filtering = cv2.INTER_LINEAR if scale >= 0.5 else cv2.INTER_AREA
    scaled: Any = cv2.resize(image, (width, height), interpolation=filtering)
    return scaled  # type: ignore[no-any-return]


def _add_scaled_up(image: ImageArray, seen: ImageArray, sharpened: ImageArray) -> ImageArray:
    """What became of the picture that the network saw, added to the full one in saturation."""
    correction = cv2.subtract(sharpened, seen, dtype=cv2.CV_16S)
    # Up to 0.2 dB better than linear interpolation.
    full = cv2.resize(correction, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    added: Any = cv2.add(image, full, dtype=cv2.CV_8U)
    return added  # type: ignore[no-any-return]
