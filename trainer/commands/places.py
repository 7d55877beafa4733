"""Places for what a command writes, asked for before the work and not after it."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["require_file_place", "require_folder_place"]


def require_file_place(option: str, path: Path) -> None:
    """Refuses a path where no file can be written; missing folders will be made.

    Args:
        option: that the path was given with, such as `--json`.

    Raises:
        ValueError: it is a folder, or below a file, or in a folder that cannot be written.
    """
    if path.is_dir():
        raise ValueError(f"{option} {path} is a folder. Name a file in it.")
    _require_writable(option, path, path.parent)


def require_folder_place(option: str, path: Path) -> None:
    """Refuses a path that is no folder to write into and cannot be made one.

    Raises:
        ValueError: it is a file, or below one, or cannot be written.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"{option} {path} is a file. Name a folder.")
    _require_writable(option, path, path)


def _require_writable(option: str, path: Path, folder: Path) -> None:
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    if not nearest.is_dir():
        raise ValueError(f"{option} {path}: {nearest} is a file and no folder. Name another place.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(f"{option} {path}: {nearest} cannot be written. Name another place.")
