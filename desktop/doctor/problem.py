"""Something that is not as it should be, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Problem"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A finding.

    Attributes:
        what: In one sentence without its full stop.
        remedy: What to do.
        is_essential: Whether no picture can be sharpened without it.
    """

    what: str
    remedy: str
    is_essential: bool = False
