"""How fast a client may send, pure: frames and bytes per second."""

from __future__ import annotations

__all__ = ["RateLimit"]

_BURST_S = 1.0


class RateLimit:
    """A token bucket of one second. Something large passes on credit, and the next ones wait."""

    def __init__(self, per_s: float) -> None:
        """Args: per_s: What passes in a second; 0 lets everything through."""
        self._per_s = per_s
        self._level = per_s * _BURST_S
        self._at_s: float | None = None

    def has_room(self, now_s: float) -> bool:
        """Whether something may pass now."""
        if not self._per_s:
            return True
        passed_s = 0.0 if self._at_s is None else max(0.0, now_s - self._at_s)
        self._at_s = now_s
        self._level = min(self._level + passed_s * self._per_s, self._per_s * _BURST_S)
        return self._level > 0

    def take(self, amount: float) -> None:
        """Lets something pass."""
        self._level -= amount
