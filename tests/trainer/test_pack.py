"""Writing packs: the same bytes each time, within the size limit, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from tests.trainer.datasets import patch, softened, write_picture, write_video
from trainer.data import CropDataset
from trainer.degradation import degrade_at_random
from trainer.pack import Encoding, PackSummary, write_pack
from trainer.pack_file import open_pack, read_manifest
from trainer.picture_set import PictureSet
from trainer.pictures import ImageArray


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        write_picture(tmp_path / "pictures" / f"{number}.png", patch(number))
    return tmp_path / "pictures"


def packed(source: Path, output: Path, **changes: Any) -> PackSummary:
    settings: dict[str, Any] = {"crop_px": 48, "crops_per_picture": 2, "seed": 3}
    return write_pack(source, output, **(settings | changes))


def opened(path: Path) -> PictureSet:
    return open_pack(path, smallest_px=32, cache_bytes=0)


def soften(image: ImageArray, _: np.random.Generator) -> ImageArray:
    return softened(image)


def window(picture: int, top: int, left: int) -> ImageArray:
    return patch(picture)[top : top + 48, left : left + 48]


@pytest.mark.parametrize("encoding", ["jpeg", "png", "webp"])
def test_a_pack_holds_crops_of_every_picture(
    folder: Path, tmp_path: Path, encoding: Encoding
) -> None:
    output = tmp_path / "new" / "crops.pack"
    summary = packed(folder, output, encoding=encoding)
    assert (summary.pictures, summary.crops, summary.is_full) == (4, 8, False)
    assert summary.size_bytes == output.stat().st_size
    assert "8 crops of 4 pictures" in summary.describe()
    manifest, source = read_manifest(output), opened(output)
    assert len(source) == len(manifest.crops) == 8
    for number, crop in enumerate(manifest.crops):
        name = int(manifest.pictures[crop.picture].path[0])
        difference = source.image(number).astype(int) - window(name, crop.top, crop.left)
        assert np.abs(difference).mean() <= (4 if encoding == "jpeg" else 0)
    places = {(crop.picture, crop.top, crop.left) for crop in manifest.crops}
    assert len(places) == 8


def test_jpeg_keeps_colour_at_full_resolution(folder: Path, tmp_path: Path) -> None:
    packed(folder, tmp_path / "good.pack", quality=95)
    packed(folder, tmp_path / "small.pack", quality=50)
    sizes = []
    for name in ("good", "small"):
        with zipfile.ZipFile(tmp_path / f"{name}.pack") as archive:
            encoded = archive.read("clean/000000.jpg")
        assert get_sampling(Image.open(io.BytesIO(encoded))) == 0
        sizes.append(len(encoded))
    assert sizes[1] < sizes[0] / 2


def test_with_a_degradation_there_are_pairs(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "pairs.pack"
    summary = packed(folder, output, degrade=soften, degradation="soft", encoding="png")
    assert summary.is_paired
    assert "8 pairs of crops" in summary.describe()
    assert read_manifest(output).degradation == "soft"
    source = opened(output)
    assert source.is_paired
    for number in range(8):
        degraded, clean = source.pair(number)
        assert degraded is not None
        assert np.array_equal(degraded, softened(clean))


def test_pairs_of_the_source_stay_pairs(tmp_path: Path) -> None:
    for number in range(2):
        write_picture(tmp_path / "in" / "blurry" / f"{number}.png", softened(patch(number)))
        write_picture(tmp_path / "in" / "sharp" / f"{number}.png", patch(number))
    output = tmp_path / "pairs.pack"
    packed(tmp_path / "in", output, encoding="webp")
    manifest, source = read_manifest(output), opened(output)
    assert manifest.degradation == "source"
    assert sorted(str(one.degraded_path) for one in manifest.pictures) == [
        "blurry/0.png",
        "blurry/1.png",
    ]
    for number, crop in enumerate(manifest.crops):
        picture = int(manifest.pictures[crop.picture].path[-5])
        place = np.s_[crop.top : crop.top + 48, crop.left : crop.left + 48]
        degraded, clean = source.pair(number)
        assert degraded is not None
        assert np.array_equal(clean, patch(picture)[place])
        assert np.array_equal(degraded, softened(patch(picture))[place])
    with pytest.raises(ValueError, match="holds pairs, which are packed as they are"):
        packed(tmp_path / "in", output, degrade=soften)


def test_the_same_source_and_seed_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / f"{number}.pack" for number in range(4)]
    packed(folder, outputs[0], degrade=degrade_at_random)
    packed(folder, outputs[1], degrade=degrade_at_random, cache_bytes=0)
    packed(folder, outputs[2], degrade=degrade_at_random, seed=4)
    packed(folder, outputs[3], degrade=soften)
    contents = [output.read_bytes() for output in outputs]
    assert contents[0] == contents[1]
    assert contents[0] not in contents[2:]


def test_the_manifest_tells_where_each_picture_is_from(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(
        "file,category,width,height,licence,source,path\n"
        "pictures/1.png,scene,128,96,CC0-1.0,somewhere@1,inner/1.png\n"
    )
    packed(folder, tmp_path / "crops.pack")
    pictures = {one.path: one for one in read_manifest(tmp_path / "crops.pack").pictures}
    known = pictures["1.png"]
    assert (known.height, known.width) == (96, 128)
    assert known.sha256 == hashlib.sha256((folder / "1.png").read_bytes()).hexdigest()
    assert (known.licence, known.source) == ("CC0-1.0", "somewhere@1: inner/1.png")
    assert (pictures["0.png"].licence, pictures["0.png"].source) == ("unknown", "unknown")


@pytest.mark.parametrize("max_mib", [0.02, 0.05])
def test_the_size_limit_holds_and_trims_all_pictures_alike(
    folder: Path, tmp_path: Path, max_mib: float
) -> None:
    output = tmp_path / "crops.pack"
    summary = packed(folder, output, crops_per_picture=50, max_mib=max_mib, degrade=soften)
    assert summary.is_full
    assert "the size limit was reached" in summary.describe()
    limit_bytes = max_mib * 2**20
    assert limit_bytes - 12_000 < summary.size_bytes <= limit_bytes
    counts = np.bincount([crop.picture for crop in read_manifest(output).crops])
    assert counts.max() - counts.min() <= 1
    assert len(opened(output)) == summary.crops


def test_a_limit_below_one_crop_is_refused_and_nothing_is_left(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"max_mib=0\.001 is too small for a single crop"):
        packed(folder, tmp_path / "out" / "crops.pack", max_mib=0.001)
    assert list((tmp_path / "out").iterdir()) == []


def test_no_crop_is_taken_twice(tmp_path: Path) -> None:
    write_picture(tmp_path / "in" / "a.png", patch(0, 48, 49))
    assert packed(tmp_path / "in", tmp_path / "crops.pack", crops_per_picture=30).crops == 2


def test_progress_is_told(folder: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    packed(folder, tmp_path / "crops.pack", progress=lambda *done: told.append(done))
    assert told == [(number, 8) for number in range(1, 9)]


def test_a_full_disk_leaves_the_old_pack_and_no_half_written_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out" / "crops.pack"
    packed(folder, output)
    before = output.read_bytes()
    real = zipfile.ZipFile.writestr
    written = 0

    def full(archive: zipfile.ZipFile, *arguments: Any) -> None:
        nonlocal written
        written += 1
        if written == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(archive, *arguments)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match=r"The disk is full; no pack was written") as caught:
        packed(folder, output, seed=9)
    assert caught.value.errno == errno.ENOSPC
    assert list(output.parent.iterdir()) == [output]
    assert output.read_bytes() == before


def test_an_interruption_leaves_no_half_written_pack(folder: Path, tmp_path: Path) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packed(folder, tmp_path / "out" / "crops.pack", progress=interrupt)
    assert list((tmp_path / "out").iterdir()) == []


def test_frames_of_a_video_are_packed(tmp_path: Path) -> None:
    frames = [np.roll(patch(0), 2 * number, axis=1) for number in range(6)]
    video = write_video(tmp_path / "call.mp4", frames)
    packed(video, tmp_path / "crops.pack", frames_per_video=2, crops_per_picture=1)
    manifest = read_manifest(tmp_path / "crops.pack")
    assert sorted(one.path for one in manifest.pictures) == ["call.mp4#1", "call.mp4#4"]
    digest = hashlib.sha256(video.read_bytes()).hexdigest()
    assert {one.sha256 for one in manifest.pictures} == {digest}


def test_training_crops_come_from_a_pack(folder: Path, tmp_path: Path) -> None:
    packed(folder, tmp_path / "crops.pack", degrade=soften)
    dataset = CropDataset(opened(tmp_path / "crops.pack"), crop_px=32, seed=0)
    degraded, clean = dataset[5]
    assert degraded.shape == clean.shape == (3, 32, 32)
    assert 0 < (degraded.int() - clean.int()).abs().float().mean() < 30


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_px": 8}, "crop_px must be 16 to 2048, not 8"),
        ({"crops_per_picture": 0}, "crops_per_picture must be 1 to 100000, not 0"),
        ({"quality": 101}, "quality must be 1 to 100, not 101"),
        ({"max_mib": -1}, "max_mib must be 0 to 1048576, not -1"),
        ({"seed": -1}, "seed must be 0"),
        ({"encoding": "gif"}, "encoding must be one of jpeg, png, webp, not 'gif'"),
        ({"degrade": soften, "degradation": "none"}, "degradation='none' means"),
    ],
)
def test_settings_out_of_range_are_refused(
    folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        packed(folder, tmp_path / "crops.pack", **changes)


def test_a_pack_is_not_packed_again(folder: Path, tmp_path: Path) -> None:
    packed(folder, tmp_path / "crops.pack")
    with pytest.raises(ValueError, match="is a pack already"):
        packed(tmp_path / "crops.pack", tmp_path / "again.pack")
