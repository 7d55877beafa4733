"""Lists of named numbers, such as "rescale=0.5, codec=0.2", as a settings file holds them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

__all__ = ["named_numbers", "require_known"]


def named_numbers(text: str, *, form: str, example: str) -> dict[str, float]:
    """The numbers by their names; none for a blank text.

    Args:
        text: name=number, ...
        form: of a part, for the error, such as "kind=share".
        example: of such a list, for the error.

    Raises:
        ValueError: not such a list, or a name that stands twice.
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
            raise ValueError(f'{part.strip()!r} is not {form}, as in "{example}"')
        if name in numbers:
            raise ValueError(f"{name} stands twice in {text!r}")
        numbers[name] = number
    return numbers


def require_known(
    numbers: Mapping[str, float], names: Collection[str], *, kind: str, number: str
) -> None:
    """Refuses what no list may hold; `kind` and `number` are what its parts are called.

    Raises:
        ValueError: a name that is unknown, or a number that is below 0 or not finite.
    """
    for name, value in numbers.items():
        if name not in names:
            raise ValueError(f"unknown {kind} {name!r}; choose from {', '.join(names)}")
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"the {number} of {name} must be 0 or more, not {value}")
