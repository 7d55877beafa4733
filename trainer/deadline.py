"""When a run's time is up."""

from __future__ import annotations

import math

__all__ = ["deadline_s"]


def deadline_s(minutes: float, now_s: float) -> float:
    """So many minutes from now; never, where they are 0."""
    return now_s + minutes * 60 if minutes else math.inf
