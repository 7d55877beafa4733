"""Clips: flicker by hand, ladders through real codecs, BD-rates from rungs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest

from service.model.fusion import Fusion
from service.model.sharpener import Sharpener
from tests.service.pictures import sample
from tests.trainer.evaluations import brightening_sharpener, rung
from trainer.clip_evaluation import (
    LOOK_AHEAD,
    Clip,
    bd_rates,
    evaluate_clips,
    has_clip,
    ladders,
    load_clips,
    temporal_error,
)
from trainer.methods import ImageArray
from trainer.video_codec import EncodedClip, Rung, clip_from_picture


@pytest.fixture(scope="module")
def clip() -> Clip:
    picture = np.ascontiguousarray(sample("museum")[:96, :128])
    return Clip("museum", clip_from_picture(picture, np.random.default_rng(0), frames=6), 15)


@pytest.fixture(scope="module")
def sharpener() -> Sharpener:
    return brightening_sharpener()


def frames(*levels: int) -> ImageArray:
    return np.stack([np.full((4, 5, 3), level, np.uint8) for level in levels])


def test_flicker_by_hand() -> None:
    clean = frames(100, 110, 110)
    assert temporal_error(clean, clean) == 0
    assert temporal_error(frames(90, 100, 100), clean) == 0  # wrong, but steadily so
    assert temporal_error(frames(100, 113, 110), clean) == pytest.approx((3 + 3) / 2)
    assert temporal_error(frames(255, 0, 0), frames(0, 255, 255)) == pytest.approx(510 / 2)


def test_flicker_of_a_still_scene_is_what_changes_from_frame_to_frame() -> None:
    assert temporal_error(frames(7, 7), frames(0, 0)) == 0
    assert temporal_error(frames(0, 255, 250), frames(9, 9, 9)) == (255 + 5) / 2


def test_flicker_needs_two_clips_of_one_shape() -> None:
    with pytest.raises(ValueError, match="one shape and two frames"):
        temporal_error(frames(1, 2), frames(1, 2, 3))
    with pytest.raises(ValueError, match="one shape and two frames"):
        temporal_error(frames(1), frames(1))


@dataclass(frozen=True)
class Darker:
    """An encoder whose frames are darker the lower its rate is."""

    def __call__(self, clip: Clip, rung: Rung) -> EncodedClip:
        loss = np.uint8(4000 // rung.bitrate_kbps)
        return EncodedClip((), clip.frames // 2 + 100 - loss, float(rung.bitrate_kbps))


def test_every_rung_of_every_clip_is_measured(sharpener: Sharpener, clip: Clip) -> None:
    other = Clip("other", clip.frames[:2, :48], 30)
    ladder = [Rung("h264", 100), Rung("h264", 400), Rung("vp9", 200)]
    told: list[tuple[int, int]] = []
    measured = evaluate_clips(
        sharpener,
        [clip, other],
        ladder=ladder,
        encode=Darker(),
        extra_methods={"inverse": lambda image: 255 - image},
        on_rung=lambda done, total: told.append((done, total)),
    )
    assert told == [(number, 6) for number in range(7)]
    assert [(q.clip, q.codec, q.target_kbps) for q in measured[:4]] == [
        ("museum", "h264", 100),
        ("museum", "h264", 400),
        ("museum", "vp9", 200),
        ("other", "h264", 100),
    ]
    first, second = measured[:2]
    assert first.psnr_db.keys() == {"input", "unsharp", "cas", "student", "inverse"}
    assert first.psnr_db["student"] == first.psnr_db["input"] < second.psnr_db["input"]
    assert first.flicker["student"] == first.flicker["input"] > 0
    assert first.flicker["inverse"] > first.flicker["input"]
    assert first.worse_count == {"unsharp": 0, "cas": 0, "student": 0, "inverse": 6}
    assert first.speed.keys() == first.psnr_db.keys() - {"input"}
    assert (first.frame_count, first.size_px) == (6, (96, 128))
    np.testing.assert_array_equal(first.example["clean"], clip.frames[3])
    np.testing.assert_array_equal(first.example["inverse"], 255 - first.example["input"])


def test_recordings_are_ladders_of_their_own(sharpener: Sharpener, clip: Clip) -> None:
    ladder = [Rung("h264", 100), Rung("h264", 100, is_recording=True)]
    call, recording = evaluate_clips(sharpener, [clip], ladder=ladder)
    assert (call.codec, recording.codec) == ("h264", "h264 recording")
    assert call.rate_kbps != recording.rate_kbps
    assert [len(rungs) for rungs in ladders([call, recording])] == [1, 1]


def test_an_encoder_that_loses_frames_is_an_error(sharpener: Sharpener, clip: Clip) -> None:
    def lossy(clip: Clip, _: Rung) -> EncodedClip:
        return EncodedClip((), clip.frames[1:], 1.0)

    with pytest.raises(ValueError, match="frames were lost"):
        evaluate_clips(sharpener, [clip], ladder=[Rung("h264", 100)], encode=lossy)


def test_a_real_codec_gives_a_curve_and_a_student_that_does_nothing_saves_nothing(
    sharpener: Sharpener, clip: Clip
) -> None:
    ladder = [Rung("h264", kbps) for kbps in (60, 200, 600)]
    measured = evaluate_clips(sharpener, [clip], ladder=ladder)
    rates = [q.rate_kbps for q in measured]
    psnrs = [q.psnr_db["input"] for q in measured]
    assert rates == sorted(rates)
    assert psnrs == sorted(psnrs)
    student = next(rate for rate in bd_rates(measured) if rate.method == "student")
    assert student.psnr_percent == student.ssim_percent == 0


def test_bd_rates_of_a_student_that_saves_a_fifth() -> None:
    rungs = [rung(kbps, 10 * float(np.log2(kbps))) for kbps in (400, 100, 200)]
    assert [[q.target_kbps for q in ladder] for ladder in ladders(rungs)] == [[100, 200, 400]]
    rates = {rate.method: rate for rate in bd_rates(rungs)}
    assert rates.keys() == {"unsharp", "cas", "student"}
    assert rates["student"].psnr_percent == pytest.approx(-20, abs=0.01)
    assert rates["student"].ssim_percent == 0
    unsharp = rates["unsharp"].psnr_percent
    assert unsharp == pytest.approx((2**0.1 - 1) * 100, abs=0.01)


def test_a_single_rung_has_no_bd_rate() -> None:
    assert {rate.psnr_percent for rate in bd_rates([rung(100, 30.0)])} == {None}


def test_a_clip_has_colour_and_two_frames() -> None:
    with pytest.raises(ValueError, match=r"\(T, H, W, 3\) uint8"):
        Clip("grey", np.zeros((4, 8, 8), np.uint8), 30)
    with pytest.raises(ValueError, match="has 1 frames"):
        Clip("still", np.zeros((1, 8, 8, 3), np.uint8), 30)


def write_video(path: Path, size_px: tuple[int, int], *, fps: int = 12, count: int = 5) -> None:
    height, width = size_px
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for level in range(count):
            image = np.full((height, width, 3), 40 * level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def test_videos_are_read_at_the_ladders_size_and_bad_files_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_video(tmp_path / "small.mp4", (96, 128))
    write_video(tmp_path / "square.mp4", (800, 800), fps=25)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with caplog.at_level(logging.WARNING):
        clips = load_clips(tmp_path, max_frames=3)
    assert [(clip.name, clip.frames.shape, clip.fps) for clip in clips] == [
        ("small.mp4", (3, 96, 128, 3), 12),
        ("square.mp4", (3, 360, 640, 3), 25),
    ]
    assert "broken.mp4" in caplog.text
    assert [clip.name for clip in load_clips(tmp_path / "small.mp4")] == ["small.mp4"]


def test_a_clip_is_found_without_decoding_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    write_video(tmp_path / "still.mp4", (96, 128), count=1)
    assert not has_clip(tmp_path)
    assert not has_clip(tmp_path / "broken.mp4")
    write_video(tmp_path / "talk.mp4", (96, 128))
    assert has_clip(tmp_path)


def test_a_folder_without_videos_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no video"):
        load_clips(tmp_path)


def test_fused_frames_are_a_method_beside_the_student(sharpener: Sharpener, clip: Clip) -> None:
    ladder = [Rung("h264", 60)]
    (measured,) = evaluate_clips(sharpener, [clip], ladder=ladder, fusion=Fusion.load(threads=1))
    assert LOOK_AHEAD in measured.psnr_db.keys() & measured.ssim.keys() & measured.flicker.keys()
    assert measured.speed[LOOK_AHEAD].median_ms > 0
    assert measured.psnr_db[LOOK_AHEAD] > measured.psnr_db["student"]
    assert not (measured.example[LOOK_AHEAD] == measured.example["student"]).all()
