"""Sets of pictures: bad files named and left out, the rest held in shared memory while it fits."""

from __future__ import annotations

import logging
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.datasets import patch, write_picture, write_png_header
from trainer.items import Item, Loaded, PictureFile, Skipped, read_ahead
from trainer.picture_set import PictureSet

PATCH_BYTES = 96 * 128 * 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        write_picture(tmp_path / f"{number}.png", patch(number))
    return tmp_path


def opened(folder: Path, *, cache_bytes: int = 10**8, smallest_px: int = 64) -> PictureSet:
    return PictureSet.open(folder, smallest_px=smallest_px, cache_bytes=cache_bytes)


def test_damaged_small_and_huge_files_are_named_and_left_out(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    (folder / "empty.png").write_bytes(b"")
    whole = (folder / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    write_picture(folder / "small.png", patch(0, 63, 200))
    write_png_header(folder / "bomb.png", height=50_000, width=50_000)
    with caplog.at_level(logging.WARNING):
        pictures = opened(folder)
    assert len(pictures) == 3
    for line in (
        "broken.jpg: not a picture",
        "empty.png: not a picture",
        "cut.png: not a picture that can be read: damaged or cut off",
        "small.png: 200x63, smaller than 64 px",
        "bomb.png: 50000x50000 px is 2500 megapixels, above the limit of 200",
    ):
        assert line in caplog.text
    assert pictures.describe() == (
        "folder of sharp pictures: 3 sharp images, 5 skipped, all held in memory"
    )


def test_of_many_skipped_files_the_first_are_named_and_the_rest_counted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(30):
        (folder / f"bad-{number}.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert opened(folder).skipped == 30
    assert caplog.text.count("not a picture") == 20
    assert "and skipped 10 more" in caplog.text


def test_a_set_with_nothing_left_says_why(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"at least 5000 px.*3 skipped, such as 0\.png"):
        opened(folder, smallest_px=5000)


def test_pictures_are_the_same_whether_held_partly_held_or_read_again(folder: Path) -> None:
    held, partly, unheld = (
        opened(folder, cache_bytes=size) for size in (10**8, 2 * PATCH_BYTES + 5, 0)
    )
    assert held.cache is not None
    assert held.cache.numel() == 3 * PATCH_BYTES
    assert held.cache.untyped_storage().is_shared()
    assert partly.offsets == (0, PATCH_BYTES, -1)
    assert unheld.cache is None
    assert held.manifest_hash == partly.manifest_hash == unheld.manifest_hash
    assert "2 held in memory" in partly.describe()
    assert "none held in memory" in unheld.describe()
    for number in range(3):
        for pictures in (held, partly, unheld):
            assert np.array_equal(pictures.image(number), patch(number))


def test_without_shared_memory_the_pictures_are_held_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(_: torch.Tensor) -> None:
        raise RuntimeError("unable to allocate shared memory")

    monkeypatch.setattr(torch.Tensor, "share_memory_", refused)
    pictures = opened(folder)
    assert np.array_equal(pictures.image(2), patch(2))
    assert "no shared memory for the pictures" in caplog.text


def test_the_manifest_changes_with_a_pictures_content_and_with_its_name(folder: Path) -> None:
    before = opened(folder).manifest_hash
    (folder / "2.png").rename(folder / "3.png")
    renamed = opened(folder).manifest_hash
    shutil.copy(folder / "0.png", folder / "3.png")
    assert len({before, renamed, opened(folder).manifest_hash}) == 3


def test_a_picture_that_changes_or_vanishes_is_named(folder: Path) -> None:
    pictures = opened(folder, cache_bytes=0)
    write_picture(folder / "0.png", patch(0, 70, 70))
    (folder / "1.png").unlink()
    for number in (0, 1):
        with pytest.raises(OSError, match=rf"{number}\.png changed or vanished"):
            pictures.image(number)


def test_a_set_travels_to_another_process(folder: Path) -> None:
    pictures = pickle.loads(pickle.dumps(opened(folder, cache_bytes=0)))
    assert np.array_equal(pictures.image(1), patch(1))


def test_items_are_read_in_order_however_many_there_are(folder: Path) -> None:
    items = [Item(str(n), PictureFile(folder / f"{n % 4}.png")) for n in range(100)]
    results = list(read_ahead(items))
    assert len(results) == 100
    for number, result in enumerate(results):
        if number % 4 == 3:
            assert isinstance(result, Skipped)
            assert result.name == str(number)
        else:
            assert isinstance(result, Loaded)
            assert np.array_equal(result.images[0], patch(number % 4))
