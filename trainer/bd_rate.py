"""Bjontegaard's delta rate: how much bit rate one codec, or filter, saves at equal quality.

G. Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001. The
logarithm of the rate is interpolated as a function of quality and averaged over the qualities that
both curves reach. The interpolation is the monotone piecewise cubic (PCHIP; Fritsch and Carlson
1980) that is usual today, where VCEG-M33 fits one cubic through four points, which may swing
between them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator  # type: ignore[import-untyped]

__all__ = ["bd_rate_percent"]

_Curve = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def bd_rate_percent(
    anchor_kbps: Sequence[float],
    anchor_quality: Sequence[float],
    test_kbps: Sequence[float],
    test_quality: Sequence[float],
) -> float | None:
    """The mean change of the rate that the test needs for the anchor's quality.

    Args:
        anchor_kbps, test_kbps: rates above 0, in any one unit.
        anchor_quality, test_quality: PSNR in dB or another measure that grows with the rate.

    Returns:
        Percent; -20 means a fifth of the rate is saved. None where it is not defined: a curve's
        quality does not rise with its rate, or no quality is reached by both.

    Raises:
        ValueError: fewer than two points, unequal counts, or a rate that is not above 0.
    """
    anchor = _curve(anchor_kbps, anchor_quality)
    test = _curve(test_kbps, test_quality)
    if anchor is None or test is None:
        return None
    low = max(anchor[0][0], test[0][0])
    high = min(anchor[0][-1], test[0][-1])
    if low >= high:
        return None
    areas = [float(PchipInterpolator(*curve).integrate(low, high)) for curve in (test, anchor)]
    mean_difference = (areas[0] - areas[1]) / (high - low)
    return float(np.expm1(mean_difference) * 100)


def _curve(rates: Sequence[float], qualities: Sequence[float]) -> _Curve | None:
    """(quality, logarithm of the rate) by rising rate; None if quality does not rise with it."""
    if len(rates) != len(qualities) or len(rates) < 2:
        raise ValueError(
            f"a curve needs at least two points, each a rate and a quality, not {len(rates)} rates "
            f"and {len(qualities)} qualities"
        )
    points = np.array(sorted(zip(rates, qualities, strict=True)), np.float64)
    if not points[0, 0] > 0:
        raise ValueError(f"rates must be above 0, not {points[0, 0]:g}")
    quality = points[:, 1]
    if not bool(np.all(np.diff(quality) > 0)):
        return None
    return quality, np.log(points[:, 0])
