"""Words of the command line as numbers, for argparse."""

from __future__ import annotations

import argparse

__all__ = ["thread_count"]

_MOST_THREADS = 1024


def thread_count(text: str) -> int:
    """0 to 1024."""
    if not text.isdecimal() or int(text) > _MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to {_MOST_THREADS}")
    return int(text)
