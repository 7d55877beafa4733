"""What can be wrong with a picture or with what was asked, in words for its owner."""

from __future__ import annotations

import os

from service.errors import ClearcallError

__all__ = ["ImageUseError", "Interrupted", "PictureFailed", "reason_of"]


class ImageUseError(ClearcallError):
    """The command line asks for what cannot be: nothing was done."""

    code = "image-use"
    title = "The pictures cannot be done as asked"


class PictureFailed(Exception):
    """One picture cannot be done; the message is the reason, without the picture's name."""


class Interrupted(Exception):
    """The batch is to end; what is not whole yet is dropped."""


def reason_of(exc: Exception) -> str:
    """One line, without the picture's name."""
    match exc:
        case PictureFailed() | ClearcallError():
            reason = str(exc)
        case MemoryError():
            reason = "there is not enough memory for it; try --jobs 1, or --resize"
        case OSError(errno=int(number)):
            reason = os.strerror(number)
        case _:
            reason = f"{type(exc).__name__}: {exc}"
    return " ".join(reason.split())
