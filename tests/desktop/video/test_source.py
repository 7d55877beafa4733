"""desktop.video.source: files as they come, with clocks and streams of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.desktop.video.clips import frame_times_s, moved
from tests.desktop.video.conftest import Run

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
