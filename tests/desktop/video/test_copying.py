"""desktop.video.copying and sink: what is copied beside the picture."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from tests.desktop.video.clips import moved, packet_times, packets_of, write_clip
from tests.desktop.video.conftest import Run

Refused = Callable[..., str]
_SOUND = b"\x00\x00\x01\xc0"  # begins a packet of sound in a transport stream


def damage_sound(clip: Path, *numbers: int) -> None:
    """Takes the mark off the first AAC frame in some packets of a transport stream."""
    stream = bytearray(clip.read_bytes())
    begins = [found.start() for found in re.finditer(re.escape(_SOUND), stream)]
    for number in numbers:
        frame_at = begins[number] + 9 + stream[begins[number] + 8]
        assert stream[frame_at : frame_at + 2] == b"\xff\xf1"
        stream[frame_at : frame_at + 2] = bytes(2)
    clip.write_bytes(stream)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("number", [0, 2], ids=["at the beginning", "later"])
def test_a_damaged_packet_of_sound_is_left_out_and_told(
    run: Run, tmp_path: Path, suffix: str, number: int
) -> None:
    clip = write_clip(tmp_path / "clip.ts", frames=30, tracks=1)
    damage_sound(clip, number)
    output = tmp_path / f"out.{suffix}"
    summary = run(clip, output)
    assert summary["frames"] == 30
    assert "damaged packets were left out: 1 of audio aac" in summary["said"]
    assert len(packets_of(output, "audio")[0]) == len(packets_of(clip, "audio")[0]) - 1


def test_a_container_that_refuses_all_sound_is_an_error(
    refused: Refused, plain_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = av.open

    class Refusing:
        """A container that takes the picture alone."""

        def __init__(self, container: Any) -> None:
            self._container = container

        def __getattr__(self, name: str) -> Any:
            return getattr(self._container, name)

        def mux_one(self, packet: Any) -> None:
            if packet.stream.type == "audio":
                raise av.InvalidDataError(1, "Invalid data")
            self._container.mux_one(packet)

    def open_refusing(*args: Any, **options: Any) -> Any:
        container = opened(*args, **options)
        return Refusing(container) if args[1:] == ("w",) else container

    monkeypatch.setattr(av, "open", open_refusing)
    assert "mp4 refuses a packet (Invalid data)" in refused(plain_clip, tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["mp4", "ts", "mkv"])
def test_sound_that_overlaps_where_two_recordings_were_joined_is_kept(
    run: Run, plain_clip: Path, tmp_path: Path, suffix: str
) -> None:
    joined = tmp_path / "joined.ts"
    parts = [moved(plain_clip, tmp_path / f"{part}.ts", 0.8 * part) for part in range(2)]
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    output = tmp_path / f"out.{suffix}"
    assert run(joined, output)["frames"] == 60
    tracks = packet_times(output, "audio")
    assert [len(times) for times in tracks] == [
        len(times) for times in packet_times(joined, "audio")
    ]
    for times in tracks:
        assert times == sorted(times)
        assert suffix == "mkv" or len(set(times)) == len(times)


def test_sound_that_avi_cannot_keep_in_time_is_told(run: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.ts", frames=9, tracks=1, sound="mp2")
    assert run(clip, tmp_path / "together.avi")["said"] == ""
    late = moved(clip, tmp_path / "late.ts", 0.5, kind="audio")
    said = run(late, tmp_path / "late.avi")["said"]
    assert "avi cannot say that audio mp2 begins 0.5 s after the picture" in said
    assert run(late, tmp_path / "late.mkv")["said"] == ""
