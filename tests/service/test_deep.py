"""service.deep and its way through codec and picture_options: 16 bits stay 16 bits."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from service.codec import ImageFormat, Picture, decode_image
from service.deep import corrected, shallow
from service.picture_options import PictureOptions, decode_for, encode_for
from service.scaling import Resize
from tests.service.pictures import as_file, landscape
from tests.service.test_metadata import phone_exif, told_by_exiftool

Deep = npt.NDArray[np.uint16]
MANY_PX = 1_000_000
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def deep_landscape(channels: int = 3) -> Deep:
    """(H, W, channels) uint16: every level of 8 bits with fine steps between; alpha is not 0."""
    fine = np.random.default_rng(5).integers(-120, 120, (48, 64, 4))
    image = np.dstack((landscape(), np.linspace(40, 255, 48 * 64).reshape(48, 64)))
    deep = np.clip(image.astype(np.int64) * 257 + fine, 257, 65_535).astype(np.uint16)
    return np.ascontiguousarray(deep[..., :channels])


def deep_file(image: Deep, suffix: str) -> bytes:
    """By OpenCV, which has BGR."""
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[image.shape[2]]
    _, buffer = cv2.imencode(suffix, np.ascontiguousarray(image[..., order]))
    return buffer.tobytes()


def stored(encoded: bytes) -> Deep:
    """(H, W, channels) uint16 RGB, as OpenCV reads it."""
    image: Any = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image.dtype == np.uint16
    if image.ndim == 2:
        return np.asarray(image[..., None], np.uint16)
    return np.asarray(image[..., [2, 1, 0, 3][: image.shape[2]]], np.uint16)


def through(encoded: bytes, change: int = 0, **options: Any) -> tuple[Picture, bytes]:
    """As every caller does it, with a network that adds `change` levels."""
    asked = PictureOptions(**options)
    picture = decode_for(encoded, asked, max_pixels=MANY_PX)
    sharpened = np.clip(picture.image.astype(np.int16) + change, 0, 255).astype(np.uint8)
    return picture, encode_for(picture, sharpened, asked)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("to", ["png", "tiff"])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_what_the_network_leaves_alone_comes_out_bit_for_bit(
    suffix: str, to: ImageFormat, channels: int
) -> None:
    image = deep_landscape(channels)
    picture, answer = through(deep_file(image, suffix), format=to)
    assert picture.warnings == ()
    np.testing.assert_array_equal(stored(answer), image)


def test_a_correction_is_added_to_the_fine_steps() -> None:
    image = deep_landscape()
    _, answer = through(deep_file(image, ".png"), change=3)
    np.testing.assert_array_equal(
        stored(answer),
        np.minimum(
            image.astype(np.int64) + np.minimum(3, 255 - shallow(image).astype(np.int64)) * 257,
            65_535,
        ),
    )


def test_a_correction_ends_at_black_and_white() -> None:
    deep = np.array([[[100, 65_500, 1000]]], np.uint16)
    seen = shallow(deep)
    change = np.array([[[-2, 2, 1]]])
    answer = corrected(deep, seen + 5, (seen + 5 + change).astype(np.uint8))
    assert answer.tolist() == [[[0, 65_535, 1257]]]


def test_16_bits_become_the_nearest_8() -> None:
    deep = np.array([[0, 128, 129, 256, 257, 32_896, 65_406, 65_407, 65_535]], np.uint16)
    assert shallow(deep).tolist() == [[0, 0, 1, 1, 1, 128, 254, 255, 255]]


@pytest.mark.parametrize("to", ["jpeg", "webp", "bmp"])
def test_a_format_of_8_bits_gets_8_with_a_word(to: ImageFormat) -> None:
    picture, answer = through(deep_file(deep_landscape(), ".png"), format=to)
    assert picture.warnings == ("Its 16 bits per channel became 8.",)
    assert Image.open(io.BytesIO(answer)).size == (64, 48)


def test_scaling_keeps_16_bits() -> None:
    encoded = deep_file(deep_landscape(4), ".png")
    _, answer = through(encoded, resize=Resize(32, 32), upscale=2.0)
    image = stored(answer)
    assert image.shape == (48, 64, 4)
    assert (image % 257 != 0).mean() > 0.9


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["png", "tiff"])
def test_an_orientation_is_applied_once(image_format: str, orientation: int) -> None:
    small = Image.new("RGB", (1, 1))
    exif = Image.Exif()
    exif[274] = orientation
    image = deep_landscape()
    if image_format == "png":
        block = as_file(small, "png", exif=exif)
        start = block.index(b"eXIf") - 4
        chunk = block[start : start + 12 + struct.unpack_from(">I", block, start)[0]]
        plain = deep_file(image, ".png")
        encoded = plain[:33] + chunk + plain[33:]
    else:
        _, plain = through(deep_file(image, ".png"), format="tiff")
        encoded = with_tiff_tag(plain, 274, orientation)
    expected = decode_image(encoded, max_pixels=MANY_PX)
    picture, answer = through(encoded)
    assert picture.deep is not None
    assert np.abs(picture.image.astype(int) - expected.image).max() <= 1
    again = decode_image(answer, max_pixels=MANY_PX)
    assert np.abs(again.image.astype(int) - expected.image).max() <= 1


def with_tiff_tag(encoded: bytes, tag: int, value: int) -> bytes:
    """With one more SHORT in a new directory at the end."""
    directory = struct.unpack_from("<I", encoded, 4)[0]
    count = struct.unpack_from("<H", encoded, directory)[0]
    entries = [encoded[directory + 2 + 12 * n :][:12] for n in range(count)]
    entries = [entry for entry in entries if struct.unpack_from("<H", entry)[0] != tag]
    entries.append(struct.pack("<HHIHH", tag, 3, 1, value, 0))
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    padded = encoded + bytes(len(encoded) % 2)
    block = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return padded[:4] + struct.pack("<I", len(padded)) + padded[8:] + block


def test_premultiplied_colours_come_out_straight() -> None:
    image = deep_landscape(4)
    share = image[..., 3:].astype(np.float64) / 65_535
    multiplied = image.copy()
    multiplied[..., :3] = np.round(image[..., :3] * share)
    _, plain = through(deep_file(multiplied, ".png"), format="tiff")
    picture, answer = through(with_tiff_tag(plain, 338, 1))
    assert picture.deep is not None
    assert np.abs(stored(answer).astype(int) - image).max() <= 4


@pytest.mark.parametrize("image_format", ["png", "tiff"])
def test_profile_exif_and_resolution_are_in_files_of_16_bits(
    image_format: ImageFormat, tmp_path: Path
) -> None:
    carried = as_file(
        Image.new("RGB", (1, 1)), "png", exif=phone_exif(), icc_profile=SRGB, dpi=(300, 300)
    )
    head = deep_file(deep_landscape(), ".png")
    encoded = head[:33] + carried[33 : carried.index(b"IDAT") - 4] + head[33:]
    _, answer = through(encoded, format=image_format)
    told = told_by_exiftool(answer, tmp_path, f"deep.{image_format}")
    assert told["IFD0:Model"] == "Phone 1"
    assert "GPS:GPSLatitude" in told
    bits = told["PNG:BitDepth"] if image_format == "png" else told["IFD0:BitsPerSample"]
    assert str(bits) in ("16", "16 16 16")
    opened = Image.open(io.BytesIO(answer))
    assert opened.info["icc_profile"] == SRGB
    assert opened.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    opened.load()


def test_a_layout_that_is_misread_becomes_8_bits_with_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoded = deep_file(deep_landscape(), ".tiff")
    wrong = np.zeros((48, 64, 3), np.uint16)
    monkeypatch.setattr("service.deep.cv2.imdecode", lambda *_: wrong)
    picture, answer = through(encoded)
    assert picture.deep is None
    assert picture.warnings == ("Its 16 bits per channel became 8.",)
    monkeypatch.undo()
    assert (
        np.abs(decode_image(answer, max_pixels=MANY_PX).image.astype(int) - landscape()).max() <= 1
    )


def test_16_bits_that_lose_their_transparency_are_flattened_onto_white() -> None:
    image = deep_landscape(4)
    image[:8, :8, 3] = 0
    picture = decode_image(
        deep_file(image, ".png"), max_pixels=MANY_PX, is_alpha_kept=False, is_depth_kept=True
    )
    assert picture.deep is not None
    assert (picture.deep.image[:8, :8] == 65_535).all()


def test_gray_tiffs_of_12_bits_and_with_white_as_zero_come_out_right() -> None:
    ramp = np.linspace(0, 4095, 64 * 48).astype(np.uint16).reshape(48, 64)
    picture, _ = through(gray_tiff(ramp, bits=12))
    assert np.abs(picture.image[..., 0] - ramp / 4095 * 255).max() <= 1
    values = (ramp * 16).astype(np.uint16)
    encoded = gray_tiff(values, bits=16, photometric=0)
    picture, out = through(encoded)
    assert np.abs(picture.image[..., 0] - (65_535 - values.astype(np.int64)) / 257).max() <= 1
    assert (stored(out)[..., 0] == 65_535 - values).all()


def gray_tiff(samples: Deep, *, bits: int, photometric: int = 1) -> bytes:
    """Without compression; 12 bits are packed, two samples in three bytes."""
    height, width = samples.shape
    if bits == 12:
        first, second = samples.reshape(-1)[::2], samples.reshape(-1)[1::2]
        packed = np.stack((first >> 4, (first & 15) << 4 | second >> 8, second & 255), axis=-1)
        strip = packed.astype(np.uint8).tobytes()
    else:
        strip = samples.astype("<u2").tobytes()
    tags = {
        **{256: width, 257: height, 258: bits, 259: 1, 262: photometric},
        **{273: 0, 277: 1, 278: height, 279: len(strip)},
    }
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + strip


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_transparent_gray_of_few_bits_is_transparent(bits: int) -> None:
    levels = 1 << bits
    samples = np.arange(64, dtype=np.uint8).reshape(8, 8) % levels
    rows = np.unpackbits(samples[..., None], axis=-1)[..., -bits:].reshape(8, -1)
    lines = b"".join(b"\0" + row.tobytes() for row in np.packbits(rows, axis=1))
    header = struct.pack(">IIBBBBB", 8, 8, bits, 0, 0, 0, 0)
    parts = {b"IHDR": header, b"tRNS": struct.pack(">H", 1), b"IDAT": zlib.compress(lines)}
    chunks = b"".join(png_chunk(kind, content) for kind, content in parts.items())
    encoded = b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b"")
    alpha = decode_image(encoded, max_pixels=MANY_PX).alpha
    assert alpha is not None
    assert (alpha == np.where(samples == 1, 0, 255)).all()


def test_a_transparent_colour_of_16_bits_stays_so() -> None:
    image = deep_landscape()
    encoded = deep_file(image, ".png")
    colour = struct.pack(">HHH", *image[3, 5].tolist())
    at = encoded.index(b"IDAT") - 4
    picture, out = through(encoded[:at] + png_chunk(b"tRNS", colour) + encoded[at:])
    assert picture.deep is not None
    made = stored(out)
    is_hidden = made[..., 3] == 0
    assert (is_hidden == (image == image[3, 5]).all(axis=-1)).all()
    assert (made[~is_hidden, :3] == image[~is_hidden]).all()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)
