"""service.tiff_strips: TIFF with metadata is compressed."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from service.codec import decode_image, encode_image
from service.deep import DeepSamples
from service.exif_block import EXIF_HEAD
from service.tiff_strips import deflated
from tests.service.pictures import as_file, landscape
from tests.service.test_exif_block import NOTE, block
from tests.service.test_metadata import phone_picture, told_by_exiftool


def test_metadata_and_pixels_are_found_by_independent_readers(tmp_path: Path) -> None:
    picture = decode_image(phone_picture(), max_pixels=10**6)
    encoded = encode_image(picture, "tiff", quality=90)
    told = told_by_exiftool(encoded, tmp_path, "after.tif")
    assert told["IFD0:Compression"] == "Adobe Deflate"
    assert (told["IFD0:Model"], told["XMP-xmp:Rating"]) == ("Phone 1", 4)
    assert told["GPS:GPSLatitude"].startswith("48 deg")
    assert (np.asarray(Image.open(io.BytesIO(encoded))) == picture.image).all()
    bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    assert (bgr[..., ::-1] == picture.image).all()
    assert len(encoded) < picture.image.nbytes


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_with_metadata_come_back_to_the_last_bit(channels: int, tmp_path: Path) -> None:
    samples = (np.arange(48 * 64 * channels) * 5).astype(np.uint16).reshape(48, 64, channels)
    png = tmp_path / "deep.png"
    cv2.imwrite(str(png), samples)
    exif = Image.Exif()
    exif[271] = "Nobody"
    carried = as_file(landscape(), "png", exif=exif)
    start = carried.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(carried[start : start + 4], "big")
    encoded = png.read_bytes()[:33] + carried[start:end] + png.read_bytes()[33:]
    picture = decode_image(encoded, max_pixels=10**6, is_depth_kept=True)
    tiff = encode_image(picture, "tiff", quality=90)
    told = told_by_exiftool(tiff, tmp_path, "deep.tif")
    assert (told["IFD0:Compression"], told["IFD0:Make"]) == ("Adobe Deflate", "Nobody")
    read = cv2.imdecode(np.frombuffer(tiff, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None
    assert (read.reshape(samples.shape) == samples).all()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("is_deep", [False, True])
def test_a_makers_note_stays_at_its_place_in_either_byte_order(order: str, is_deep: bool) -> None:
    samples = (np.arange(48 * 64 * 3) * 5).astype(np.uint16).reshape(48, 64, 3)
    metadata = decode_image(as_file(landscape(), "png", exif=block(order)), max_pixels=10**6)
    deep = DeepSamples(samples, None) if is_deep else None
    encoded = encode_image(replace(metadata, deep=deep), "tiff", quality=90)
    assert encoded[:2] == block(order)[6:8]
    assert encoded.index(NOTE) == block(order).index(NOTE) - len(EXIF_HEAD)
    read = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None
    assert (read[..., ::-1] == (samples if is_deep else metadata.image)).all()
    assert Image.open(io.BytesIO(encoded)).getexif()[271] == "Nobody"


def test_what_is_not_so_stays_as_it_is() -> None:
    for other in (as_file(landscape(), "tiff", compression="tiff_lzw"), b"no TIFF"):
        assert deflated(other) == other
