"""What the folder itself remembers: which model is pinned and which was served last.

Two small hidden JSON files beside the checkpoints, written atomically; all services that share the
folder share them. A pin is written when somebody sets or ends it and at no other time, so that none
is lost to a service that notes what it serves. Where the folder cannot be written, nothing is
remembered.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from service.model.atomic import write_bytes

__all__ = [
    "PIN_FILE",
    "SERVED_FILE",
    "Pin",
    "read_pin",
    "read_served",
    "write_pin",
    "write_served",
]

PIN_FILE = ".clearcall-pinned.json"
SERVED_FILE = ".clearcall-served.json"
_KEY = "model"
_MAX_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class Pin:
    """What somebody asked for: a model by id, or None = no pin, the last that arrived."""

    model_id: str | None = None


def read_pin(folder: Path) -> Pin | None:
    """What was asked for last; None = nothing was, or nothing in the file is right."""
    try:
        return Pin(_read(folder / PIN_FILE))
    except (OSError, ValueError, RecursionError):
        return None


def read_served(folder: Path) -> str | None:
    """The model that was served last, by id; None = none is known."""
    try:
        return _read(folder / SERVED_FILE)
    except (OSError, ValueError, RecursionError):
        return None


def write_pin(folder: Path, pin: Pin) -> bool:
    """Remembers a pin, or that there is none; returns whether the folder could be written."""
    return _write(folder / PIN_FILE, pin.model_id)


def write_served(folder: Path, model_id: str) -> bool:
    """Remembers what is served; returns whether the folder could be written."""
    return _write(folder / SERVED_FILE, model_id)


def _read(path: Path) -> str | None:
    with path.open("rb") as file:
        found = json.loads(file.read(_MAX_BYTES))
    if not isinstance(found, dict) or not isinstance(found.get(_KEY, 0), str | None):
        raise ValueError(f"{path.name} names no model")
    model_id: str | None = found[_KEY]
    return model_id


def _write(path: Path, model_id: str | None) -> bool:
    if not path.parent.is_dir():
        return False
    try:
        write_bytes(path, json.dumps({_KEY: model_id}).encode())
    except OSError:
        return False
    return True
