"""What kind of picture each file shows, for scores by category."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trainer.provenance import UNKNOWN, read_provenance

__all__ = ["picture_categories"]


def picture_categories(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The category of each picture.

    From the nearest manifest, see `trainer.provenance`; for pictures that it does not list, what
    stands before the first `-` of the file's name; without either, `all`.

    Args:
        folder: the folder of pictures.
        names: the pictures' paths relative to it, with `/`.
    """
    listed = read_provenance(folder)
    categories = {}
    for name in names:
        known = listed.get((folder / name).resolve())
        is_known = known is not None and known.category != UNKNOWN
        categories[name] = known.category if known and is_known else _prefix(name)
    return categories


def _prefix(name: str) -> str:
    before, dash, _ = Path(name).name.partition("-")
    return before if dash and before else "all"
