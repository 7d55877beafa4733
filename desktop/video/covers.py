"""Cover pictures: each is one packet, which files hold as what they have for it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from av import FFmpegError
from av.stream import Disposition, Stream

from desktop.video.opening import open_container

__all__ = ["Cover", "cover_of", "is_cover"]

_KINDS = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png")}  # MP4 takes no others


@dataclass(frozen=True, slots=True)
class Cover:
    """A picture as a file.

    Attributes:
        name: such as `cover.jpg`.
        media_type: such as `image/jpeg`.
        encoded: the file.
    """

    name: str
    media_type: str
    encoded: bytes


def is_cover(stream: Stream) -> bool:
    """Whether a stream is a cover picture and no video."""
    return bool(stream.disposition & Disposition.attached_pic)


def cover_of(path: Path, stream: Stream) -> Cover | None:
    """The picture of a stream of `is_cover`; None where it cannot be read or is of no known kind.

    FFmpeg gives it at the very beginning only, which a part of a file does not have: it is read
    anew.
    """
    if stream.name not in _KINDS:
        return None
    suffix, media_type = _KINDS[stream.name]
    with suppress(FFmpegError), open_container(path) as container:
        packet = next(container.demux(container.streams[stream.index]), None)
        if packet is not None and packet.size:
            return Cover(
                stream.metadata.get("filename", f"cover.{suffix}"), media_type, bytes(packet)
            )
    return None
