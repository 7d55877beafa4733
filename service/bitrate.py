"""Which quality holds a stream's answers to a bit rate, pure.

The size of a picture grows about exponentially with the quality. So one number, fitted to the last
answers, predicts the size at another quality; and what was sent above or below the budget is made
up for over the next second, so that the mean holds whatever the pictures are.
"""

from __future__ import annotations

import math

__all__ = ["MIN_QUALITY", "BitRate"]

MIN_QUALITY = 20  # below, blocks show, which is what sharpening is to get rid of
# Of the logarithm of the size, for each point of quality. JPEG and WebP have 0.02 to 0.05, more
# above 90: a value at the upper end corrects in two or three steps instead of overshooting.
_SLOPE = 0.045
_FIT = 0.4  # weight of the newest answer
_FPS_FIT = 0.1
_REPAY_S = 1.0
_MAX_DEBT_S = 1.0
_SHARE_OF_BUDGET = (0.3, 2.0)  # a single answer's size


class BitRate:
    """Chooses the quality of each answer for a budget."""

    def __init__(self, max_kbps: float) -> None:
        """Args: max_kbps: 1000 bits per second, above 0."""
        self._bytes_per_s = max_kbps * 1000 / 8
        self._debt_bytes = 0.0
        self._log_size: float | None = None  # at a quality of 0, by the straight line
        self._period_s: float | None = None
        self._sent_s: float | None = None

    def quality(self, highest: int) -> int:
        """The quality for the next answer: `highest`, or what the budget allows."""
        if self._log_size is None or self._period_s is None:
            return highest
        budget_bytes = self._bytes_per_s * self._period_s
        wanted_bytes = budget_bytes * (1 - self._debt_bytes / (self._bytes_per_s * _REPAY_S))
        low, high = _SHARE_OF_BUDGET
        wanted_bytes = min(max(wanted_bytes, low * budget_bytes), high * budget_bytes)
        quality = (math.log(wanted_bytes) - self._log_size) / _SLOPE
        return round(min(max(quality, min(MIN_QUALITY, highest)), highest))

    def note(self, size_bytes: int, *, quality: int, now_s: float) -> None:
        """Takes in an answer that was sent: its size, the quality that it has, and when."""
        log_size = math.log(max(size_bytes, 1)) - _SLOPE * quality
        if self._log_size is None:
            self._log_size = log_size
        self._log_size += _FIT * (log_size - self._log_size)
        if self._sent_s is not None:
            passed_s = min(max(now_s - self._sent_s, 1e-3), 1.0)
            if self._period_s is None:
                self._period_s = passed_s
            self._period_s += _FPS_FIT * (passed_s - self._period_s)
            limit_bytes = self._bytes_per_s * _MAX_DEBT_S
            debt_bytes = self._debt_bytes + size_bytes - self._bytes_per_s * passed_s
            self._debt_bytes = min(max(debt_bytes, -limit_bytes), limit_bytes)
        self._sent_s = now_s
