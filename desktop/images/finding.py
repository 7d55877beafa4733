"""Which pictures are meant: files, folders with all below them, patterns, and `-` for stdin."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from desktop.images.errors import reason_of
from desktop.images.formats import PICTURE_SUFFIXES

__all__ = ["STDIN", "Found", "Missed", "find_pictures"]

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Found:
    """A picture: where it is (None = stdin), and its place below the output folder."""

    path: Path | None
    relative: Path

    @property
    def name(self) -> str:
        """As its owner wrote it."""
        return STDIN if self.path is None else str(self.path)


@dataclass(frozen=True, slots=True)
class Missed:
    """What was asked for or come across and cannot be read."""

    name: str
    reason: str


def find_pictures(inputs: Sequence[str], *, output: Path | None) -> list[Found | Missed]:
    """Lists what the inputs name, in their order; folders and patterns in that of their names.

    Args:
        inputs: Files, folders, patterns such as `in/**/*.jpg` where no such file exists, or `-`.
        output: A folder that is left out where it lies in an input folder; None = stdout.

    Returns:
        Each file once. In folders, hidden files and folders are left out and links to folders are
        not followed.
    """
    found: list[Found | Missed] = []
    seen: set[str] = set()
    for name in inputs:
        for item in _named(name, output):
            key = item.name if isinstance(item, Missed) else os.path.abspath(item.name)
            if key not in seen:
                seen.add(key)
                found.append(item)
    return found


def _named(name: str, output: Path | None) -> Iterator[Found | Missed]:
    path = Path(name)
    if name == STDIN:
        yield Found(None, Path("stdin"))
    elif path.is_dir():
        yield from _below(path, output)
    elif not os.path.lexists(path) and glob.has_magic(name):
        yield from _matching(name, output)
    else:
        yield Found(path, Path(path.name))


def _below(folder: Path, output: Path | None) -> Iterator[Found | Missed]:
    unreadable: list[OSError] = []
    is_empty = True
    for parent, folders, files in os.walk(folder, onerror=unreadable.append):
        here = Path(parent)
        folders[:] = sorted(
            each
            for each in folders
            if not each.startswith(".") and not _is_same(here / each, output)
        )
        for each in sorted(files):
            if _is_picture(here / each):
                is_empty = False
                yield Found(here / each, (here / each).relative_to(folder))
        while unreadable:
            exc = unreadable.pop()
            is_empty = False
            yield Missed(str(exc.filename), f"cannot be listed: {reason_of(exc)}")
    for exc in unreadable:
        is_empty = False
        yield Missed(str(exc.filename), f"cannot be listed: {reason_of(exc)}")
    if is_empty:
        yield Missed(str(folder), "there is no picture in this folder")


def _matching(pattern: str, output: Path | None) -> Iterator[Found | Missed]:
    """What matches, its place kept from where the pattern begins to be one."""
    base = Path()
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        base /= part
    matches = sorted(glob.glob(pattern, recursive=True))
    files = [Path(each) for each in matches if not os.path.isdir(each)]
    for path in files:
        if output is None or not output.is_dir() or not _is_below(path, output):
            yield Found(path, path.relative_to(base))
    if not files:
        hint = "; for a folder name the folder itself" if matches else ""
        yield Missed(pattern, f"no file matches this pattern{hint}")


def _is_picture(path: Path) -> bool:
    """By its name; a link to nothing too, which is told, but no pipe or device."""
    if path.name.startswith(".") or path.suffix.lower() not in PICTURE_SUFFIXES:
        return False
    return path.is_file() or not path.exists()


def _is_same(folder: Path, output: Path | None) -> bool:
    try:
        return output is not None and os.path.samefile(folder, output)
    except OSError:
        return False


def _is_below(path: Path, folder: Path) -> bool:
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))
