"""desktop.video.jumps: one wrong time is left out, and a gap stays a gap."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest

from desktop.video.jumps import JumpFilter


@pytest.mark.parametrize(
    ("given_s", "kept_s", "left_out"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], 0),
        ([0, 1, 9000, 2, 3], [0, 1, 2, 3], 1),
        ([5, 6, 0, 7, 8], [5, 6, 7, 8], 1),
        ([0, 1, 9000, 7000, 2, 3], [0, 1, 2, 3], 2),
        ([0, 30, 60, 90], [0, 30, 60, 90], 0),
        ([0, 1, 3600, 3601, 3602], [0, 1, 3600, 3601, 3602], 0),
        ([0, 1, 3600, 3599.5, 3602], [0, 1, 3600, 3599.5, 3602], 0),
        ([50, 51, 0, 1, 2], [50, 51, 0, 1, 2], 0),
        ([0, 1, 3600], [0, 1, 3600], 0),
        ([], [], 0),
    ],
)
def test_a_time_counts_as_damaged_where_the_next_one_goes_back(
    given_s: Sequence[float], kept_s: Sequence[float], left_out: int
) -> None:
    jumps: JumpFilter[float] = JumpFilter()
    kept = [each for time_s in given_s for each in jumps.passed(time_s, Fraction(time_s))]
    assert [*kept, *jumps.rest()] == list(kept_s)
    assert jumps.left_out == left_out
