"""Clips of any length through windows: who meets whom, and in which order they leave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from service.model.fusion import Fusion
from service.model.look_ahead import LookAhead
from service.model.neighbours import Fused, Shot


class Counting:
    """A fusion that adds to each frame's level how many come after it in its window."""

    def __init__(self) -> None:
        self.held = 0

    def fuse_backwards(self, shots: Sequence[Shot | None]) -> Iterator[Fused | None]:
        self.held = max(self.held, len(shots))
        for after, shot in enumerate(reversed(shots)):
            if shot is None:
                yield None
            else:
                alone = Fused.alone(shot)
                yield replace(alone, levels=alone.levels + np.float32(after))


def through(look_ahead: LookAhead, levels: Sequence[int | None]) -> list[int | None]:
    done = []
    for level in levels:
        shot = None if level is None else Shot(*[np.full((2, 2, 3), level, np.uint8)] * 2)
        done += list(look_ahead.add(shot))
    done += list(look_ahead.finish())
    return [None if image is None else int(image[0, 0, 0]) for image in done]


def of(fusion: Counting, look_ahead: int, *, amount: float = 1.0) -> LookAhead:
    return LookAhead(cast(Fusion, fusion), look_ahead, amount=amount)


def test_every_frame_meets_as_many_as_were_asked_for() -> None:
    fusion = Counting()
    look_ahead = of(fusion, 2)
    levels = through(look_ahead, [10 * number for number in range(20)])
    after = [(level or 0) - 10 * number for number, level in enumerate(levels)]
    assert after == [*range(13, 1, -1), *range(7, -1, -1)]
    assert fusion.held == look_ahead.window == 14


@pytest.mark.parametrize("count", [0, 1, 2, 12, 13, 14, 15, 16])
@pytest.mark.parametrize("look_ahead", [1, 3])
def test_none_is_lost_however_short_the_clip(count: int, look_ahead: int) -> None:
    levels = through(of(Counting(), look_ahead), [15 * number for number in range(count)])
    assert [(level or 0) // 15 for level in levels] == list(range(count))


def test_gaps_stay_where_they_are() -> None:
    levels = through(of(Counting(), 1), [10, None, 30, None])
    assert [level is None for level in levels] == [False, True, False, True]


def test_the_amount_is_of_what_is_added() -> None:
    assert through(of(Counting(), 2, amount=0.5), [10, 20, 30]) == [11, 20, 30]
    assert through(of(Counting(), 2, amount=0.0), [10, 20, 30]) == [10, 20, 30]
