"""The reference in a process of its own."""

from __future__ import annotations

import multiprocessing

import pytest

from service.model.student import SIZES, StudentConfig
from trainer.yardstick import yardstick


@pytest.fixture(autouse=True)
def _small_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something quick; the reference's own speed is no matter here."""
    monkeypatch.setitem(SIZES, "reference", StudentConfig(channels=4, unshuffle=1, blocks=1))


def test_it_is_timed_elsewhere_and_ends_with_the_measurement() -> None:
    with yardstick(device="cpu", threads=1) as reference:
        (process,) = multiprocessing.active_children()
        assert process.is_alive()
        assert 0 < reference.time_ms() < 60_000
        timing = reference.timing()
    assert (timing.what, timing.backend, timing.height, timing.width) == (
        "reference",
        "torch cpu",
        256,
        256,
    )
    assert 0 < timing.median_ms <= timing.p95_ms
    assert timing.times_faster == 1
    process.join(10)
    assert not process.is_alive()


def test_a_process_that_has_died_is_told() -> None:
    with yardstick(device="cpu", threads=1) as reference:
        (process,) = multiprocessing.active_children()
        process.kill()
        process.join(10)
        with pytest.raises(RuntimeError, match="has ended"):
            reference.time_ms()
