"""desktop.camera.meter and controls: what is counted, and what the user changes."""

from __future__ import annotations

import pytest

from desktop.camera.controls import Controls
from desktop.camera.meter import Meter


def test_the_rate_now_and_the_average_are_told_apart() -> None:
    meter = Meter()
    for number in range(11):
        meter.note(number * 0.1, 20.0)
    for number in range(1, 41):
        meter.note(1.0 + number * 0.05, 40.0)
    assert meter.fps(3.0) == pytest.approx(20)
    assert meter.average_fps == pytest.approx(50 / 3)
    assert meter.inference_ms == 40
    assert meter.inference_quantiles_ms() == {"p50": 40.0, "p95": 40.0}
    assert meter.fps(60.0) == 0


def test_nothing_is_told_before_anything_was_shown() -> None:
    meter = Meter()
    assert (meter.fps(0), meter.average_fps, meter.inference_ms) == (0, 0, None)
    assert meter.inference_quantiles_ms() == {}
    meter.note(1.0, None)
    assert (meter.frames, meter.average_fps, meter.inference_ms) == (1, 0, None)


def test_plus_and_minus_move_the_strength_between_0_and_2_and_q_ends() -> None:
    controls = Controls(0.15)
    for _ in range(3):
        assert controls.press("-")
    assert controls.strength == 0
    for _ in range(30):
        controls.press("+")
    assert controls.strength == 2
    assert not controls.press("x")
    assert not controls.stop.is_set()
    assert controls.press("q")
    assert controls.stop.is_set()
