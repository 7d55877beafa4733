"""Frames of calls: pairs that a run can be given, made once, each by itself the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.service.pictures import sample
from tests.trainer.datasets import write_picture
from trainer.call_frames import received, write_call_frames
from trainer.pictures import load_picture
from trainer.quality import image_psnr_db
from trainer.sources import open_source
from trainer.video_codec import EncodedClip


@pytest.fixture
def pictures_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    write_picture(folder / "a" / "hall.png", sample("museum")[:240, :320])
    write_picture(folder / "man.png", sample("man-in-profile")[:200, :160])
    write_picture(folder / "icon.png", sample("museum")[:64, :64])
    return folder


def test_every_large_picture_gives_three_pairs_that_a_source_reads(
    pictures_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "calls"
    seen: list[tuple[int, int]] = []
    summary = write_call_frames(
        pictures_folder, out, progress=lambda done, total: seen.append((done, total))
    )
    assert summary.describe() == "6 pairs of frames, 1 pictures skipped"
    assert seen[-1] == (3, 3)
    pairs = open_source(out, smallest_px=128, cache_bytes=0)
    assert pairs.is_paired
    assert len(pairs) == 6
    for number in range(len(pairs)):
        degraded, clean = pairs.pair(number)
        assert degraded is not None
        assert 18 < image_psnr_db(degraded, clean) < 50  # compressed, and the same frame


def test_pictures_of_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp", "x/y.png", "x-y.png"):
        write_picture(tmp_path / "in" / name, sample("museum")[:140, :140])

    summary = write_call_frames(tmp_path / "in", tmp_path / "out")

    assert summary.pairs == 12
    assert len(list((tmp_path / "out/sharp").iterdir())) == 12


def test_a_frame_is_at_most_as_large_as_a_call_s(pictures_folder: Path, tmp_path: Path) -> None:
    write_picture(pictures_folder / "large.png", np.tile(sample("museum"), (2, 2, 1))[:400, :700])
    out = tmp_path / "calls"
    write_call_frames(pictures_folder, out)
    sizes = {path.name: load_picture(path).shape[:2] for path in (out / "sharp").iterdir()}
    assert sizes["large-0-0.png"] == (360, 640)
    assert sizes["a-hall-0-0.png"] == (240, 320)
    assert sizes["man-0-2.png"] == (200, 160)


def test_what_is_there_is_kept_and_what_is_missing_is_made_the_same(
    pictures_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "calls"
    write_call_frames(pictures_folder, out, seed=3)
    frame, kept = out / "blurry" / "man-0-1.png", out / "blurry" / "a-hall-0-1.png"
    before, written_ns = frame.read_bytes(), kept.stat().st_mtime_ns
    frame.unlink()
    write_call_frames(pictures_folder, out, seed=3)
    assert frame.read_bytes() == before
    assert kept.stat().st_mtime_ns == written_ns


def test_a_share_of_clips_is_encoded_as_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[bool] = []

    def encode(filmed: npt.NDArray[np.uint8], **options: Any) -> EncodedClip:
        kinds.append(options["is_recording"])
        return EncodedClip((), filmed, options["bitrate_kbps"])

    monkeypatch.setattr("trainer.call_frames.encode_clip", encode)
    clip = np.zeros((2, 64, 64, 3), np.uint8)
    for share in (0.0, 0.4, 1.0):
        for seed in range(50):
            received(clip, np.random.default_rng(seed), rates_kbps=(60, 600), recording_share=share)
    counts = [sum(kinds[begin : begin + 50]) for begin in (0, 50, 100)]
    assert counts[0] == 0
    assert 10 < counts[1] < 30
    assert counts[2] == 50
