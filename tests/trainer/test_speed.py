"""Times: median, 95th percentile and the rate that follows."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from trainer.methods import ImageArray
from trainer.speed import run_timed, speed_of


def test_a_summary_by_hand() -> None:
    speed = speed_of([10.0, 20.0, 30.0, 40.0, 1000.0])
    assert speed.median_ms == 30
    assert speed.p95_ms == pytest.approx(40 + 0.8 * 960)  # linear between the last two
    assert speed.fps == pytest.approx(33.33)
    assert speed.to_json().keys() == {"median_ms", "p95_ms", "fps"}


def test_the_result_comes_with_the_time_that_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((5.0, 5.25))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    image = np.zeros((2, 2, 3), np.uint8)
    result, time_ms = run_timed(lambda given: given + np.uint8(1), image)
    assert result.max() == 1
    assert time_ms == 250


def test_a_gpu_is_waited_for_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: events.append("wait"))

    def method(image: ImageArray) -> ImageArray:
        events.append("run")
        return image

    run_timed(method, np.zeros((2, 2, 3), np.uint8))
    assert events == ["wait", "run", "wait"]
