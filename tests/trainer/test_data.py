"""Pictures and crops: bad files skipped, every crop a function of seed and number."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.service.pictures import sample
from trainer.data import CropDataset, PictureSet, crop_batches, find_pictures, read_picture


@pytest.fixture
def folder(tmp_path: Path, samples: Path) -> Path:
    (tmp_path / "inner").mkdir()
    shutil.copy(samples / "museum.jpg", tmp_path / "inner" / "MUSEUM.JPG")
    shutil.copy(samples / "colosseum.jpg", tmp_path / "colosseum.jpg")
    (tmp_path / "notes.txt").write_text("not a picture")
    return tmp_path


def crops(pictures: PictureSet, seed: int = 0) -> CropDataset:
    return CropDataset(pictures, crop_px=64, seed=seed, clean_share=0.1)


def test_pictures_are_found_in_subfolders_in_a_fixed_order(folder: Path) -> None:
    found = [path.name for path in find_pictures(folder)]
    assert found == ["colosseum.jpg", "MUSEUM.JPG"]


def test_a_folder_without_pictures_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no pictures"):
        find_pictures(tmp_path)


def test_a_picture_is_read_as_rgb(samples: Path) -> None:
    image = read_picture(samples / "colosseum.jpg")
    assert image is not None
    assert np.abs(image.astype(int) - sample("colosseum")).mean() < 1


def test_damaged_and_small_files_are_named_and_left_out(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    (folder / "empty.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        opened = PictureSet.open(folder, smallest_px=480, cache_bytes=0)
    assert len(opened) == 2
    assert "broken.jpg: not a picture" in caplog.text
    assert "empty.png: not a picture" in caplog.text
    with pytest.raises(FileNotFoundError, match="at least 5000 px"):
        PictureSet.open(folder, smallest_px=5000, cache_bytes=0)


def test_cached_and_uncached_pictures_are_the_same(folder: Path) -> None:
    cached = PictureSet.open(folder, smallest_px=64, cache_bytes=10**8)
    uncached = PictureSet.open(folder, smallest_px=64, cache_bytes=0)
    assert cached.cache is not None
    assert uncached.cache is None
    assert cached.manifest_hash == uncached.manifest_hash
    for index in range(2):
        assert np.array_equal(cached.image(index), uncached.image(index))


def test_the_manifest_changes_with_a_pictures_content(folder: Path, samples: Path) -> None:
    before = PictureSet.open(folder, smallest_px=64, cache_bytes=0).manifest_hash
    shutil.copy(samples / "museum.jpg", folder / "colosseum.jpg")
    assert PictureSet.open(folder, smallest_px=64, cache_bytes=0).manifest_hash != before


def test_a_picture_that_vanishes_is_named(folder: Path) -> None:
    pictures = PictureSet.open(folder, smallest_px=64, cache_bytes=0)
    shutil.copy(folder / "inner" / "MUSEUM.JPG", folder / "colosseum.jpg")
    with pytest.raises(OSError, match=r"colosseum\.jpg changed or vanished"):
        pictures.image(0)


def test_a_crop_depends_on_seed_and_number_alone(pictures: PictureSet) -> None:
    first, again, other = crops(pictures), crops(pictures), crops(pictures, seed=1)
    for number in (0, 7, 12_345):
        degraded, clean = first[number]
        assert degraded.shape == clean.shape == (3, 64, 64)
        assert degraded.dtype == clean.dtype == torch.uint8
        assert torch.equal(degraded, again[number][0])
        assert torch.equal(clean, again[number][1])
    assert not torch.equal(first[0][1], first[1][1])
    assert not torch.equal(first[0][1], other[0][1])


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_start_where_the_run_goes_on_whatever_the_workers(
    pictures: PictureSet, workers: int
) -> None:
    dataset = crops(pictures)
    batches = list(crop_batches(dataset, first_step=3, last_step=5, batch_size=2, workers=workers))
    assert len(batches) == 2
    for step, (degraded, clean) in zip((3, 4), batches, strict=True):
        for place in range(2):
            expected = dataset[step * 2 + place]
            assert torch.equal(degraded[place], expected[0])
            assert torch.equal(clean[place], expected[1])
