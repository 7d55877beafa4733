"""Timing: what is counted, what is not, and for how many frames."""

from __future__ import annotations

from typing import Any

import pytest

from trainer import timing as module
from trainer.timing import measure, synchroniser, time_calls


class Clock:
    """A clock that a call moves on by the next of its durations."""

    def __init__(self, *durations_ms: float) -> None:
        self.now_s = 0.0
        self.durations_ms = list(durations_ms)
        self.calls = 0

    def perf_counter(self) -> float:
        return self.now_s

    def call(self) -> None:
        at = min(self.calls, len(self.durations_ms) - 1)
        self.now_s += self.durations_ms[at] / 1000
        self.calls += 1


class Slow:
    """A backend each of whose two steps moves a clock on."""

    name, device, precision, lanes, max_batch = "torch", "cpu", "bf16", 1, 1

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seen: list[Any] = []

    def describe(self, images: Any, *, lane: int | None = None) -> Any:
        del lane
        assert images.shape == (len(images), 64, 64, 3)
        self.clock.call()
        return "described"

    def run(
        self, images: Any, strength: float, description: Any, *, lane: int | None = None
    ) -> Any:
        del lane
        self.seen.append((images.shape, strength, description))
        self.clock.call()
        return images


def test_median_and_p95_leave_the_warm_up_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(900, 900, 900, 5, 1, 2, 3, 4, 7, 6)
    monkeypatch.setattr(module, "time", clock)
    median_ms, p95_ms = time_calls(clock.call, seconds=0)
    assert clock.calls == 10
    assert median_ms == pytest.approx(4)
    assert p95_ms == pytest.approx(6.7)


def test_calls_go_on_until_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(100)
    monkeypatch.setattr(module, "time", clock)
    time_calls(clock.call, seconds=2)
    assert clock.calls == pytest.approx(3 + 20, abs=1)


def test_the_device_is_waited_for_inside_the_time_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(1)
    monkeypatch.setattr(module, "time", clock)
    queued_ms = 0.0

    def launch() -> None:
        nonlocal queued_ms
        clock.call()
        queued_ms += 40

    def wait() -> None:
        nonlocal queued_ms
        clock.now_s += queued_ms / 1000
        queued_ms = 0

    assert time_calls(launch, seconds=0, synchronise=wait)[0] == pytest.approx(41)


def test_a_batch_s_time_is_given_per_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(80)
    monkeypatch.setattr(module, "time", clock)
    backend = Slow(clock)
    timing = measure(backend, "slow", (6, 4), seconds=0, batch=8, reference_ms=lambda: 80)
    assert timing.median_ms == pytest.approx(20)
    assert (timing.backend, timing.height, timing.width, timing.batch) == ("torch cpu", 6, 4, 8)
    assert timing.precision == "bf16"
    assert timing.times_faster == pytest.approx(80 / 20)
    assert set(backend.seen) == {((8, 6, 4, 3), 1.0, "described")}


def test_a_machine_that_slows_down_slows_both_sides_of_a_ratio(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(10)
    monkeypatch.setattr(module, "time", clock)

    def reference_ms() -> float:
        before = clock.durations_ms[-1]
        if clock.calls > 70:
            clock.durations_ms.append(40)
        return 30 * before

    timing = measure(Slow(clock), "slow", (6, 4), seconds=1, batch=2, reference_ms=reference_ms)
    assert timing.median_ms == pytest.approx(20 / 2)
    assert timing.p95_ms == pytest.approx(80 / 2)
    assert timing.times_faster == pytest.approx(2 * 30 / 2)


def test_a_cpu_needs_no_waiting_for() -> None:
    synchroniser("cpu")()
