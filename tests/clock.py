"""Time that tests set by hand."""

from __future__ import annotations

__all__ = ["Clock"]


class Clock:
    """Seconds that pass when told."""

    def __init__(self, now_s: float = 100.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s
