"""Sources: whatever lies at a path is recognised, and what cannot be used is said."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.datasets import patch, softened, write_picture, write_png_header, write_video
from trainer.pack import write_pack
from trainer.picture_set import PictureSet
from trainer.sources import open_source


def opened(path: Path, *, smallest_px: int = 64, cache_bytes: int = 10**8) -> PictureSet:
    return open_source(path, smallest_px=smallest_px, cache_bytes=cache_bytes)


def write_pairs(blurred: Path, sharp: Path, count: int = 3) -> None:
    for number in range(count):
        write_picture(blurred / f"{number}.png", softened(patch(number)))
        write_picture(sharp / f"{number}.png", patch(number))


def test_a_folder_of_pictures_has_clean_images_alone(tmp_path: Path) -> None:
    write_picture(tmp_path / "inner" / "a.png", patch(0))
    source = opened(tmp_path)
    assert (source.kind, len(source), source.is_paired) == ("pictures", 1, False)
    degraded, clean = source.pair(0)
    assert degraded is None
    assert np.array_equal(clean, patch(0))
    assert source.describe().startswith("folder of sharp pictures: 1 sharp images, 0 skipped")


@pytest.mark.parametrize(
    ("layout", "blurred", "sharp"),
    [
        ("GoPro", "train/GOPR0372_07_00/blur", "train/GOPR0372_07_00/sharp"),
        ("GoPro", "train/GOPR0372_07_00/blur_gamma", "train/GOPR0372_07_00/sharp"),
        ("REDS", "train_blur/train/train_blur/000", "train_sharp/train/train_sharp/000"),
        ("REDS", "train_blur/000", "train_sharp/000"),
        ("HIDE", "train", "GT"),
        ("blurred and sharp folders", "train/blurry", "train/sharp"),
        ("blurred and sharp folders", "input", "target"),
    ],
)
@pytest.mark.parametrize("cache_bytes", [0, 10**8])
def test_paired_folders_give_pairs(
    tmp_path: Path, layout: str, blurred: str, sharp: str, cache_bytes: int
) -> None:
    write_pairs(tmp_path / blurred, tmp_path / sharp)
    source = opened(tmp_path, cache_bytes=cache_bytes)
    assert (source.kind, len(source), source.is_paired) == ("pairs", 3, True)
    assert source.describe().startswith(layout)
    assert ": 3 blurred/sharp pairs, 0 skipped" in source.describe()
    for number in range(3):
        degraded, clean = source.pair(number)
        assert degraded is not None
        assert np.array_equal(degraded, softened(patch(number)))
        assert np.array_equal(clean, patch(number))


def test_pairs_that_do_not_match_are_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_pairs(tmp_path / "blurry", tmp_path / "sharp", count=4)
    (tmp_path / "sharp" / "0.png").unlink()
    write_picture(tmp_path / "sharp" / "1.png", patch(1, 80, 128))
    (tmp_path / "blurry" / "2.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        source = opened(tmp_path)
    assert [item.name for item in source.items] == ["sharp/3.png"]
    assert "blurry/0.png: has no sharp partner" in caplog.text
    assert (
        "sharp/1.png: the two pictures differ in size (128x96 blurred, 128x80 sharp)" in caplog.text
    )
    assert "sharp/2.png: not a picture that can be read" in caplog.text
    assert "3 skipped" in source.describe()


def test_if_no_pair_matches_the_error_names_one(tmp_path: Path) -> None:
    write_picture(tmp_path / "blurry" / "a.png", patch(0))
    write_picture(tmp_path / "sharp" / "b.png", patch(0))
    with pytest.raises(
        FileNotFoundError, match=r"2 skipped, such as blurry/a\.png: has no sharp partner"
    ):
        opened(tmp_path)


def test_the_manifest_covers_both_pictures_of_a_pair(tmp_path: Path) -> None:
    write_pairs(tmp_path / "blurry", tmp_path / "sharp")
    before = opened(tmp_path).manifest_hash
    write_picture(tmp_path / "blurry" / "1.png", patch(1))
    assert opened(tmp_path).manifest_hash != before


@pytest.mark.parametrize("is_file_named", [True, False])
@pytest.mark.parametrize("cache_bytes", [0, 10**8])
def test_videos_give_frames(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_file_named: bool, cache_bytes: int
) -> None:
    frames = [np.roll(patch(0), 2 * number, axis=1) for number in range(12)]
    video = write_video(tmp_path / "call.mp4", frames)
    if not is_file_named:
        (tmp_path / "bad.mkv").write_text("no video")
    source = open_source(
        video if is_file_named else tmp_path,
        smallest_px=64,
        cache_bytes=cache_bytes,
        frames_per_video=3,
    )
    assert (source.kind, len(source), source.is_paired) == ("video", 3, False)
    assert [item.name for item in source.items] == ["call.mp4#2", "call.mp4#6", "call.mp4#10"]
    for number, at in enumerate((2, 6, 10)):
        assert np.abs(source.image(number).astype(int) - frames[at]).max() <= 8
    assert ("bad.mkv: not a video" in caplog.text) != is_file_named
    assert source.skipped == (0 if is_file_named else 1)


def test_a_video_that_breaks_off_gives_the_frames_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [np.roll(patch(0), 2 * number, axis=1) for number in range(40)]
    whole = write_video(tmp_path / "call.mkv", frames)
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    source = open_source(tmp_path, smallest_px=64, cache_bytes=0, frames_per_video=40)
    assert 5 < len(source) < 30
    assert np.abs(source.image(4).astype(int) - frames[4]).max() <= 8
    assert "Traceback" not in caplog.text


def test_a_pack_gives_its_crops_whatever_its_name(tmp_path: Path) -> None:
    write_picture(tmp_path / "pictures" / "a.png", patch(0))
    pack = tmp_path / "crops.bin"
    write_pack(tmp_path / "pictures", pack, crop_px=64, crops_per_picture=2)
    source = opened(pack)
    assert (source.kind, len(source)) == ("pack", 2)
    assert source.describe().startswith("pack of 64 px crops from 1 pictures: 2 sharp images")


def test_videos_beside_pictures_are_not_used_and_said_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_picture(tmp_path / "a.png", patch(0))
    (tmp_path / "b.mp4").write_bytes(b"")
    assert opened(tmp_path).kind == "pictures"
    assert "1 videos in" in caplog.text


def test_what_holds_nothing_usable_says_what_was_found_and_what_is_expected(
    tmp_path: Path,
) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds nothing\. Expected is a folder of sharp"):
        opened(tmp_path)
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("text")
    (tmp_path / "table.csv").write_text("text")
    with pytest.raises(FileNotFoundError, match=r"holds only 3 \.txt, 1 \.csv\. Expected"):
        opened(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"0\.txt is neither a video nor a pack"):
        opened(tmp_path / "0.txt")
    with pytest.raises(FileNotFoundError, match=r"missing: no such file or folder"):
        opened(tmp_path / "missing")


def test_pictures_that_are_all_too_small_or_too_large_say_so(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", patch(0, 96, 128))
    with pytest.raises(FileNotFoundError, match=r"a\.png: 128x96, smaller than 128 px"):
        opened(tmp_path, smallest_px=128)
    write_png_header(tmp_path / "a.png", height=30_000, width=30_000)
    with pytest.raises(FileNotFoundError, match="900 megapixels, above the limit of 200"):
        opened(tmp_path)
