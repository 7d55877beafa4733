"""How long to wait before the next attempt, pure."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

__all__ = ["Backoff"]


@dataclass(slots=True)
class Backoff:
    """Exponential, with full jitter: clients that lost a server together do not return together.

    The first attempt after a loss is made within `first_s`.
    """

    first_s: float = 0.2
    factor: float = 2.0
    max_s: float = 10.0
    random: random.Random = field(default_factory=random.Random)
    failures: int = 0

    def next_s(self) -> float:
        """The next wait, counted as a failure."""
        longest_s = min(self.first_s * self.factor ** min(self.failures, 32), self.max_s)
        self.failures += 1
        return self.random.uniform(0.5 * longest_s, longest_s)

    def reset(self) -> None:
        """It worked."""
        self.failures = 0
