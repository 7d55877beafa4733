"""The stage of `pipeline` that waits for the next frames, and fuses each with its neighbours."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from desktop.video.pipeline import Passed, Picture, Tally
from service.model.look_ahead import ImageArray, LookAhead
from service.model.neighbours import Shot

if TYPE_CHECKING:
    from service.model.fusion import Fusion

__all__ = ["Fusing"]


class Fusing:
    """Sharpened pictures -> fused pictures, many frames later."""

    def __init__(self, fusion: Fusion, *, look_ahead: int, strength: float, tally: Tally) -> None:
        """Args:
        look_ahead: see `LookAhead`, 1 to `look_ahead.MOST_LOOK_AHEAD`.
        strength: of the correction; what neighbours add fades with it below 1.
        """
        self._look_ahead = LookAhead(fusion, look_ahead, amount=min(1.0, strength))
        self._tally = tally
        self._waiting: deque[Picture] = deque()

    def through(self, passing: Iterable[Passed]) -> Iterator[Passed]:
        """All pictures in their order; packets do not wait for them."""
        for passed in passing:
            if isinstance(passed, Picture):
                self._waiting.append(passed)
                yield from self._done(partial(self._look_ahead.add, _shot(passed)))
            else:
                yield passed
        yield from self._done(self._look_ahead.finish)

    def _done(self, fuse: Callable[[], Sequence[ImageArray | None]]) -> Iterator[Picture]:
        begun_s = time.perf_counter()
        images = fuse()
        self._tally.fusing_s += time.perf_counter() - begun_s
        for image in images:
            picture = self._waiting.popleft()
            yield picture if image is None else replace(picture, sharpened=image)


def _shot(picture: Picture) -> Shot | None:
    return None if picture.sharpened is None else Shot(picture.image, picture.sharpened)
