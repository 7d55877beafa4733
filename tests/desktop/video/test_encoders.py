"""desktop.video.encoders: which encoder a file gets, and how it is told what."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from desktop.video.encoders import choose_encoder, describe_encoders
from desktop.video.errors import VideoError


@pytest.mark.parametrize(
    ("name", "source", "encoder", "pixels"),
    [
        ("a.mp4", "yuv420p", "libx264", "yuv420p"),
        ("a.mkv", "yuvj422p", "libx264", "yuv422p"),
        ("a.mov", "yuv420p10le", "libx265", "yuv420p10le"),
        ("a.mov", "p010le", "libx265", "yuv420p10le"),
        ("a.mp4", "nv12", "libx264", "yuv420p"),
        ("a.mp4", "yuva420p", "libx264", "yuv420p"),
        ("a.mp4", "rgb24", "libx264", "yuv420p"),
        ("a.avi", "bgra", "libx264", "yuv420p"),
        ("a.webm", "yuv420p", "libvpx-vp9", "yuv420p"),
        ("a.webm", "yuv420p10le", "libsvtav1", "yuv420p10le"),
        ("a.mpg", "yuv422p", "mpeg2video", "yuv422p"),
    ],
)
def test_container_and_depth_choose_the_encoder(
    name: str, source: str, encoder: str, pixels: str
) -> None:
    chosen = choose_encoder(Path(name), av.VideoFormat(source))
    assert (chosen.name, chosen.pixels) == (encoder, pixels)


def test_quality_and_preset_reach_each_encoder_under_its_own_name() -> None:
    def options(asked: str, crf: int | None = None, preset: str | None = None) -> dict[str, str]:
        format_ = av.VideoFormat("yuv420p")
        return choose_encoder(
            Path("a.mkv"), format_, asked=asked, crf=crf, preset=preset, threads=3
        ).options

    assert options("h264") == {"crf": "18", "preset": "veryfast"}
    assert options("h264", 25, "slow") == {"crf": "25", "preset": "slow"}
    assert options("vp9", 30, "8")["cpu-used"] == "8"
    assert "pools=3" in options("hevc")["x265-params"]
    assert options("h264_nvenc", 19, "p7") == {"rc": "vbr", "cq": "19", "preset": "p7"}
    assert options("h264_qsv", 19) == {"global_quality": "19"}


def test_what_an_encoder_does_not_have_is_refused() -> None:
    yuv = av.VideoFormat("yuv420p")
    for asked, crf, preset, reason in (
        ("ffv1", 20, None, "no setting for quality"),
        ("mpeg4", None, "fast", "no presets"),
        ("libx264rgb", None, None, "RGB only"),
        ("hevc", 52, None, "0 to 51"),
    ):
        with pytest.raises(VideoError, match=reason):
            choose_encoder(Path("a.mkv"), yuv, asked=asked, crf=crf, preset=preset)


def test_the_list_has_what_is_installed() -> None:
    listed = dict(describe_encoders())
    assert {"libx264", "libx265", "libvpx-vp9", "libsvtav1", "ffv1"} <= listed.keys()
    assert "aac" not in listed
