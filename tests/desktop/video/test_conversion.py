"""desktop.video.conversion: what is told of a video that cannot be kept as it was."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from desktop.video.conversion import _CHROMA, _chroma_of
from tests.desktop.video.clips import write_clip
from tests.desktop.video.conftest import Run

FIELDS = {"flags": "+ildct+ilme", "x264-params": "tff=1"}
LOST = "frames are interlaced and the new ones are not"


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "fields.h264", frames=3, size_px=(96, 160), options=FIELDS)


def test_fields_that_begin_on_the_way_are_told_to_be_lost(
    run: Run, fields: Path, tmp_path: Path
) -> None:
    whole = write_clip(tmp_path / "whole.h264", frames=3, size_px=(96, 160))
    joined = tmp_path / "joined.h264"
    joined.write_bytes(whole.read_bytes() + fields.read_bytes())
    assert f"3 {LOST}" in run(joined, tmp_path / "out.mp4")["said"]
    assert LOST not in run(joined, tmp_path / "b.mp4", "--deinterlace")["said"]


def test_fields_are_told_to_stay_only_where_they_do(run: Run, fields: Path, tmp_path: Path) -> None:
    kept = run(fields, tmp_path / "out.mp4")["said"]
    assert "stay interlaced" in kept
    assert LOST not in kept
    lost = run(fields, tmp_path / "out.mkv", "--encoder", "ffv1")["said"]
    assert f"3 {LOST}" in lost
    assert "stay interlaced" not in lost


@pytest.mark.parametrize(
    ("pixels", "encoder", "told"),
    [
        ("yuv422p", "mpeg4", "mpeg4 takes 4:2:0: the colours of the video, 4:2:2, become coarser"),
        ("yuv444p", "mpeg2video", "takes 4:2:0: the colours of the video, 4:4:4, become coarser"),
        ("yuv422p", "ffv1", ""),
        ("yuv420p", "mpeg4", ""),
        ("bgr0", "mpeg4", ""),
        ("gray", "mpeg4", ""),
    ],
)
def test_colours_that_become_coarser_are_told(
    run: Run, tmp_path: Path, pixels: str, encoder: str, told: str
) -> None:
    clip = write_clip(tmp_path / "clip.mkv", frames=2, codec="ffv1", pixels=pixels)
    said = run(clip, tmp_path / "out.mkv", "--encoder", encoder)["said"]
    assert told in said
    assert told or "coarser" not in said


def test_every_layout_of_colours_has_a_name() -> None:
    for name in av.video.format.names:  # type: ignore[attr-defined]
        pixels = av.VideoFormat(name)
        if not pixels.is_rgb and len(pixels.components) >= 3:
            assert _chroma_of(pixels) in _CHROMA
