"""The file from which a run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from service.model.atomic import replacing

__all__ = ["save_state"]


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a run's state in place of the one before.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old state is kept.
    """
    try:
        with replacing(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as exc:  # torch raises the latter when a disk is full
        raise OSError(
            f"{path} cannot be written: {exc}. Make room and run again; the state before is kept."
        ) from exc
