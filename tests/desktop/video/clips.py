"""Clips that the tests make themselves, and what they read back from files."""

from __future__ import annotations

import wave
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from desktop.video.colour import planes_of

__all__ = [
    "BEEP_S",
    "FPS",
    "beep_time_s",
    "decoded_planes",
    "flash_time_s",
    "frame_times_s",
    "moved",
    "packet_times",
    "packets_of",
    "remuxed",
    "write_clip",
]

FPS = 30
BEEP_S = 0.5  # when a clip with sound flashes and beeps
_RATE = 48_000
_TICKS = 90_000
Planes = list[npt.NDArray[Any]]


def write_clip(
    path: Path,
    *,
    frames: int = 30,
    size_px: tuple[int, int] = (90, 160),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    tracks: int = 0,
    sound: str = "aac",
    times_s: Sequence[float] | None = None,
    rotation: int | None = None,
    aspect: Fraction | None = None,
    colour: dict[str, int] | None = None,
    options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """A moving pattern, `frames` of it at 30 a second or at `times_s`.

    With `tracks` of `sound` the picture is white and the sound beeps at `BEEP_S`.
    """
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata or {})
        video: Any = container.add_stream(codec, rate=FPS, options=options or {})
        video.height, video.width = size_px
        video.pix_fmt = pixels
        video.codec_context.time_base = Fraction(1, _TICKS)
        for name, value in (colour or {}).items():
            setattr(video.codec_context, name, value)
        if aspect is not None:
            video.codec_context.sample_aspect_ratio = aspect
        if rotation is not None:
            video.set_display_rotation(rotation)
        sounds: list[Any] = [container.add_stream(sound, rate=_RATE) for _ in range(tracks)]
        for number in range(frames):
            time_s = number / FPS if times_s is None else times_s[number]
            is_flash = tracks > 0 and BEEP_S <= time_s < BEEP_S + 0.1
            frame = _pattern(number, size_px, pixels, is_flash=is_flash)
            frame.pts, frame.time_base = round(time_s * _TICKS), Fraction(1, _TICKS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for track in sounds:
            for audio in _sound(frames / FPS):
                container.mux(track.encode(audio))
            container.mux(track.encode(None))
    return path


def _pattern(
    number: int, size_px: tuple[int, int], pixels: str, *, is_flash: bool
) -> av.VideoFrame:
    height, width = size_px
    frame = av.VideoFrame(width, height, pixels)
    shift = frame.format.components[0].bits - 8
    for at, plane in enumerate(planes_of(frame)):
        rows, columns = np.indices(plane.shape)
        levels: Any = 40 + (rows * (3 + at) + columns * 2 + number * 4) % 160
        levels[::8] += 20
        if is_flash:
            levels[...] = (235, 128, 128)[at]
        plane[...] = (levels << shift) + (number % 3 if shift else 0)
    return frame


def _sound(length_s: float) -> Iterator[av.AudioFrame]:
    samples = np.arange(round(length_s * _RATE))
    is_on = (samples >= BEEP_S * _RATE) & (samples < (BEEP_S + 0.1) * _RATE)
    levels = np.where(is_on, np.sin(samples * 2 * np.pi * 1000 / _RATE), 0).astype(np.float32)
    for begin in range(0, len(levels), 1024):
        frame = av.AudioFrame.from_ndarray(
            np.stack([levels[begin : begin + 1024]] * 2), format="fltp", layout="stereo"
        )
        frame.sample_rate, frame.pts, frame.time_base = _RATE, begin, Fraction(1, _RATE)
        yield frame


def remuxed(
    source: Path,
    path: Path,
    *,
    metadata: dict[str, str] | None = None,
    chapters: list[Any] | None = None,
    subtitles: Path | None = None,
    attachment: bytes | None = None,
    attached_as: tuple[str, str] = ("note.txt", "text/plain"),
    languages: Sequence[str] = (),
) -> Path:
    """A copy with more in it; `subtitles` is an .srt file, for Matroska."""
    with ExitStack() as stack:
        given = [
            stack.enter_context(av.open(str(file)))
            for file in (source, subtitles)
            if file is not None
        ]
        made = stack.enter_context(av.open(str(path), "w"))
        copies = {
            stream: made.add_stream_from_template(stream, opaque=True)
            for container in given
            for stream in container.streams
        }
        for copy, language in zip(copies.values(), languages, strict=False):
            copy.metadata["language"] = language
        if attachment:
            made.add_attachment(*attached_as, attachment)
        made.metadata.update(metadata or {})
        if chapters:
            made.set_chapters(chapters)
        for container in given:
            for packet in container.demux():
                if packet.dts is not None:
                    packet.stream = copies[packet.stream]
                    made.mux(packet)
    return path


def moved(clip: Path, path: Path, by_s: float, *, kind: str | None = None) -> Path:
    """A transport stream with all times, or those of one kind of stream, so much later."""
    with (
        av.open(str(clip)) as given,
        av.open(str(path), "w", container_options={"mpegts_copyts": "1"}) as made,
    ):
        copies = {
            stream: made.add_stream_from_template(stream, opaque=True) for stream in given.streams
        }
        for packet in given.demux():
            if packet.dts is None or packet.pts is None:
                continue
            if kind in (None, packet.stream.type):
                ticks = round(Fraction(by_s) / packet.time_base)
                packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            packet.stream = copies[packet.stream]
            made.mux(packet)
    return path


def write_wave(path: Path) -> Path:
    """A second of silence."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16_000))
    return path


def decoded_planes(path: Path) -> list[Planes]:
    """Each frame's Y, U and V."""
    with av.open(str(path)) as container:
        return [
            [np.array(plane) for plane in planes_of(frame)] for frame in container.decode(video=0)
        ]


def frame_times_s(path: Path) -> list[float]:
    """When each frame is shown."""
    with av.open(str(path)) as container:
        return [frame.time or 0.0 for frame in container.decode(video=0)]


def packets_of(path: Path, kind: str) -> list[list[bytes]]:
    """The packets of each stream of a kind (audio, subtitle), as bytes."""
    with av.open(str(path)) as container:
        found = {stream.index: [] for stream in container.streams if stream.type == kind}  # type: dict[int, list[bytes]]
        for packet in container.demux():
            if packet.stream_index in found and packet.size:
                found[packet.stream_index].append(bytes(packet))
    return list(found.values())


def packet_times(path: Path, kind: str) -> list[list[int]]:
    """When each packet of each stream of a kind is to be decoded, in ticks."""
    with av.open(str(path)) as container:
        found = {stream.index: [] for stream in container.streams if stream.type == kind}  # type: dict[int, list[int]]
        for packet in container.demux():
            if packet.stream_index in found and packet.dts is not None:
                found[packet.stream_index].append(packet.dts)
    return list(found.values())


def flash_time_s(path: Path) -> float:
    """When the picture first is white."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if planes_of(frame)[0].mean() > 215:
                return float(frame.time or 0)
    raise AssertionError("there is no flash")


def beep_time_s(path: Path, track: int = 0) -> float:
    """When the sound first is loud."""
    with av.open(str(path)) as container:
        for frame in container.decode(audio=track):
            levels: Any = np.abs(frame.to_ndarray()).max(axis=0)
            loud = np.flatnonzero(levels > 0.25)
            if len(loud):
                return float(frame.time or 0) + float(loud[0]) / frame.sample_rate
    raise AssertionError("there is no beep")
