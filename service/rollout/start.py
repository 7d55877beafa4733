"""What is served first: there is no time for the whole gate, and nothing to compare with.

The model that the folder remembers as pinned or served, then the newest ones; the first that can be
loaded and makes no picture of the golden set worse. Else the student that the settings name.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from service.errors import CheckpointError
from service.rollout.folder import Folder, Sighting
from service.rollout.gate import Gate
from service.rollout.remembered import Pin, read_pin, read_served

if TYPE_CHECKING:
    from service.model.sharpener import Sharpener

__all__ = ["choose_first", "first_choices"]

_LOGGER = logging.getLogger(__name__)
_MAX_TRIED = 3
_LOOK_LIMIT_S = 3.0  # a mount that hangs does not keep the service from starting


def choose_first(
    folder: Path, *, own: Path, load: Callable[[Path], Sharpener], gate: Gate
) -> Sharpener:
    """Loads what is to be served first.

    Args:
        folder: Of checkpoints; may be missing.
        own: What the settings name.
        load: Loads a checkpoint.
        gate: Judges.

    Raises:
        CheckpointError: Nothing in the folder can be served, nor can what the settings name.
        BackendUnavailable: The device or backend is not on this machine.
    """
    for path in _first_files(folder)[:_MAX_TRIED]:
        try:
            sharpener = load(path)
        except CheckpointError as exc:
            _LOGGER.warning("%s is not served: %s", path.name, exc.reason)
            continue
        fault = gate.judge_alone(sharpener).fault
        if fault is None:
            return sharpener
        _LOGGER.warning("%s is not served: %s", path.name, fault)
    return load(own)


def first_choices(
    sightings: tuple[Sighting, ...], *, pin: Pin | None, served: str | None
) -> list[Path]:
    """The files to try, best first: pinned, last served, newest."""
    pinned = pin.model_id if pin else None
    complete = [each for each in sightings if each.state == "complete"]
    if pinned and all(each.model_id != pinned for each in complete):
        return []  # a pin on a model that is not in the folder is one on what the settings name
    wanted = (pinned, served)
    named = [each for model_id in wanted for each in complete if each.model_id == model_id]
    return list(dict.fromkeys(each.path for each in (*named, *complete)))


def _first_files(folder: Path) -> list[Path]:
    found: list[Path] = []

    def look() -> None:
        seen = Folder(folder, settle_s=0).look()
        found.extend(first_choices(seen, pin=read_pin(folder), served=read_served(folder)))

    thread = threading.Thread(target=look, name="clearcall-look", daemon=True)
    thread.start()
    thread.join(_LOOK_LIMIT_S)
    if thread.is_alive():
        _LOGGER.warning("%s does not answer; the service starts without it", folder)
        return []
    return found
