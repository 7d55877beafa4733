"""A file as FFmpeg opens it, or what is wrong with it."""

from __future__ import annotations

import stat
from pathlib import Path

import av
from av import FFmpegError
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Stream

from desktop.video.errors import VideoError

__all__ = ["has_unknown_sound", "open_container"]

# How far FFmpeg reads for streams that begin late, where its usual five seconds do not do.
_FAR = {"probesize": "100000000", "analyzeduration": "300000000"}  # bytes, microseconds
_NO_FILES = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device"}


def open_container(path: Path) -> InputContainer:
    """Opens a file and finds out what is in it.

    Raises:
        VideoError: it is no file that can be read, or none that FFmpeg knows.
    """
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
        if kind == stat.S_IFDIR:
            raise VideoError(path, "is a folder; name a video file")
        if kind in _NO_FILES:
            raise VideoError(
                path,
                f"is {_NO_FILES[kind]}, and a video is read more than once; write it to a file "
                "first and name that",
            )
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as exc:
        raise VideoError(path, f"cannot be read: {exc.strerror}") from exc
    if not head:
        raise VideoError(path, "is empty (0 bytes)")
    try:
        container = _opened(path, {})
        if any(map(has_unknown_sound, container.streams)):
            container.close()
            container = _opened(path, _FAR)
    except (FFmpegError, ValueError) as exc:
        raise VideoError(path, _why_unreadable(path, head, exc)) from exc
    return container


def has_unknown_sound(stream: Stream) -> bool:
    """Whether a stream is of sound, and FFmpeg found none in it so far."""
    if not isinstance(stream, AudioStream):
        return False
    context: AudioCodecContext | None = stream.codec_context  # None: of an unknown codec
    return context is not None and not context.sample_rate


def _opened(path: Path, options: dict[str, str]) -> InputContainer:
    # The name of a file could be taken for a protocol's. Metadata may be in any encoding.
    return av.open(f"file:{path}", container_options=options, metadata_errors="replace")


def _why_unreadable(path: Path, head: bytes, exc: Exception) -> str:
    if head[4:8] == b"ftyp" and not _has_index(path):
        return "is cut off or still being recorded: an MP4 without its index (moov)"
    if isinstance(exc, EOFError):
        return "ends before its first frame"
    if _is_text(head):
        return "is a text file, not a video"
    return f"is not a video that FFmpeg can read ({getattr(exc, 'strerror', None) or exc})"


def _has_index(path: Path) -> bool:
    """Whether an MP4 has a whole moov box."""
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        at = 0
        while at + 8 <= size_bytes:
            file.seek(at)
            header = file.read(16)
            length = int.from_bytes(header[:4], "big")
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            if header[4:8] == b"moov":
                return length == 0 or at + length <= size_bytes
            if length < 8:
                return False
            at += length
    return False


def _is_text(head: bytes) -> bool:
    return all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
