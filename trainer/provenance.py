"""Who made a picture and under which licence, from the `manifest.csv` beside the pictures.

Its columns: file (a path relative to the manifest), category, width, height, licence, source, path
(inside that source). Only `file` is needed.
"""

from __future__ import annotations

import csv
import logging
from dataclasses import dataclass
from pathlib import Path

__all__ = ["UNKNOWN", "Provenance", "read_provenance"]

_MANIFEST = "manifest.csv"
_LEVELS_UP = 2
UNKNOWN = "unknown"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Provenance:
    """What is known about one picture's origin; `unknown` where nothing is."""

    category: str = UNKNOWN
    licence: str = UNKNOWN
    source: str = UNKNOWN


def read_provenance(path: Path) -> dict[Path, Provenance]:
    """What the nearest manifest says, by resolved path.

    In the folder (or the file's folder) or up to two levels above it. A manifest that cannot be
    read is named in the log.
    """
    folder = path.resolve() if path.is_dir() else path.resolve().parent
    for place in (folder, *folder.parents[:_LEVELS_UP]):
        manifest = place / _MANIFEST
        if manifest.is_file():
            return _read(manifest)
    return {}


def _read(manifest: Path) -> dict[Path, Provenance]:
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if "file" not in (reader.fieldnames or ()):
                _log.warning("%s has no column file: not used", manifest)
                return {}
            return {(manifest.parent / (row["file"] or "")).resolve(): _row(row) for row in reader}
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        _log.warning("%s cannot be read (%s): not used", manifest, exc)
        return {}


def _row(row: dict[str, str | None]) -> Provenance:
    def word(column: str) -> str:
        return (row.get(column) or "").strip() or UNKNOWN

    source, inner = word("source"), word("path")
    return Provenance(
        category=word("category"),
        licence=word("licence"),
        source=source if inner == UNKNOWN else f"{source}: {inner}",
    )
