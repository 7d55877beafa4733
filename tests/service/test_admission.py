"""service.admission: what counts as load, second by second."""

from __future__ import annotations

import pytest

from service.admission import WINDOW_S, Load
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def load(clock: Clock) -> Load:
    return Load(clock=clock)


def run(load: Load, clock: Clock, stream: object, *, fps: int, px: int, for_s: float) -> None:
    for _ in range(round(fps * for_s)):
        load.note(stream, px)
        clock.now_s += 1 / fps


def test_without_streams_there_is_no_load(load: Load) -> None:
    assert load.px_per_s() == 0
    load.open("a")
    assert load.px_per_s() == 0


def test_the_load_is_the_sum_of_what_streams_took_over_the_window(load: Load, clock: Clock) -> None:
    load.open("a")
    load.open("b")
    run(load, clock, "a", fps=30, px=1_000, for_s=20)
    assert load.px_per_s() == pytest.approx(30_000, rel=0.02)
    for _ in range(10):
        load.note("b", 500)
    assert load.px_per_s() == pytest.approx(30_000 + 10 * 500 / WINDOW_S, rel=0.02)


def test_a_young_stream_counts_by_its_age_but_not_by_its_first_burst(
    load: Load, clock: Clock
) -> None:
    load.open("a")
    load.note("a", 1_000)
    assert load.px_per_s() == 1_000
    clock.now_s += 2
    load.note("a", 3_000)
    assert load.px_per_s() == 2_000


def test_what_stopped_fades_and_what_is_closed_is_gone(load: Load, clock: Clock) -> None:
    load.open("a")
    load.open("b")
    run(load, clock, "a", fps=10, px=100, for_s=5)
    load.note("b", 5_000)
    assert load.px_per_s() == pytest.approx(1_000 + 5_000 / WINDOW_S, rel=0.02)
    load.close("b")
    load.close("b")
    assert load.px_per_s() == pytest.approx(1_000, rel=0.02)
    clock.now_s += WINDOW_S / 2
    assert load.px_per_s() == pytest.approx(500, rel=0.02)
    clock.now_s += WINDOW_S
    assert load.px_per_s() == 0


def test_its_memory_is_what_the_window_holds(load: Load, clock: Clock) -> None:
    load.open("a")
    run(load, clock, "a", fps=100, px=1, for_s=60)
    assert len(load._streams["a"].frames) <= 100 * WINDOW_S + 1
