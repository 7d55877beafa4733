"""What the folder itself remembers: which model is pinned and which was served last.

A small hidden JSON file beside the checkpoints, written atomically. All services that share the
folder share it, and so the pin. Where the folder cannot be written, nothing is remembered.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["FILE_NAME", "Remembered", "read_remembered", "write_remembered"]

FILE_NAME = ".clearcall-models.json"


@dataclass(frozen=True, slots=True)
class Remembered:
    """Models by id; None = no pin, nothing known."""

    pinned: str | None = None
    served: str | None = None


def read_remembered(folder: Path) -> Remembered | None:
    """What the folder remembers; None = there is no such file, or nothing in it is right."""
    try:
        found = json.loads((folder / FILE_NAME).read_bytes()[:10_000])
        pinned, served = found["pinned"], found["served"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not all(value is None or isinstance(value, str) for value in (pinned, served)):
        return None
    return Remembered(pinned, served)


def write_remembered(folder: Path, remembered: Remembered) -> bool:
    """Writes it; returns whether the folder could be written."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=FILE_NAME)
    except OSError:
        return False
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(remembered), file)
        os.chmod(temporary, 0o644)
        os.replace(temporary, folder / FILE_NAME)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        return False
    return True
