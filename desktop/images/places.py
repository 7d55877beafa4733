"""Where each picture goes; what cannot be is refused before the student is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from desktop.images.errors import ImageUseError
from desktop.images.finding import Found, Missed
from desktop.images.formats import format_of, suffix_of
from desktop.names import printable
from service.codec import ImageFormat

__all__ = ["STDOUT", "Place", "Places", "places_of"]

STDOUT = "-"
_COMPARED = "-compare"


@dataclass(frozen=True, slots=True)
class Place:
    """One picture's way.

    Attributes:
        source: None = stdin.
        output: None = stdout.
        compare: of the picture of before and after, or None.
        format: of the output; None = the input's.
        encoded: The picture's file where it was read already, from stdin or a pipe.
    """

    source: Path | None
    output: Path | None
    compare: Path | None
    format: ImageFormat | None
    encoded: bytes | None = None

    @property
    def name(self) -> str:
        """Of the input, as its owner wrote it."""
        return "-" if self.source is None else str(self.source)


@dataclass(frozen=True, slots=True)
class Places:
    """What is to be done, and what cannot be."""

    ready: tuple[Place, ...]
    missed: tuple[Missed, ...]


def places_of(
    found: Sequence[Found | Missed],
    output: str,
    *,
    image_format: ImageFormat | None,
    compares: bool,
    is_forced: bool,
    is_folder: bool,
    reason_against: Callable[[Path], str | None],
) -> Places:
    """Gives each picture its place.

    Args:
        found: What goes in.
        output: A file, a folder, or `-`.
        image_format: What was asked for; else a file's suffix says it, in a folder the input.
        compares: Whether before and after are to be shown beside each output.
        is_forced: Whether what is there is replaced; a picture that goes in never is.
        is_folder: Whether the inputs are such that the output has to be a folder.
        reason_against: Why a file is no picture that can be read, or None; it then takes no place.

    Raises:
        ImageUseError: The output does not fit the inputs.
    """
    pictures = [each for each in found if isinstance(each, Found)]
    found = [_checked(each, reason_against) for each in found]
    if output == STDOUT:
        return _to_stdout(found, image_format, compares=compares, is_folder=is_folder)
    target = Path(output)
    if is_folder or target.is_dir() or output.endswith(("/", os.sep)):
        if os.path.lexists(target) and not target.is_dir():
            raise ImageUseError(f"{printable(target)}: is no folder; name one for several pictures")
        outputs = [_in_folder(each, target, image_format) for each in found]
    else:
        image_format = _format_of_file(target, image_format)
        outputs = [target for _ in found]
    planner = _Planner(pictures, is_forced=is_forced)
    ready, missed = [], []
    for each, path in zip(found, outputs, strict=True):
        if isinstance(each, Missed):
            missed.append(each)
            continue
        compare = path.with_name(f"{path.stem}{_COMPARED}{path.suffix}") if compares else None
        refused = planner.refuse(path) or (compare and planner.refuse(compare))
        if refused:
            missed.append(Missed(each.name, refused))
        else:
            ready.append(Place(each.path, path, compare, image_format))
    return Places(tuple(ready), tuple(missed))


def _checked(found: Found | Missed, reason_against: Callable[[Path], str | None]) -> Found | Missed:
    if isinstance(found, Missed) or found.path is None:
        return found
    reason = reason_against(found.path)
    return found if reason is None else Missed(found.name, reason)


def _to_stdout(
    found: Sequence[Found | Missed],
    image_format: ImageFormat | None,
    *,
    compares: bool,
    is_folder: bool,
) -> Places:
    if is_folder:
        raise ImageUseError("-o - writes one picture to stdout; name a folder for several")
    if compares:
        raise ImageUseError("--compare writes beside the output, and stdout has no place there")
    return Places(
        tuple(
            Place(each.path, None, None, image_format) for each in found if isinstance(each, Found)
        ),
        tuple(each for each in found if isinstance(each, Missed)),
    )


def _in_folder(found: Found | Missed, folder: Path, image_format: ImageFormat | None) -> Path:
    if isinstance(found, Missed):
        return folder
    if found.path is None and image_format is None:
        raise ImageUseError("a picture from stdin has no name: give -o a file, or say --format")
    if image_format is None or format_of(found.relative) == image_format:
        return folder / found.relative
    return folder / found.relative.with_suffix(suffix_of(image_format))


def _format_of_file(output: Path, asked: ImageFormat | None) -> ImageFormat:
    said = format_of(output)
    if said is None and asked is None:
        raise ImageUseError(
            f"{printable(output)}: its suffix names no picture format that can be written; end it "
            "in .jpg, .png, .webp, .bmp, .tif, .avif or .heic, say --format, or add a / if it is "
            "a folder"
        )
    if said and asked and said != asked:
        raise ImageUseError(
            f"{printable(output)}: its suffix says {said}, and --format {asked}; take one away"
        )
    return asked or said  # type: ignore[return-value]


class _Planner:
    """Refuses places that are taken, by what goes in, by what is there, or by one before."""

    def __init__(self, found: Sequence[Found], *, is_forced: bool) -> None:
        self._is_forced = is_forced
        self._inputs = {_identity(each.path) for each in found if each.path is not None}
        self._taken: set[str] = set()

    def refuse(self, path: Path) -> str | None:
        """Why `path` cannot be written, or None; then it is taken."""
        refused = self._occupied(path) or _unwritable(path)
        if refused is None:
            self._taken.add(os.path.abspath(path))
        return refused and f"{printable(path)} {refused}"

    def _occupied(self, path: Path) -> str | None:
        if os.path.lexists(path):
            if path.exists() and _identity(path) in self._inputs:
                return "is one of the pictures that go in; name another place"
            if path.is_dir():
                return "is a folder"
            if not self._is_forced:
                return "is there already; --force replaces it"
        if os.path.abspath(path) in self._taken:
            return "is what another picture becomes; do them one after the other"
        return None


def _unwritable(path: Path) -> str | None:
    folder = path.parent
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        return f"cannot be written: {printable(folder)} is not a folder"
    if not os.access(folder, os.W_OK):
        return f"cannot be written: {printable(folder)} is read-only for you"
    return None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
