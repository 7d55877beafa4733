"""What kind of picture each file shows, for scores by category."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable
from pathlib import Path

__all__ = ["picture_categories"]

_MANIFEST = "manifest.csv"
_COLUMNS = {"file", "category"}
_LEVELS_UP = 2

_log = logging.getLogger(__name__)


def picture_categories(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The category of each picture.

    From a `manifest.csv` with the columns `file` (a path relative to the manifest) and `category`,
    in the folder or up to two levels above it; for pictures that it does not list, what stands
    before the first `-` of the file's name; without either, `all`.

    Args:
        folder: the folder of pictures.
        names: the pictures' paths relative to it, with `/`.
    """
    listed = _listed(folder.resolve())
    return {name: listed.get(name) or _prefix(name) for name in names}


def _prefix(name: str) -> str:
    before, dash, _ = Path(name).name.partition("-")
    return before if dash and before else "all"


def _listed(folder: Path) -> dict[str, str]:
    """The manifest's categories by path relative to `folder`."""
    for place in (folder, *folder.parents[:_LEVELS_UP]):
        rows = _rows(place / _MANIFEST)
        if rows is not None:
            inside = f"{folder.relative_to(place).as_posix()}/" if place != folder else ""
            return {
                file.removeprefix(inside): category
                for file, category in rows
                if file.startswith(inside)
            }
    return {}


def _rows(manifest: Path) -> list[tuple[str, str]] | None:
    """(file, category) of each row; None if this is not such a manifest."""
    if not manifest.is_file():
        return None
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not set(reader.fieldnames or ()) >= _COLUMNS:
                _log.warning("%s has no columns file and category: not used", manifest)
                return None
            rows = [(row["file"] or "", row["category"] or "") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        _log.warning("%s cannot be read (%s): not used", manifest, exc)
        return None
    return [(file.strip().removeprefix("./"), category.strip()) for file, category in rows]
