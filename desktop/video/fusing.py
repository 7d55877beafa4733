"""The stage of `pipeline` that waits for the next frames, and fuses each with those around it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from desktop.video.pipeline import Passed, Picture, Tally
from service.model.neighbours import NEIGHBOURS, Shot, around

if TYPE_CHECKING:
    from service.model.fusion import Fusion

__all__ = ["Fusing"]

_BEFORE = -min(NEIGHBOURS)


class Fusing:
    """Sharpened pictures -> fused pictures, as many frames later as it looks ahead."""

    def __init__(self, fusion: Fusion, *, look_ahead: int, strength: float, tally: Tally) -> None:
        """Args:
        look_ahead: frames that are waited for, 1 to `neighbours.MOST_LOOK_AHEAD`.
        strength: of the correction; what neighbours add fades with it below 1.
        """
        self._fusion = fusion
        self._look_ahead = look_ahead
        self._amount = min(1.0, strength)
        self._tally = tally

    def through(self, passing: Iterable[Passed]) -> Iterator[Passed]:
        """All pictures in their order; packets do not wait for them."""
        known: list[Picture] = []  # those before, then those that wait
        waiting = 0
        for passed in passing:
            if not isinstance(passed, Picture):
                yield passed
                continue
            known.append(passed)
            waiting += 1
            if waiting > self._look_ahead:
                yield self._fused(known, len(known) - waiting)
                waiting -= 1
                del known[: len(known) - waiting - _BEFORE]
        for at in range(len(known) - waiting, len(known)):
            yield self._fused(known, at)

    def _fused(self, known: Sequence[Picture], at: int) -> Picture:
        picture = known[at]
        shot = _shot(picture)
        if shot is None:
            return picture
        neighbours = around([_shot(each) for each in known], at, look_ahead=self._look_ahead)
        begun_s = time.perf_counter()
        fused = self._fusion.fuse(shot, neighbours, amount=self._amount)
        self._tally.fusing_s += time.perf_counter() - begun_s
        return replace(picture, sharpened=fused)


def _shot(picture: Picture) -> Shot | None:
    return None if picture.sharpened is None else Shot(picture.image, picture.sharpened)
