"""desktop.interruption: what ends a command, and what no longer disturbs its end."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from desktop.interruption import interruptible, termination_signals

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def usual_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    for number in NUMBERS:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_signal_interrupts_and_later_ones_are_ignored(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(number)
    for each in NUMBERS:
        signal.raise_signal(each)


def test_where_the_first_signal_was_lost_one_after_ten_seconds_is_heard() -> None:
    times_s = iter([0.0, 0.0, 9.9, 10.1, 10.1])
    with interruptible(lambda: next(times_s)):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_what_was_ignored_stays_so_and_without_a_signal_all_is_as_before() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert termination_signals() == [signal.SIGINT, signal.SIGTERM]
    with interruptible():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
