"""Which of two calls is faster, by a clock that the calls set forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, repeat

import pytest

from service.model.timing import is_faster


class Machine:
    def __init__(self) -> None:
        self.time_s = 0.0

    def __call__(self) -> float:
        return self.time_s

    def call(self, *times_s: float) -> Callable[[], None]:
        """Takes these times, one after the other, and then the last of them."""
        left: Iterator[float] = chain(times_s, repeat(times_s[-1]))

        def run() -> None:
            self.time_s += next(left)

        return run


@pytest.mark.parametrize(
    ("candidate_s", "expected"), [(0.5, True), (0.89, True), (0.95, False), (1.5, False)]
)
def test_a_call_is_faster_that_takes_clearly_less_time(candidate_s: float, expected: bool) -> None:
    machine = Machine()
    assert is_faster(machine.call(candidate_s), machine.call(1.0), clock=machine) is expected


def test_a_machine_that_is_busy_now_and_then_does_not_decide() -> None:
    machine = Machine()
    candidate = machine.call(9, 9, 0.5, 9)
    reference = machine.call(1.0, 9, 1.0)
    assert is_faster(candidate, reference, clock=machine)


def test_what_a_first_call_takes_longer_does_not_count() -> None:
    machine = Machine()
    assert not is_faster(machine.call(0.1, 1.5), machine.call(30.0, 1.0), clock=machine)
