"""Picture files: read with an eye on what they are, written whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from desktop.images.errors import PictureFailed, reason_of
from desktop.names import printable
from service.codec import sniff
from service.model.atomic import temporary_beside

__all__ = ["check_picture_file", "is_pipe", "read_picture", "write_whole"]

_MAX_BYTES = 2 << 30
_HEAD_BYTES = 64


def is_pipe(path: Path) -> bool:
    """Whether it is read once and may have to be waited for."""
    return path.is_fifo()


def check_picture_file(path: Path) -> None:
    """Says what is wrong with a file as far as its first bytes tell.

    Raises:
        PictureFailed: It is missing, not to be read, empty, no file, or far too large.
        ImageUnsupported: It does not begin as a picture does.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise PictureFailed("is not a file")
        if status.st_size > _MAX_BYTES:
            raise PictureFailed(f"is larger than {_MAX_BYTES >> 30} GiB")
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as exc:
        raise PictureFailed(_unreadable(path, exc)) from exc
    _check_head(head)


def read_picture(path: Path | None) -> bytes:
    """The whole file, or all of stdin.

    Raises:
        PictureFailed, ImageUnsupported: As `check_picture_file`.
    """
    try:
        if path is None:
            encoded = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with path.open("rb") as file:
                encoded = file.read(_MAX_BYTES + 1)
    except OSError as exc:
        reason = f"cannot be read: {reason_of(exc)}" if path is None else _unreadable(path, exc)
        raise PictureFailed(reason) from exc
    if len(encoded) > _MAX_BYTES:
        raise PictureFailed(f"is larger than {_MAX_BYTES >> 30} GiB")
    _check_head(encoded[:_HEAD_BYTES])
    return encoded


def write_whole(path: Path, encoded: bytes, *, is_forced: bool) -> None:
    """Writes a file that appears at `path` when it is on the disk; missing folders are made.

    Args:
        path: Where.
        encoded: Its bytes.
        is_forced: Whether what is there is replaced.

    Raises:
        PictureFailed: The folder cannot be written, the disk is full, or something is there. What
            was there stays, and nothing half-written does.
    """
    try:
        if path.exists() and not path.is_file():
            raise PictureFailed(f"{printable(path)} is no file: a folder or a device")
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_beside(path) as temporary:
            with temporary.open("wb") as file:
                file.write(encoded)
                file.flush()
                os.fsync(file.fileno())
            _put(temporary, path, is_forced=is_forced)
    except OSError as exc:
        raise PictureFailed(f"{printable(path)} cannot be written: {reason_of(exc)}") from exc


def _put(temporary: Path, path: Path, *, is_forced: bool) -> None:
    if not is_forced:
        try:
            os.link(temporary, path)
            return
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links: a moment is left in which one may come
            if not os.path.lexists(path):
                os.replace(temporary, path)
                return
        raise PictureFailed(f"{printable(path)} is there already; --force replaces it")
    os.replace(temporary, path)


def _check_head(head: bytes) -> None:
    if not head:
        raise PictureFailed("is empty")
    sniff(head)


def _unreadable(path: Path, exc: OSError) -> str:
    if isinstance(exc, FileNotFoundError):
        return "is a link to nothing" if path.is_symlink() else "there is no such file"
    return f"cannot be read: {reason_of(exc)}"
