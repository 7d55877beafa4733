"""desktop.video.overlay: upright, whatever way the picture is stored."""

from __future__ import annotations

import av
import numpy as np
import pytest

from desktop.video.colour import Colour, planes_of
from desktop.video.overlay import Overlay, before_half


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_text_and_line_are_where_they_belong_when_the_picture_is_shown(turns: int) -> None:
    frame = av.VideoFrame(200, 120, "yuv420p")
    for plane in planes_of(frame):
        plane[...] = 100
    Overlay(120, 200, turns, has_line=True).draw(frame, Colour.of(frame), "12.5 FPS")
    shown = np.rot90(planes_of(frame)[0], turns)
    middle = shown.shape[1] // 2
    assert (shown[:, middle - 1 : middle + 1] == 235).all()
    assert (shown[:25, : middle - 2] == 235).sum() > 50
    assert (shown[40:, : middle - 2] == 100).all()
    assert {int(level) for level in np.unique(planes_of(frame)[1])} == {100, 128}


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_the_half_before_is_at_the_left_when_it_is_shown(turns: int) -> None:
    stored = np.zeros((120, 200))
    stored[before_half(120, 200, turns)] = 1
    shown = np.rot90(stored, turns)
    middle = shown.shape[1] // 2
    assert shown[:, :middle].all()
    assert not shown[:, middle:].any()
