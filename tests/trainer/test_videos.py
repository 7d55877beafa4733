"""Frames of videos: spread over the file, in their own colours, and the same ones read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.trainer.datasets import patch, write_video
from trainer import videos
from trainer.pictures import ImageArray, ImageUnreadable
from trainer.videos import find_videos, sample_frames, video_size

FRAMES = [np.roll(patch(0, 64, 80), 3 * number, axis=1) for number in range(23)]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", FRAMES)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H.264 without a container: no times, no number of frames."""
    return write_video(tmp_path_factory.mktemp("raw") / "clip.h264", FRAMES)


def is_near(image: ImageArray, other: ImageArray) -> bool:
    return bool(np.abs(image.astype(int) - other).max() <= 8)


@pytest.mark.parametrize("kind", ["video", "raw"])
@pytest.mark.parametrize("count", [1, 4, 23, 99])
def test_frames_are_spread_evenly_and_each_is_the_one_it_says(
    request: pytest.FixtureRequest, kind: str, count: int
) -> None:
    taken = list(sample_frames(request.getfixturevalue(kind), count=count))
    numbers = [frame.number for frame, _ in taken]
    expected = {1: [11], 4: [2, 8, 14, 20]}.get(count, list(range(23)))
    assert numbers == expected
    for frame, image in taken:
        assert image.dtype == np.uint8
        assert is_near(image, FRAMES[frame.number])
        assert np.array_equal(frame.read(), image)


@pytest.mark.parametrize("kind", ["video", "raw"])
def test_runs_of_neighbours_are_spread_evenly(request: pytest.FixtureRequest, kind: str) -> None:
    path = request.getfixturevalue(kind)
    numbers = [frame.number for frame, _ in sample_frames(path, count=9, run_length=3)]
    assert numbers == [2, 3, 4, 10, 11, 12, 18, 19, 20]


def test_no_more_is_decoded_than_the_chosen_frames_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "long.mp4", [FRAMES[n % 23] for n in range(200)])
    real = videos._frames_from
    decoded = 0

    def counted(*arguments: object) -> object:
        nonlocal decoded
        for frame in real(*arguments):  # type: ignore[arg-type]
            decoded += 1
            yield frame

    monkeypatch.setattr(videos, "_frames_from", counted)
    assert len(list(sample_frames(path, count=4))) == 4
    assert decoded <= 4 * 6


def test_a_run_cannot_be_longer_than_the_count(video: Path) -> None:
    with pytest.raises(ValueError, match=r"count \(2\) must be at least run_length \(3\)"):
        list(sample_frames(video, count=2, run_length=3))


def test_videos_are_found_and_measured(video: Path) -> None:
    (video.parent / "notes.txt").write_text("x")
    assert find_videos(video.parent) == [video]
    assert video_size(video) == (64, 80)


def test_what_is_no_video_is_refused_with_the_reason(tmp_path: Path, video: Path) -> None:
    text, cut, sound = (tmp_path / name for name in ("text.mp4", "cut.mp4", "sound.wav"))
    text.write_text("not a video at all")
    cut.write_bytes(video.read_bytes()[:2000])
    header = b"RIFF" + (36 + 800).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += bytes((1, 0, 1, 0)) + (8000).to_bytes(4, "little") + (8000).to_bytes(4, "little")
    sound.write_bytes(header + bytes((1, 0, 8, 0)) + b"data" + (800).to_bytes(4, "little") * 201)
    for path, reason in ((text, "not a video"), (cut, "not a video"), (sound, "no video stream")):
        with pytest.raises(ImageUnreadable, match=reason):
            list(sample_frames(path, count=2))
    with pytest.raises(ImageUnreadable, match=r"not a video that can be read.*No such file"):
        list(sample_frames(tmp_path / "missing.mp4", count=2))


def test_frames_above_the_pixel_limit_are_refused(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.pictures.MAX_PIXELS", 64 * 80 - 1)
    with pytest.raises(ImageUnreadable, match="80x64 px is 0 megapixels, above the limit"):
        list(sample_frames(video, count=2))


def test_a_frame_that_is_gone_is_told(video: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(video.read_bytes())
    frame, _ = next(sample_frames(path, count=1))
    write_video(path, FRAMES[:4])
    with pytest.raises(ImageUnreadable, match="it has no frame 11 any more"):
        frame.read()
