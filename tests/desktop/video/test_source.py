"""desktop.video.source: files as they come, with clocks and streams of their own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from tests.desktop.video.clips import frame_times_s, moved, write_clip
from tests.desktop.video.conftest import Run

Refused = Callable[..., str]
_WRAP_S = (1 << 33) / 90_000  # where the clock of a transport stream begins anew


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_broadcast_whose_clock_is_about_to_begin_anew_keeps_its_beginning(
    run: Run, plain_clip: Path, tmp_path: Path, suffix: str
) -> None:
    clip = moved(plain_clip, tmp_path / "clip.ts", _WRAP_S - 0.5)
    assert frame_times_s(clip)[0] < 0
    output = tmp_path / f"out.{suffix}"
    run(clip, output)
    times_s = frame_times_s(output)
    assert len(times_s) == 30
    assert 0 <= times_s[0] < 0.2
    assert times_s[-1] - times_s[0] == pytest.approx(29 / 30, abs=0.001)


def write_late(path: Path) -> Path:
    """A transport stream of 20 s whose sound begins later than FFmpeg usually looks."""
    clip = write_clip(
        path.with_suffix(".mp4"),
        frames=200,
        size_px=(32, 48),
        tracks=1,
        times_s=[number / 10 for number in range(200)],
    )
    return moved(clip, path, 13, kind="audio")


def test_sound_that_begins_late_comes_along(run: Run, tmp_path: Path) -> None:
    clip, output = write_late(tmp_path / "clip.ts"), tmp_path / "out.mp4"
    summary = run(clip, output)
    assert (summary["copied"], summary["said"]) == (["audio aac"], "")
    with av.open(str(output)) as made:
        sound = next(packet for packet in made.demux(audio=0))
        assert float((sound.pts or 0) * sound.time_base) == pytest.approx(13, abs=0.1)


def test_sound_that_never_begins_is_left_out_and_told(run: Run, tmp_path: Path) -> None:
    clip = write_late(tmp_path / "clip.ts")
    packets = re.findall(rb"(?s).{188}", clip.read_bytes())
    sound = [packet for packet in packets if (packet[1] & 0x1F, packet[2]) == (1, 1)]
    assert sound
    clip.write_bytes(b"".join(packet for packet in packets if packet not in sound))
    summary = run(clip, tmp_path / "out.mp4")
    assert (summary["frames"], summary["left_out"]) == (200, ["audio aac"])
    assert "stream 1, audio aac, has no sound" in summary["said"]


def test_a_pipe_is_refused_before_anything_of_it_is_read(refused: Refused, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    said = refused(pipe, tmp_path / "out.mp4")
    assert f"{pipe}: is a pipe" in said
    assert "write it to a file first" in said
    assert "is a device" in refused(Path("/dev/null"), tmp_path / "out.mp4")
