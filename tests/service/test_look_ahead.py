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

HELD_BYTES = 2**28


class Counting:
    """A fusion that adds to each frame's blue how many come after it in its window."""

    def __init__(self) -> None:
        self.held = 0
        self.before: list[int | None] = []

    def fuse_backwards(
        self, shots: Sequence[Shot | None], *, before: Shot | None
    ) -> Iterator[Fused | None]:
        self.held = max(self.held, len(shots))
        self.before.append(None if before is None else int(before.image[0, 0, 0]))
        for after, shot in enumerate(reversed(shots)):
            if shot is None:
                yield None
            else:
                alone = Fused.alone(shot)
                yield replace(alone, levels=alone.levels + np.array((0, 0, after), np.float32))


class Idle:
    """A fusion that gives nothing back, however large the frames are."""

    def __init__(self) -> None:
        self.held = 0

    def fuse_backwards(
        self, shots: Sequence[Shot | None], **_: Shot | None
    ) -> Iterator[Fused | None]:
        self.held = len(shots)
        yield from [None] * len(shots)


def through(look_ahead: LookAhead, levels: Sequence[int | None]) -> list[tuple[int, int] | None]:
    """Red and what blue has more than it, of each frame."""
    done = []
    for level in levels:
        shot = None if level is None else Shot(*[np.full((2, 2, 3), level, np.uint8)] * 2)
        done += list(look_ahead.add(shot))
    done += list(look_ahead.finish())
    pixels = [None if image is None else image[0, 0].astype(int) for image in done]
    return [None if each is None else (each[0], each[2] - each[0]) for each in pixels]


def of(fusion: Counting | Idle, look_ahead: int, *, amount: float = 1.0) -> LookAhead:
    return LookAhead(cast(Fusion, fusion), look_ahead, amount=amount)


def test_every_frame_meets_as_many_as_were_asked_for() -> None:
    fusion = Counting()
    frames = through(of(fusion, 2), range(44))
    after = [*range(37, 1, -1), *range(7, -1, -1)]
    assert frames == list(enumerate(after))
    assert fusion.held == 38
    assert fusion.before == [None, 35]  # the last frame that left


@pytest.mark.parametrize("count", [0, 1, 2, 36, 37, 38, 39, 40])
@pytest.mark.parametrize("look_ahead", [1, 3])
def test_none_is_lost_however_short_the_clip(count: int, look_ahead: int) -> None:
    frames = through(of(Counting(), look_ahead), range(count))
    assert [frame and frame[0] for frame in frames] == list(range(count))


@pytest.mark.parametrize(
    ("size_px", "leaving"),
    [((1080, 1920), HELD_BYTES // (6 * 1080 * 1920)), ((4320, 7680), 12), ((360, 640), 36)],
)
def test_fewer_large_frames_are_held(size_px: tuple[int, int], leaving: int) -> None:
    fusion = Idle()
    look_ahead = of(fusion, 1)
    frame = np.broadcast_to(np.uint8(7), (*size_px, 3))
    given = [len(look_ahead.add(Shot(frame, frame))) for _ in range(leaving + 1)]
    assert given == [0] * leaving + [leaving]
    assert fusion.held == leaving + 1


def test_gaps_stay_where_they_are() -> None:
    frames = through(of(Counting(), 1), [10, None, 30, None])
    assert [frame is None for frame in frames] == [False, True, False, True]


@pytest.mark.parametrize(("amount", "added"), [(1.0, [2, 1, 0]), (0.5, [1, 0, 0]), (0.0, [0] * 3)])
def test_the_amount_is_of_what_is_added(amount: float, added: Sequence[int]) -> None:
    frames = through(of(Counting(), 2, amount=amount), [10, 20, 30])
    assert frames == list(zip([10, 20, 30], added, strict=True))
