"""BD-rate: cases whose answer is known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad  # type: ignore[import-untyped]
from scipy.interpolate import pchip_interpolate  # type: ignore[import-untyped]

from trainer.bd_rate import bd_rate_percent

RATES = [100.0, 150.0, 200.0, 300.0, 400.0]
QUALITY = [30.0, 32.5, 33.6, 35.0, 35.9]


@pytest.mark.parametrize(("factor", "percent"), [(0.8, -20.0), (1.0, 0.0), (1.25, 25.0)])
def test_a_rate_that_is_a_constant_factor_larger_is_that_many_percent(
    factor: float, percent: float
) -> None:
    shifted = [rate * factor for rate in RATES]
    assert bd_rate_percent(RATES, QUALITY, shifted, QUALITY) == pytest.approx(percent, abs=1e-9)


def test_two_straight_curves_by_hand() -> None:
    # Two points make a straight line in log(rate): log r = q ln 2 against log r = (q + 1) ln 2 / 2.
    anchor = [2.0, 4.0], [1.0, 2.0]
    test = [2.0, 4.0], [1.0, 3.0]
    # The difference over [1, 2] runs from 0 to -ln 2 / 2; its mean is -ln 2 / 4.
    expected = (math.exp(-math.log(2) / 4) - 1) * 100
    assert bd_rate_percent(*anchor, *test) == pytest.approx(expected)


def test_curves_that_cross_equal_the_integral_over_what_both_reach() -> None:
    other_rates, other = [90.0, 160.0, 230.0, 280.0, 420.0], [29.0, 32.8, 34.1, 34.6, 36.5]
    difference, _ = quad(
        lambda q: float(
            pchip_interpolate(other, np.log(other_rates), q)
            - pchip_interpolate(QUALITY, np.log(RATES), q)
        ),
        30.0,
        35.9,
        limit=200,
    )
    expected = (math.exp(difference / 5.9) - 1) * 100
    assert bd_rate_percent(RATES, QUALITY, other_rates, other) == pytest.approx(expected, abs=1e-4)


def test_the_order_of_the_points_does_not_matter() -> None:
    shuffled = RATES[::-1], QUALITY[::-1]
    assert bd_rate_percent(*shuffled, RATES, QUALITY) == pytest.approx(0)


def test_it_is_not_defined_where_quality_does_not_rise_or_the_curves_share_none() -> None:
    falling = [30.0, 32.5, 32.4, 35.0, 35.9]
    assert bd_rate_percent(RATES, QUALITY, RATES, falling) is None
    assert bd_rate_percent(RATES, falling, RATES, QUALITY) is None
    assert bd_rate_percent(RATES, QUALITY, RATES, [q + 6 for q in QUALITY]) is None


def test_curves_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="at least two points"):
        bd_rate_percent([100.0], [30.0], RATES, QUALITY)
    with pytest.raises(ValueError, match="5 rates and 4 qualities"):
        bd_rate_percent(RATES, QUALITY[:4], RATES, QUALITY)
    with pytest.raises(ValueError, match="above 0, not 0"):
        bd_rate_percent([0.0, 100.0], [30.0, 31.0], RATES, QUALITY)
