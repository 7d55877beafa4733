"""Lists of named numbers, such as "rescale=0.5, codec=0.2", as a settings file holds them."""

from __future__ import annotations

import math
from collections.abc import Collection

__all__ = ["named_numbers"]


def named_numbers(text: str, *, names: Collection[str], example: str) -> dict[str, float]:
    """The numbers by their names; none for a blank text.

    Args:
        text: name=number, ...
        names: that are known.
        example: of such a list, for the error.

    Raises:
        ValueError: not such a list, a name that is unknown or stands twice, or a number that is
            below 0 or not finite.
    """
    numbers: dict[str, float] = {}
    for part in text.split(",") if text.strip() else ():
        name, separator, word = (each.strip() for each in part.partition("="))
        try:
            number = float(word)
        except ValueError:
            separator = ""
            number = math.nan
        if not separator:
            raise ValueError(f'{part.strip()!r} is not kind=number, as in "{example}"')
        if name in numbers:
            raise ValueError(f"{name} stands twice in {text!r}")
        if name not in names:
            raise ValueError(f"unknown kind {name!r}; choose from {', '.join(names)}")
        if not (math.isfinite(number) and number >= 0):
            raise ValueError(f"the number of {name} must be 0 or more, not {number}")
        numbers[name] = number
    return numbers
