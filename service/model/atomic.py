"""Files that are either whole or not there: written beside their place, then moved into it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["replacing", "temporary_beside", "write_bytes"]


@contextmanager
def temporary_beside(path: Path, *, suffix: str = ".part") -> Iterator[Path]:
    """An empty file in the folder of `path`, which is gone when the block ends, however it ends.

    The user's umask says who may read it. It is not named after `path`, whose name may be as long
    as names can be.

    Args:
        path: where it may be moved to within the block.
        suffix: of its name.

    Raises:
        OSError: the folder cannot be written.
    """
    temporary = path.with_name(f".clearcall-{secrets.token_hex(8)}{suffix}")
    try:  # from before it is made: Ctrl-C may come between any two steps
        temporary.open("xb").close()
        yield temporary
    finally:
        with suppress(OSError):  # mostly it is gone to its place
            temporary.unlink()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends without an error.

    What was at `path` stays until then, and for good if the block or the disk fails. Missing
    folders are made.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(path) as temporary:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file in one step.

    Raises:
        OSError: the folder cannot be written, or the disk is full; what was there stays.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)
