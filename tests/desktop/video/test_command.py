"""`clearcall video`: what its user gets for a file."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from desktop.cli import main
from desktop.video.pipeline import Tally
from desktop.video.progress import progress_bar
from desktop.video.source import Source, open_source
from tests.desktop.video.clips import (
    FPS,
    beep_time_s,
    decoded_planes,
    flash_time_s,
    frame_times_s,
    packets_of,
    remuxed,
    write_clip,
    write_wave,
)
from tests.desktop.video.conftest import Run
from tests.service.doubles import FakeSharpener

LOSSLESS = ("--encoder", "ffv1")
ROOT = Path(__file__).parents[3]
Refused = Callable[..., str]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_sound_stays_in_time_within_a_frame_and_is_not_touched(
    run: Run, plain_clip: Path, tmp_path: Path, suffix: str, ffprobe: str
) -> None:
    output = tmp_path / f"out.{suffix}"
    summary = run(plain_clip, output)
    assert summary["copied"] == ["audio aac", "audio aac"]
    assert packets_of(output, "audio") == packets_of(plain_clip, "audio")
    before_s = beep_time_s(plain_clip) - flash_time_s(plain_clip)
    for track in (0, 1):
        after_s = beep_time_s(output, track) - flash_time_s(output)
        assert after_s == pytest.approx(before_s, abs=1 / FPS)
        assert after_s == pytest.approx(before_s, abs=0.003)
    shown = ["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"]
    lengths_s = [
        float(subprocess.run([ffprobe, *shown, str(path)], capture_output=True, check=True).stdout)
        for path in (plain_clip, output)
    ]
    assert lengths_s[1] == pytest.approx(lengths_s[0], abs=1 / FPS)


def test_subtitles_attachments_chapters_and_tags_come_along(
    run: Run, plain_clip: Path, tmp_path: Path
) -> None:
    words = tmp_path / "words.srt"
    words.write_text("1\n00:00:00,400 --> 00:00:00,700\nHello\n")
    chapter: dict[str, Any] = {"id": 1, "start": 0, "end": 700, "time_base": Fraction(1, 1000)}
    full = remuxed(
        plain_clip,
        tmp_path / "full.mkv",
        metadata={"title": "A talk", "artist": "Somebody"},
        chapters=[{**chapter, "metadata": {"title": "Beginning"}}],
        subtitles=words,
        attachment=b"notes",
        languages=("und", "eng", "deu"),
    )
    output = tmp_path / "out.mkv"
    run(full, output)
    assert packets_of(output, "subtitle") == packets_of(full, "subtitle") == [[b"Hello"]]
    with av.open(str(full)) as given, av.open(str(output)) as made:
        assert [stream.type for stream in made.streams] == [s.type for s in given.streams]
        assert [s.language for s in made.streams] == [s.language for s in given.streams]
        assert made.metadata["title"] == "A talk"
        assert made.metadata["ARTIST"] == "Somebody"
        assert [c["metadata"]["title"] for c in made.chapters()] == ["Beginning"]
        assert made.streams.attachments[0].data == b"notes"


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_variable_frame_rate_is_kept_frame_by_frame(
    run: Run, tmp_path: Path, suffix: str
) -> None:
    times_s = [0.5, 0.533, 0.6, 0.61, 0.9, 1.4, 1.433, 2.0]
    clip = write_clip(tmp_path / f"clip.{suffix}", frames=len(times_s), times_s=times_s)
    output = tmp_path / f"out.{suffix}"
    run(clip, output)
    assert frame_times_s(output) == frame_times_s(clip)


COLOURS = {
    "BT.601": ("yuv420p", {"colorspace": 6, "color_range": 1}),
    "BT.709": ("yuv422p", {"colorspace": 1, "color_primaries": 1, "color_trc": 1}),
    "full range": ("yuv444p", {"colorspace": 5, "color_range": 2}),
    "BT.2020 in 10 bits": (
        "yuv420p10le",
        {"colorspace": 9, "color_primaries": 9, "color_trc": 14, "color_range": 1},
    ),
}


@pytest.mark.parametrize("kind", COLOURS)
def test_at_strength_0_all_levels_and_colour_tags_are_what_they_were(
    run: Run, tmp_path: Path, kind: str
) -> None:
    pixels, colour = COLOURS[kind]
    clip = write_clip(tmp_path / "clip.mkv", frames=4, codec="ffv1", pixels=pixels, colour=colour)
    output = tmp_path / "out.mkv"
    summary = run(clip, output, "--strength", "0", *LOSSLESS)
    assert summary["pixels"] == pixels
    for before, after in zip(decoded_planes(clip), decoded_planes(output), strict=True):
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)
    with av.open(str(output)) as made:
        context = made.streams.video[0].codec_context
        assert {name: int(getattr(context, name)) for name in colour} == colour


def test_what_is_sharpened_is_sharper_and_keeps_its_mean(run: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", frames=2, codec="ffv1", pixels="yuv420p10le")
    output = tmp_path / "out.mkv"
    run(clip, output, *LOSSLESS)
    before, after = decoded_planes(clip)[1], decoded_planes(output)[1]
    assert after[0].std() > 1.02 * before[0].std()
    for one, other in zip(before, after, strict=True):
        assert other.mean() == pytest.approx(one.mean(), abs=4)  # a level in 8 bits
    assert len(np.unique(after[0] % 4)) > 1, "the lower bits are still there"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such calls")
def test_no_encoder_takes_real_time_priority(
    run: Run,
    fake: FakeSharpener,
    plain_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policies: list[int] = []
    sharpen = fake.sharpen

    def watched(image: Any, *arguments: Any, **options: Any) -> Any:
        for thread in os.listdir("/proc/self/task"):
            with suppress(ProcessLookupError):  # it has ended
                policies.append(os.sched_getscheduler(int(thread)))
        return sharpen(image, *arguments, **options)

    monkeypatch.setattr(fake, "sharpen", watched)
    run(plain_clip, tmp_path / "out.mkv", "--encoder", "av1")
    assert set(policies) == {os.SCHED_OTHER}


def test_rotation_and_pixel_aspect_are_kept(run: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=3, rotation=90, aspect=Fraction(4, 3))
    output = tmp_path / "out.mp4"
    run(clip, output, "--resize", "60")
    with av.open(str(output)) as made:
        stream = made.streams.video[0]
        assert stream.sample_aspect_ratio == Fraction(4, 3)
        frame = next(made.decode(video=0))
        assert frame.rotation == 90
        assert (frame.width, frame.height) == (60, 34), "it stands 34 wide and 60 high"


def test_an_exact_size_is_exact_but_for_a_border_of_odd_sides(run: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=3)
    said = run(clip, tmp_path / "out.mp4", "--resize", "51x33!")["said"]
    assert "51x33 is odd" in said
    assert "repeated to 52x34" in said


def test_a_container_that_cannot_turn_pictures_is_told(run: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=3, rotation=90)
    assert "turned" in run(clip, tmp_path / "out.ts")["said"]


def test_what_is_odd_is_turned_all_the_same(run: Run, tmp_path: Path) -> None:
    clip = write_clip(
        tmp_path / "odd.mp4", frames=3, size_px=(53, 31), pixels="yuv444p", rotation=90
    )
    output = tmp_path / "out.mp4"
    assert "is odd" in run(clip, output)["said"]
    with av.open(str(output)) as made:
        assert next(made.decode(video=0)).rotation == 90


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_second_picture_with_b_frames_keeps_its_times(
    run: Run, tmp_path: Path, suffix: str
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=12, options={"bf": "3", "b-pyramid": "strict"})
    twice = tmp_path / "twice.mkv"
    with av.open(str(clip)) as given, av.open(str(twice), "w") as made:
        source = given.streams.video[0]
        copies = [made.add_stream_from_template(source) for _ in range(2)]
        for packet in [each for each in given.demux(source) if each.size]:
            for copy in copies:
                again = av.Packet(bytes(packet))
                again.pts, again.dts, again.time_base = packet.pts, packet.dts, packet.time_base
                again.is_keyframe, again.stream = packet.is_keyframe, copy
                made.mux(again)
    output = tmp_path / f"out.{suffix}"

    run(twice, output)

    times_s = []
    for path in (twice, output):
        with av.open(str(path)) as container:
            second = container.streams.video[1]
            ticks = second.time_base
            assert ticks is not None
            packets = [each for each in container.demux(second) if each.size]
            times_s.append([float((each.pts or 0) * ticks) for each in packets])
    assert len(times_s[0]) == 12
    assert times_s[1] == pytest.approx(times_s[0], abs=0.001)


def test_gray_becomes_what_players_take(run: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "gray.mkv", frames=2, codec="ffv1", pixels="gray")
    assert run(clip, tmp_path / "out.mkv")["pixels"] in ("yuv420p", "yuvj420p")


def test_transparency_beside_the_picture_is_told_and_no_longer_claimed(
    run: Run, tmp_path: Path
) -> None:
    clip = write_clip(
        tmp_path / "alpha.webm",
        frames=2,
        codec="libvpx-vp9",
        pixels="yuva420p",
        options={"deadline": "realtime"},
    )
    with av.open(str(clip)) as given:
        assert "alpha_mode" in {key.lower() for key in given.streams.video[0].metadata}
    output = tmp_path / "out.webm"
    assert "transparency is left out" in run(clip, output)["said"]
    with av.open(str(output)) as made:
        assert "alpha_mode" not in {key.lower() for key in made.streams.video[0].metadata}


def test_split_leaves_the_left_half_and_draws_a_line(run: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", frames=2, codec="ffv1")
    output = tmp_path / "out.mkv"
    run(clip, output, "--split", *LOSSLESS)
    before, after = decoded_planes(clip)[0][0], decoded_planes(output)[0][0]
    np.testing.assert_array_equal(before[:, :78], after[:, :78])
    assert (before[:, 82:] != after[:, 82:]).mean() > 0.3
    assert (after[:, 79:81] == 235).all()


def test_the_overlay_is_drawn_at_the_top_left(run: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", frames=3, codec="ffv1")
    output = tmp_path / "out.mkv"
    run(clip, output, "--overlay", "--strength", "0", *LOSSLESS)
    changed = decoded_planes(clip)[2][0] != decoded_planes(output)[2][0]
    assert changed[:40].any()
    assert not changed[40:].any()


def test_a_preview_begins_at_0_with_its_sound_and_the_next_frame(
    run: Run, plain_clip: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    summary = run(plain_clip, output, "--start", "0.4s", "--preview", "0.3s")
    assert summary["frames"] == 9
    assert frame_times_s(output)[0] == 0
    assert flash_time_s(output) == pytest.approx(0.1, abs=0.001)
    assert beep_time_s(output) == pytest.approx(0.1, abs=1 / FPS)


def test_sizes_are_those_that_were_asked_for(run: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=2)
    summary = run(clip, tmp_path / "a.mp4", "--resize", "80x80", "--upscale", "3")
    assert (summary["width"], summary["height"]) == (240, 132)


def test_odd_sizes_are_padded_for_h264_and_kept_by_vp9(run: Run, tmp_path: Path) -> None:
    clip = write_clip(
        tmp_path / "odd.webm",
        frames=2,
        size_px=(31, 53),
        codec="libvpx-vp9",
        options={"deadline": "realtime"},
    )
    padded = run(clip, tmp_path / "out.mp4")
    assert (padded["width"], padded["height"]) == (54, 32)
    assert "53x31 is odd" in padded["said"]
    kept = run(clip, tmp_path / "out.webm")
    assert (kept["width"], kept["height"], kept["encoder"]) == (53, 31, "libvpx-vp9")


def test_frames_of_another_size_are_scaled_to_the_first(run: Run, tmp_path: Path) -> None:
    first = write_clip(tmp_path / "a.h264", frames=3)
    second = write_clip(tmp_path / "b.h264", frames=2, size_px=(64, 64))
    joined = tmp_path / "joined.h264"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    summary = run(joined, tmp_path / "out.mp4")
    assert (summary["frames"], summary["width"], summary["height"]) == (5, 160, 90)
    assert "2 frames were scaled" in summary["said"]


def test_a_video_of_one_frame_is_one_frame(run: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "one.mp4", frames=1)
    assert run(clip, tmp_path / "out.mp4")["frames"] == 1


def test_damaged_frames_are_skipped_and_counted_and_the_rest_stays_in_time(
    run: Run, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=40, options={"g": "10", "bf": "0"})
    damaged = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    for packet in packets[12:15]:
        assert packet.pos is not None
        damaged[packet.pos + 8 : packet.pos + packet.size] = bytes(packet.size - 8)
    clip.write_bytes(damaged)
    output = tmp_path / "out.mp4"
    summary = run(clip, output)
    assert summary["skipped"] >= 3
    assert summary["frames"] + summary["skipped"] == 40
    assert "damaged frames were left out" in summary["said"]
    assert frame_times_s(output)[-1] == pytest.approx(39 / FPS)


@pytest.mark.parametrize("suffix", ["ts", "mkv"])
@pytest.mark.parametrize(("stream_id", "skipped"), [(0xC0, 0), (0xE0, 1)], ids=["sound", "picture"])
def test_one_damaged_time_costs_one_packet_and_not_the_length_of_the_video(
    run: Run, tmp_path: Path, suffix: str, stream_id: int, skipped: int
) -> None:
    clip = write_clip(tmp_path / "clip.ts", frames=60, tracks=1, options={"bf": "0"})
    stream = bytearray(clip.read_bytes())
    begins = re.finditer(b"\x00\x00\x01" + bytes([stream_id]), stream)
    damaged_at = [found.start() for found in begins][4]
    assert stream[damaged_at + 7] & 0x80, "it has a time"
    stream[damaged_at + 9] |= 0x02  # bit 30 of it: 3.3 hours later
    clip.write_bytes(stream)
    output = tmp_path / f"out.{suffix}"
    summary = run(clip, output)
    assert (summary["frames"], summary["skipped"]) == (60 - skipped, skipped)
    assert ("sound with a damaged time, left out: 1" in summary["said"]) == (not skipped)
    with av.open(str(output)) as container:
        assert (container.duration or 0) / 1e6 == pytest.approx(2, abs=0.1)


def test_a_stream_that_appears_on_the_way_does_not_end_the_work(
    run: Run, plain_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late:
        """As PyAV is where such a stream has a 1 in memory that it did not set."""

        def __init__(self, container: Any) -> None:
            self._container = container

        def __getattr__(self, name: str) -> Any:
            return getattr(self._container, name)

        def demux(self) -> Iterator[Any]:
            yield from self._container.demux()
            raise IndexError("list index out of range")

    def opened(*arguments: Any, **options: Any) -> Source:
        source = open_source(*arguments, **options)
        source.container = Late(source.container)  # type: ignore[assignment]
        return source

    monkeypatch.setattr("desktop.video.conversion.open_source", opened)
    assert run(plain_clip, tmp_path / "out.mkv")["frames"] == 30


def test_a_file_that_is_cut_off_is_done_as_far_as_it_goes(run: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", frames=60, codec="ffv1")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    summary = run(clip, tmp_path / "out.mp4")
    assert 20 < summary["frames"] < 40
    assert "shorter than it says" in summary["said"]


def test_hdr_keeps_its_curve_and_facts_and_is_told(run: Run, tmp_path: Path) -> None:
    clip = write_clip(
        tmp_path / "clip.mkv",
        frames=3,
        codec="libx265",
        pixels="yuv420p10le",
        colour={"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1},
        options={
            "x265-params": "log-level=error:max-cll=1000,400:master-display="
            "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
        },
    )
    output = tmp_path / "out.mp4"
    summary = run(clip, output)
    assert (summary["encoder"], summary["pixels"]) == ("libx265", "yuv420p10le")
    assert "HDR (PQ)" in summary["said"]
    with av.open(str(clip)) as given, av.open(str(output)) as made:
        before, after = next(given.decode(video=0)), next(made.decode(video=0))
        assert after.color_trc == 16
        facts: list[Any] = [before.side_data, after.side_data]
        for name in ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"):
            assert bytes(facts[1].get(name)) == bytes(facts[0].get(name))


@pytest.mark.parametrize("frames", [1, 2])
def test_the_shortest_videos_can_be_encoded_as_hevc(run: Run, tmp_path: Path, frames: int) -> None:
    """x265 gives these times of decoding by chance."""
    clip = write_clip(tmp_path / "clip.mkv", frames=frames, codec="ffv1")
    for number in range(5):
        output = tmp_path / f"{number}.mp4"
        run(clip, output, "--encoder", "hevc")
        assert len(frame_times_s(output)) == frames


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Each with what must be said of it."""
    whole = write_clip(folder / "whole.mp4", frames=5).read_bytes()
    for name in ("empty.mkv", "empty.mp4"):
        with av.open(str(folder / name), "w") as container:
            stream: Any = container.add_stream("libx264", rate=25)
            stream.width = stream.height = 64
            container.start_encoding()
    contents = {
        "zero.mp4": (b"", "is empty"),
        "text.mp4": (b"This is a text.\n" * 9, "is a text file"),
        "noise.mp4": (bytes(range(256)) * 9, "is not a video that FFmpeg can read"),
        "cut.mp4": (whole[: len(whole) // 2], "cut off"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    return {
        **{name: (folder / name, said) for name, (_, said) in contents.items()},
        "sound": (write_wave(folder / "sound.wav"), "has no video, only audio"),
        "no streams": (folder / "empty.mp4", "has no video, only a header"),
        "no packets": (folder / "empty.mkv", "ends before its first frame"),
        "missing": (folder / "missing.mp4", "No such file"),
        "folder": (folder, "is a folder"),
    }


def test_what_is_no_video_is_refused_in_one_line_with_name_and_reason(
    refused: Refused, tmp_path: Path
) -> None:
    for path, reason in bad_files(tmp_path).values():
        said = refused(path, tmp_path / "out.mp4")
        assert str(path) in said
        assert reason in said
    assert not list(tmp_path.glob("*out*"))
    assert not list(tmp_path.glob(".*"))


def test_too_large_frames_are_refused_before_they_are_decoded(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("desktop.video.source.MAX_PIXELS", 100 * 100)
    clip = write_clip(tmp_path / "clip.mp4", frames=1)
    assert "is 160x90 = 0 megapixels" in refused(clip, tmp_path / "out.mp4")


UNWRITABLE = {
    "out.nothing": ("", "no format for .nothing"),
    "out.webm": ("", "webm cannot hold the stream 1, audio aac"),
    "out.m3u8": ("", "writes several files"),
    "out.mpd": ("", "writes several files"),
    "a.mp4": ("--encoder nothing", "no encoder nothing"),
    "b.mp4": ("--encoder aac", "encodes audio"),
    "c.mp4": ("--crf 99", "0 to 51"),
    "d.mp4": ("--encoder vp8", "cannot hold what libvpx makes"),
    "e.mp4": ("--start 1h", "no frame from 3600 s on"),
    "f.mp4": ("--upscale 8 --resize 20000", "megapixels"),
    "no/out.mp4": ("", "there is no folder"),
}


@pytest.mark.parametrize("name", UNWRITABLE)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(
    refused: Refused, plain_clip: Path, tmp_path: Path, name: str
) -> None:
    options, reason = UNWRITABLE[name]
    said = refused(plain_clip, tmp_path / name, *options.split())
    assert reason in said
    assert str(tmp_path / name) in said or str(plain_clip) in said
    assert list(tmp_path.iterdir()) == []


def test_time_codes_are_written_anew(run: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mov", frames=2, metadata={"timecode": "01:02:03:04"})
    output = tmp_path / "out.mov"
    summary = run(clip, output)
    assert summary["left_out"] == []
    with av.open(str(output)) as made:
        assert made.streams.video[0].metadata["timecode"] == "01:02:03:04"


def test_sound_that_the_container_cannot_hold_can_be_dropped(
    run: Run, plain_clip: Path, tmp_path: Path
) -> None:
    summary = run(plain_clip, tmp_path / "out.webm", "--drop", "--preview", "0.2s")
    assert summary["left_out"] == ["audio aac", "audio aac"]
    assert "left out: audio aac" in summary["said"]


def test_a_file_that_is_there_is_replaced_only_when_forced(
    run: Run, refused: Refused, plain_clip: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    output.write_bytes(b"mine")
    assert "--force replaces it" in refused(plain_clip, output)
    assert output.read_bytes() == b"mine"
    assert "is the video itself" in refused(plain_clip, plain_clip, "--force")
    dangling = tmp_path / "dangling.mp4"
    dangling.symlink_to("nothing")
    assert "--force replaces it" in refused(plain_clip, dangling)
    dangling.unlink()
    run(plain_clip, output, "--force", "--preview", "0.1s")
    assert output.read_bytes()[4:8] == b"ftyp"
    assert list(tmp_path.iterdir()) == [output]


def test_a_full_disk_is_one_line_and_what_was_there_stays(refused: Refused, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", frames=60, codec="ffv1")
    output = tmp_path / "out.mkv"
    output.write_bytes(b"mine")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        said = refused(clip, output, "--force", *LOSSLESS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"{output}: cannot be written: File too large" in said
    assert output.read_bytes() == b"mine"
    assert not list(tmp_path.glob(".*"))


def test_a_failing_student_ends_all_and_leaves_nothing(
    fake: FakeSharpener, plain_clip: Path, tmp_path: Path
) -> None:
    fake.failure = RuntimeError("broken")
    with pytest.raises(RuntimeError, match="broken"):
        main(["video", str(plain_clip), "-o", str(tmp_path / "out.mp4")])
    assert list(tmp_path.iterdir()) == []


def test_a_name_with_a_line_break_stays_one_line(
    run: Run, refused: Refused, plain_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "two\nlines.mp4"
    assert "two\\nlines.mp4: is there already" in refused(plain_clip, _touched(output))
    assert run(plain_clip, output, "--preview", "0.1s", "--force")["output"] == str(output)
    assert main(["video", str(plain_clip), "-o", str(output), "--preview", "0.1s", "--force"]) == 0
    assert capsys.readouterr().out.count("\n") == 1


def _touched(path: Path) -> Path:
    path.touch()
    return path


def test_the_progress_bar_shows_a_name_in_brackets_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with progress_bar("talk [red].mp4", Tally(), 1.0):
        pass
    assert "talk [red].mp4" in capsys.readouterr().err


def test_a_progress_bar_is_only_for_terminals(run: Run, plain_clip: Path, tmp_path: Path) -> None:
    assert run(plain_clip, tmp_path / "out.mp4", "--preview", "0.1s")["said"] == ""


def _as_in_a_terminal() -> None:
    """What a terminal gives its programs; a shell's background jobs and nohup ignore some."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "is_repeated"),
    [(signal.SIGINT, False), (signal.SIGHUP, False), (signal.SIGTERM, True)],
    ids=["Ctrl-C", "a closed terminal", "terminated again and again"],
)
def test_an_interruption_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals, is_repeated: bool
) -> None:
    """Real signals to the real command, in the middle of the work."""
    clip = write_clip(tmp_path / "clip.mp4", frames=120, size_px=(360, 640))
    output = tmp_path / "out.mp4"
    command = [sys.executable, "-m", "desktop", "video", str(clip), "-o", str(output)]
    process = subprocess.Popen(
        [*command, "--threads", "1"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_as_in_a_terminal,  # noqa: PLW1509 - no thread of ours holds a lock it needs
    )
    try:
        until_s = time.monotonic() + 60
        while not list(tmp_path.glob(".clearcall-*.mp4")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until_s
            time.sleep(0.02)
        process.send_signal(number)
        while is_repeated and process.poll() is None and time.monotonic() < until_s:
            time.sleep(0.01)
            process.send_signal(number)
        out, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT  # so that a shell's loop ends, too
    assert out == ""
    assert said == f"clearcall: {output}: interrupted; nothing was written\n"
    assert list(tmp_path.iterdir()) == [clip]


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("when", ["opened", "closed"])
def test_ctrl_c_while_the_file_is_opened_or_closed_leaves_nothing_behind(
    plain_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    when: str,
) -> None:
    opened = av.open

    def interrupt(*_: object) -> None:
        assert len(list(tmp_path.iterdir())) == 1
        raise KeyboardInterrupt

    def open_watched(*args: Any, **options: Any) -> object:
        if args[1:] != ("w",):
            return opened(*args, **options)
        if when == "opened":
            interrupt()
        return _Closing(opened(*args, **options), interrupt)

    monkeypatch.setattr(av, "open", open_watched)
    output = tmp_path / "out.mp4"
    assert main(["video", str(plain_clip), "-o", str(output)]) == 130
    assert "interrupted; nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


class _Closing:
    """A container whose `close` is told of instead."""

    def __init__(self, container: object, close: Callable[[], None]) -> None:
        self._container = container
        self.close = close

    def __getattr__(self, name: str) -> object:
        return getattr(self._container, name)
