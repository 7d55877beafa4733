"""Video codecs: colours kept, low delay, rates obeyed, files read."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import get_args

import av
import numpy as np
import pytest
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from tests.service.pictures import sample
from trainer import video_codec
from trainer.operators import ImageArray
from trainer.quality import image_psnr_db
from trainer.video_codec import (
    LADDER,
    LADDER_SIZE_PX,
    RECORDING_LADDER,
    Codec,
    available_codecs,
    clip_from_picture,
    compress_video,
    encode_clip,
    read_clip,
)

CODECS: tuple[Codec, ...] = get_args(Codec)


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest) -> Codec:
    if request.param not in available_codecs():
        pytest.skip(f"this FFmpeg lacks {request.param}")
    name: Codec = request.param
    return name


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def picture(height: int = 96, width: int = 128) -> ImageArray:
    return np.ascontiguousarray(sample("man-in-profile")[80 : 80 + height, 90 : 90 + width])


def clip(frames: int = 6, height: int = 96, width: int = 128) -> ImageArray:
    return clip_from_picture(picture(height, width), rng(), frames=frames)


@pytest.mark.parametrize(
    "colour",
    [
        (0, 0, 0),
        (255, 255, 255),
        (200, 40, 90),
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (12, 200, 180),
    ],
)
def test_a_flat_colour_comes_back_within_two_levels(
    codec: Codec, colour: tuple[int, int, int]
) -> None:
    flat = np.broadcast_to(np.array(colour, np.uint8), (2, 64, 64, 3))
    decoded = encode_clip(flat, codec=codec, crf=4).decoded
    assert np.abs(decoded.astype(int) - flat).max() <= 2


def test_no_frame_waits_for_a_later_one(codec: Codec) -> None:
    frames = clip(6)
    whole, beginning = (encode_clip(part, codec=codec, crf=30) for part in (frames, frames[:3]))
    assert len(whole.packets) == 6
    assert whole.packets[:3] == beginning.packets
    assert np.array_equal(whole.decoded[:3], beginning.decoded)


def test_the_frames_of_a_recording_come_back_in_order(codec: Codec) -> None:
    frames = clip_from_picture(picture(), rng(3), frames=12)
    call, recording = (
        encode_clip(frames, codec=codec, crf=12, is_recording=is_recording)
        for is_recording in (False, True)
    )
    assert recording.packets != call.packets
    nearest = [
        int(np.argmax([image_psnr_db(image, frame) for frame in frames]))
        for image in recording.decoded
    ]
    assert nearest == list(range(12))


def test_an_h264_recording_has_frames_that_are_predicted_from_later_ones() -> None:
    frames = clip_from_picture(picture(), rng(3), frames=12)
    for is_recording in (False, True):
        encoded = encode_clip(frames, codec="h264", crf=30, is_recording=is_recording)
        decoder = av.CodecContext.create("h264", "r")
        packets = [*map(av.Packet, encoded.packets), None]
        kinds = {frame.pict_type for each in packets for frame in decoder.decode(each)}
        assert (PictureType.B in kinds) == is_recording


def test_no_encoder_takes_real_time_priority(codec: Codec) -> None:
    encode_clip(clip(3), codec=codec, crf=40)
    policies = {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}
    assert policies == {os.SCHED_OTHER}


def test_later_frames_are_predicted_from_earlier_ones(codec: Codec) -> None:
    sizes = [len(packet) for packet in encode_clip(clip(6), codec=codec, crf=35).packets]
    assert max(sizes[1:]) < sizes[0]


def test_frames_come_back_in_order_and_alike(codec: Codec) -> None:
    frames = clip_from_picture(picture(), rng(3), frames=5)
    decoded = encode_clip(frames, codec=codec, crf=12).decoded
    nearest = [
        int(np.argmax([image_psnr_db(image, frame) for frame in frames])) for image in decoded
    ]
    assert nearest == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (63, 130)])
def test_odd_and_small_sizes_are_kept(codec: Codec, size: tuple[int, int]) -> None:
    frames = clip(2, *size)
    encoded = encode_clip(frames, codec=codec, crf=10)
    assert encoded.decoded.shape == frames.shape
    assert encoded.decoded.dtype == np.uint8
    assert np.abs(encoded.decoded.astype(int) - frames).mean() < 6


def test_a_higher_crf_takes_fewer_bits_and_quality(codec: Codec) -> None:
    frames = clip()
    results = [encode_clip(frames, codec=codec, crf=crf) for crf in (15, 30, 45)]
    kept = [image_psnr_db(result.decoded[-1], frames[-1]) for result in results]
    rates = [result.bitrate_kbps for result in results]
    assert kept == sorted(kept, reverse=True)
    assert rates == sorted(rates, reverse=True)


def test_the_rate_that_is_asked_for_is_about_reached(codec: Codec) -> None:
    frames = clip_from_picture(picture(180, 320), rng(1), frames=40)
    for bitrate_kbps in (60, 180):
        encoded = encode_clip(frames, codec=codec, bitrate_kbps=bitrate_kbps, fps=20)
        size_bytes = sum(map(len, encoded.packets))
        assert encoded.bitrate_kbps == pytest.approx(size_bytes * 8 / 2.0 / 1000)
        assert 0.5 < encoded.bitrate_kbps / bitrate_kbps < 1.7


def test_the_clean_frame_is_the_picture_itself() -> None:
    image = picture()
    last = clip_from_picture(image, rng(), frames=4)
    second = clip_from_picture(image, rng(), frames=4, clean_frame=1)
    assert np.array_equal(last[-1], image)
    assert np.array_equal(second[1], image)
    assert all(not np.array_equal(frame, image) for frame in last[:-1])
    assert clip_from_picture(image, rng(), frames=1).shape == (1, *image.shape)
    with pytest.raises(ValueError, match="a clip of 4 frames has no frame 4"):
        clip_from_picture(image, rng(), frames=4, clean_frame=4)


def test_the_motion_of_a_clip_is_small_and_even() -> None:
    frames = clip_from_picture(picture(), rng(2), frames=5).astype(float)
    away = [float(np.abs(frame - frames[-1]).mean()) for frame in frames]
    assert away == sorted(away, reverse=True)
    assert away[3] < 12


def test_a_compressed_picture_depends_on_the_generator_alone(codec: Codec) -> None:
    image = picture(65, 71)
    first, again = (compress_video(image, rng(4), codec=codec, crf=35) for _ in range(2))
    assert first.shape == image.shape
    assert np.array_equal(first, again)
    assert 22 < image_psnr_db(first, image) < 45


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"codec": "mpeg2", "crf": 3}, "codec must be one of h264, vp9, av1, not 'mpeg2'"),
        ({"codec": "h264"}, "either bitrate_kbps or crf"),
        ({"codec": "h264", "crf": 3, "bitrate_kbps": 100}, "either bitrate_kbps or crf"),
        ({"codec": "h264", "crf": 52}, "crf of h264 must be 0 to 51, not 52"),
        ({"codec": "vp9", "bitrate_kbps": 0}, "bitrate_kbps must be above 0"),
        ({"codec": "vp9", "crf": 3, "fps": 0}, "fps must be at least 1"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_clip(clip(1), **settings)  # type: ignore[arg-type]
    for shape, kind in (
        ((0, 4, 4, 3), np.uint8),
        ((4, 4, 3), np.uint8),
        ((1, 4, 4, 3), np.float32),
    ):
        with pytest.raises(ValueError, match=r"\(T, H, W, 3\) uint8 and not empty"):
            encode_clip(np.zeros(shape, kind), codec="h264", crf=3)


def test_a_codec_that_ffmpeg_lacks_is_named_with_those_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(video_codec, "available_codecs", lambda: ("vp9",))
    with pytest.raises(ValueError, match=r"cannot encode and decode h264; it can vp9\. PyAV"):
        encode_clip(clip(1), codec="h264", crf=3)


def test_the_ladder_is_the_one_that_is_published() -> None:
    assert LADDER_SIZE_PX == (360, 640)
    assert {rung.codec for rung in LADDER} == {"h264", "vp9"}
    for codec in ("h264", "vp9"):
        rates = [rung.bitrate_kbps for rung in LADDER if rung.codec == codec]
        assert rates == [100, 150, 200, 300, 400]
    assert [(rung.codec, rung.bitrate_kbps) for rung in RECORDING_LADDER] == [
        (rung.codec, rung.bitrate_kbps) for rung in LADDER
    ]
    assert {rung.name for rung in RECORDING_LADDER} == {"h264 recording", "vp9 recording"}


def write_video(
    path: Path,
    frames: ImageArray,
    *,
    matrix: Colorspace = Colorspace.ITU601,
    color_range: ColorRange = ColorRange.MPEG,
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"crf": "8"})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range = int(matrix), int(color_range)
        for image in frames:
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(
                format="yuv420p",
                src_color_range=int(ColorRange.JPEG),
                dst_colorspace=int(matrix),
                dst_color_range=int(color_range),
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("matrix", [Colorspace.ITU601, Colorspace.ITU709])
@pytest.mark.parametrize("color_range", [ColorRange.MPEG, ColorRange.JPEG])
@pytest.mark.parametrize("lines", [64, 720])
def test_a_files_own_colours_are_read(
    tmp_path: Path, matrix: Colorspace, color_range: ColorRange, lines: int
) -> None:
    flat = np.broadcast_to(np.array((30, 200, 60), np.uint8), (2, lines, 64, 3))
    path = write_video(tmp_path / "flat.mp4", flat, matrix=matrix, color_range=color_range)
    assert np.abs(read_clip(path, max_frames=2).astype(int) - flat).max() <= 4


def test_a_clip_is_read_back_up_to_the_number_asked_for(tmp_path: Path) -> None:
    frames = clip(6)
    path = write_video(tmp_path / "clip.mp4", frames)
    whole = read_clip(path, max_frames=100)
    assert whole.shape == frames.shape
    assert image_psnr_db(whole[4], frames[4]) > 32
    assert np.array_equal(read_clip(path, max_frames=2), whole[:2])
    assert read_clip(path, max_frames=1, size_px=(40, 50)).shape == (1, 40, 50, 3)


def test_the_sound_part_of_a_damaged_file_is_read(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", clip(30))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    assert 1 <= len(read_clip(cut, max_frames=100)) < 30


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    with pytest.raises(ValueError, match=r"notes\.mp4 cannot be read as a video"):
        read_clip(text, max_frames=1)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_clip(tmp_path / "none.mp4", max_frames=1)
    with pytest.raises(ValueError, match="max_frames must be at least 1"):
        read_clip(text, max_frames=0)
