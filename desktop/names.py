"""File names as they can be shown and put into JSON, whatever bytes they are of."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["printable"]


def printable(path: str | Path) -> str:
    """The path; bytes that are not UTF-8 as `\\xff`, line breaks and the like as `\\n`."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
