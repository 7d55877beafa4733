"""Picture files: read as RGB and upright, and never more of them than memory allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.service.pictures import sample
from tests.trainer.datasets import patch, write_picture, write_png_header
from trainer.pictures import (
    ImageUnreadable,
    choose_pictures,
    find_pictures,
    load_picture,
    picture_size,
    read_picture,
)


def test_pictures_are_found_in_subfolders_in_a_fixed_order(tmp_path: Path) -> None:
    for name in ("inner/MUSEUM.PNG", "colosseum.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in find_pictures(tmp_path)] == ["colosseum.jpg", "MUSEUM.PNG"]


@pytest.mark.parametrize(("limit", "chosen"), [(0, 19), (3, 3), (10, 10), (30, 19)])
def test_a_limit_is_spread_evenly(tmp_path: Path, limit: int, chosen: int) -> None:
    paths = [tmp_path / f"{number:02}.png" for number in range(19)]
    for path in paths:
        write_picture(path, np.zeros((2, 2, 3), np.uint8))
    found = choose_pictures(tmp_path, limit)
    gaps = np.diff([paths.index(path) for path in found])
    assert len(found) == chosen
    assert max(gaps) - min(gaps) <= 1


def test_a_folder_without_pictures_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no pictures"):
        find_pictures(tmp_path)


def test_a_picture_is_read_as_rgb(samples: Path) -> None:
    image = read_picture(samples / "colosseum.jpg")
    assert image is not None
    assert np.abs(image.astype(int) - sample("colosseum")).mean() < 1


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tiff", ".jpg"])
def test_size_comes_from_the_header_of_every_format(tmp_path: Path, suffix: str) -> None:
    path = write_picture(tmp_path / f"picture{suffix}", patch(0, 31, 47))
    assert picture_size(path) == picture_size(path.read_bytes()) == (31, 47)
    assert load_picture(path).shape == (31, 47, 3)


def test_grey_transparent_and_16_bit_pictures_become_rgb(tmp_path: Path) -> None:
    grey = np.linspace(0, 255, 32 * 32).reshape(32, 32)
    Image.fromarray(grey.astype(np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray((grey * 257).astype(np.uint16)).save(tmp_path / "deep.png")
    rgba = np.dstack([grey.astype(np.uint8)] * 3 + [np.full((32, 32), 9, np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "clear.png")
    Image.fromarray(rgba).save(tmp_path / "clear.tiff")
    for name in ("grey.png", "deep.png", "clear.png", "clear.tiff"):
        image = load_picture(tmp_path / name)
        assert np.abs(image - grey[:, :, None]).max() <= 1, name


def test_a_picture_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(patch(0, 40, 60)).save(tmp_path / "side.jpg", exif=exif, quality=95)
    image = load_picture(tmp_path / "side.jpg")
    upright = np.rot90(patch(0, 40, 60), -1)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 6


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\xff\xd8\xff no picture", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFFxxxx"]
)
def test_what_is_no_picture_is_refused_with_the_reason(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ImageUnreadable, match="not a picture that can be read"):
        load_picture(tmp_path / "x.png")
    assert read_picture(tmp_path / "x.png") is None


def test_a_missing_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ImageUnreadable, match=r"cannot be read.*No such file"):
        load_picture(tmp_path / "x.png")
    with pytest.raises(ImageUnreadable, match=r"cannot be read.*No such file"):
        picture_size(tmp_path / "x.png")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = write_png_header(tmp_path / "bomb.png", height=20_000, width=10_001)
    monkeypatch.setattr("cv2.imdecode", lambda *_: pytest.fail("it was decoded"))
    for action in (load_picture, picture_size):
        with pytest.raises(ImageUnreadable, match=r"10001x20000 px is 200 megapixels, above"):
            action(bomb)


def test_the_largest_picture_passes_the_limit(tmp_path: Path) -> None:
    largest = write_png_header(tmp_path / "large.png", height=20_000, width=10_000)
    assert picture_size(largest) == (20_000, 10_000)
