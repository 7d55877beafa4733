"""service.codec: every accepted format, what a picture may carry, the limits, and damaged files."""

from __future__ import annotations

import contextlib
import io
import struct
import time
import zlib
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from service.codec import ALPHA_FORMATS, ImageFormat, Picture, decode_image, encode_image, sniff
from service.errors import (
    ImageBroken,
    ImageTooManyPixels,
    ImageUnsupported,
    RequestInvalid,
)
from service.frame_codec import decode_frame
from tests.service.pictures import as_file, difference, landscape, with_announced_size

FORMATS: tuple[ImageFormat, ...] = ("jpeg", "png", "webp", "bmp", "tiff")
LOSSLESS: tuple[ImageFormat, ...] = ("png", "bmp", "tiff")
MANY_PX = 1_000_000
ORIENTATION_TAG = 0x0112
# JPEG and WebP halve the resolution of colour, which the landscape has little of.
LOSSY_LEVELS = 4.0


def decode(encoded: bytes, *, is_alpha_kept: bool = True) -> Picture:
    return decode_image(encoded, max_pixels=MANY_PX, is_alpha_kept=is_alpha_kept)


def shown(encoded: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """What a viewer shows that knows about orientation: an implementation that is not ours."""
    flags = cv2.IMREAD_COLOR_RGB if hasattr(cv2, "IMREAD_COLOR_RGB") else cv2.IMREAD_COLOR
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    assert image is not None
    return np.asarray(image, np.uint8)


@pytest.mark.parametrize("image_format", FORMATS)
def test_each_format_is_told_by_its_bytes(image_format: ImageFormat) -> None:
    assert sniff(as_file(landscape(), image_format)) == image_format


@pytest.mark.parametrize(
    "encoded",
    [b"", b"\xff\xd8", b"RIFF\0\0\0\0WAVE", b"%PDF-1.7", b"<svg/>", b"\0" * 64],
)
def test_other_bytes_are_unsupported(encoded: bytes) -> None:
    with pytest.raises(ImageUnsupported, match="JPEG, PNG, WebP, BMP, TIFF, AVIF or HEIC"):
        decode(encoded)


def test_a_gif_is_named_with_what_to_do_instead() -> None:
    with pytest.raises(ImageUnsupported, match="PNG; an animated one is a film"):
        decode(as_file(Image.fromarray(landscape()).convert("P"), "gif"))


@pytest.mark.parametrize("image_format", FORMATS)
def test_what_was_encoded_is_decoded_again(image_format: ImageFormat) -> None:
    image = landscape()
    encoded = encode_image(Picture(image, None, None, "png"), image_format, quality=95)
    decoded = decode(encoded)
    assert decoded.format == image_format
    assert decoded.image.dtype == np.uint8
    assert decoded.image.flags.c_contiguous
    assert difference(decoded.image, image) <= (0 if image_format in LOSSLESS else LOSSY_LEVELS)


@pytest.mark.parametrize("image_format", FORMATS)
def test_one_pixel_is_a_picture(image_format: ImageFormat) -> None:
    encoded = as_file(landscape(1, 1), image_format)
    picture = decode(encoded)
    assert picture.image.shape == (1, 1, 3)
    assert decode(encode_image(picture, image_format, quality=90)).image.shape == (1, 1, 3)


@pytest.mark.parametrize("image_format", FORMATS)
def test_red_stays_red(image_format: ImageFormat) -> None:
    red = np.full((16, 16, 3), (255, 0, 0), np.uint8)
    picture = decode(as_file(red, image_format))
    assert difference(picture.image, red) < LOSSY_LEVELS
    assert difference(shown(encode_image(picture, image_format, quality=95)), red) < LOSSY_LEVELS


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp", "tiff"])
def test_an_orientation_is_applied_once_and_the_output_has_none(
    image_format: ImageFormat, orientation: int
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    turn_back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = Image.fromarray(landscape())
    if orientation in turn_back:
        stored = stored.transpose(Image.Transpose(turn_back[orientation]))
    options = {"lossless": True} if image_format == "webp" else {}
    encoded = as_file(stored, image_format, exif=exif, **options)

    picture = decode(encoded)
    answer = encode_image(picture, image_format, quality=95)

    assert difference(picture.image, landscape()) < LOSSY_LEVELS
    assert difference(shown(answer), landscape()) < LOSSY_LEVELS
    assert Image.open(io.BytesIO(answer)).getexif().get(ORIENTATION_TAG, 1) == 1


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_damaged_exif_block_does_not_cost_the_picture() -> None:
    encoded = as_file(landscape(), "jpeg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(encoded).image.shape == (48, 64, 3)


def rgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def profile_for(space: bytes) -> bytes:
    """A header, which is what is looked at: the colour space at byte 16, a signature at 36."""
    return bytes(16) + space + bytes(16) + b"acsp" + bytes(100)


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp", "tiff"])
def test_a_colour_profile_is_carried_over(image_format: ImageFormat) -> None:
    profile = rgb_profile()
    picture = decode(as_file(landscape(), image_format, icc_profile=profile))
    assert picture.colour_profile == profile
    for output_format in ("jpeg", "png", "webp", "tiff"):
        answer = Image.open(io.BytesIO(encode_image(picture, output_format, quality=90)))
        assert answer.info["icc_profile"] == profile


def test_a_profile_goes_nowhere_in_bmp() -> None:
    picture = Picture(landscape(), None, rgb_profile(), "png")
    assert sniff(encode_image(picture, "bmp", quality=90)) == "bmp"


@pytest.mark.parametrize("profile", [b"not a profile", profile_for(b"GRAY"), profile_for(b"CMYK")])
def test_a_profile_that_does_not_fit_rgb_is_left_behind(profile: bytes) -> None:
    picture = decode(as_file(landscape(), "png", icc_profile=profile))
    assert picture.colour_profile is None


@pytest.mark.parametrize("image_format", ["png", "webp", "tiff"])
def test_alpha_comes_out_beside_the_colours_and_goes_back_in(image_format: ImageFormat) -> None:
    alpha = np.linspace(0, 255, 48 * 64).reshape(48, 64).astype(np.uint8)
    options = {"lossless": True, "exact": True} if image_format == "webp" else {}
    encoded = as_file(np.dstack((landscape(), alpha)), image_format, **options)
    picture = decode(encoded)
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, alpha)
    np.testing.assert_array_equal(picture.image, landscape())
    for output_format in sorted(ALPHA_FORMATS):
        again = decode(encode_image(picture, output_format, quality=95))
        assert again.alpha is not None
        assert np.abs(again.alpha.astype(int) - alpha).max() <= 1


def test_alpha_that_is_not_kept_is_flattened_onto_white() -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (200, 100, 0, 255)
    rgba[0, 1] = (200, 100, 0, 0)
    rgba[1, 0] = (0, 0, 0, 128)
    picture = decode(as_file(rgba, "png"), is_alpha_kept=False)
    assert picture.alpha is None
    assert picture.image[0].tolist() == [[200, 100, 0], [255, 255, 255]]
    assert picture.image[1, 0].tolist() == [127, 127, 127]


def test_a_palette_becomes_its_colours() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putdata([0, 1])
    for image_format in ("png", "bmp", "tiff"):
        picture = decode(as_file(palette, image_format))
        assert picture.image.tolist() == [[[10, 20, 30], [200, 100, 50]]]
        assert picture.alpha is None


def test_a_transparent_palette_entry_becomes_alpha() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putdata([0, 1])
    picture = decode(as_file(palette, "png", transparency=0))
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[0, 255]]


def test_gray_and_bilevel_become_rgb() -> None:
    gray = decode(as_file(Image.fromarray(np.array([[0, 100, 255]], np.uint8)), "png"))
    assert gray.image.tolist() == [[[0] * 3, [100] * 3, [255] * 3]]
    bilevel = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert decode(as_file(bilevel, "png")).image.tolist() == [[[0] * 3, [255] * 3]]


def test_gray_with_alpha_becomes_rgb_with_alpha() -> None:
    la = Image.merge("LA", [Image.new("L", (2, 2), 90), Image.new("L", (2, 2), 60)])
    picture = decode(as_file(la, "png"))
    assert picture.image[0, 0].tolist() == [90, 90, 90]
    assert picture.alpha is not None
    assert picture.alpha[0, 0] == 60


@pytest.mark.parametrize("image_format", ["png", "webp", "jpeg", "bmp", "tiff"])
def test_gray_stays_gray_whatever_tint_it_was_given(image_format: ImageFormat) -> None:
    gray = decode(as_file(Image.new("L", (40, 30), 90), "png"))
    tinted = replace(gray, image=gray.image + np.array([0, 6, 12], np.uint8))
    written = Image.open(io.BytesIO(encode_image(tinted, image_format, quality=100)))
    colours = np.asarray(written.convert("RGB"), int)
    assert np.ptp(colours, axis=2).max() <= 1


@pytest.mark.parametrize("image_format", ["png", "tiff"])
def test_gray_of_16_bits_is_scaled_by_257_not_clipped(image_format: str) -> None:
    deep = np.array([[0, 128, 129, 256, 257, 32896, 65535]], np.uint16)
    picture = decode(as_file(Image.fromarray(deep), image_format))
    assert picture.image[0, :, 0].tolist() == [0, 0, 1, 1, 1, 128, 255]
    assert (picture.image[..., 0] == picture.image[..., 2]).all()


def test_the_transparent_value_of_16_bit_gray_becomes_alpha() -> None:
    deep = Image.fromarray(np.array([[1000, 2000]], np.uint16))
    encoded = bytearray(as_file(deep, "png"))
    chunk = b"tRNS" + struct.pack(">H", 1000)
    at = encoded.index(b"IDAT") - 4
    encoded[at:at] = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    picture = decode(bytes(encoded))
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[0, 255]]


def test_colours_of_16_bits_keep_their_order_and_range() -> None:
    deep = np.zeros((1, 2, 3), np.uint16)
    deep[0, 0] = (65535, 32896, 0)
    _, buffer = cv2.imencode(".png", deep[..., ::-1])
    assert decode(buffer.tobytes()).image[0, 0].tolist() == [255, 128, 0]


def test_cmyk_becomes_rgb() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for image_format in ("jpeg", "tiff"):
        picture = decode(as_file(red, image_format))
        assert difference(picture.image, np.full((16, 16, 3), (255, 0, 0), np.uint8)) < LOSSY_LEVELS


def test_cmyk_with_an_unusable_profile_falls_back_to_the_formula() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    picture = decode(as_file(red, "tiff", icc_profile=profile_for(b"CMYK")))
    assert picture.image[0, 0].tolist() == [255, 0, 0]
    assert picture.colour_profile is None


def test_samples_of_32_bits_are_unsupported() -> None:
    floats = Image.fromarray(np.zeros((4, 4), np.float32))
    with pytest.raises(ImageUnsupported, match="32 bits"):
        decode(as_file(floats, "tiff"))


def test_whole_numbers_of_32_bits_are_unsupported_however_small_they_are() -> None:
    numbers = Image.fromarray(np.arange(16, dtype=np.int32).reshape(4, 4))
    with pytest.raises(ImageUnsupported, match="32 bits"):
        decode(as_file(numbers, "tiff"))


def test_colours_of_32_bits_are_unsupported_and_not_damaged() -> None:
    is_written, encoded = cv2.imencode(".tif", np.zeros((4, 4, 3), np.float32))
    assert is_written
    with pytest.raises(ImageUnsupported, match="colours of 32 bits"):
        decode(encoded.tobytes())


def two_pictures(image_format: ImageFormat) -> bytes:
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    return as_file(first, image_format, save_all=True, append_images=[second])


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_animations_are_refused(image_format: ImageFormat) -> None:
    with pytest.raises(ImageUnsupported, match=r"animation of 2 pictures.*one by one") as refused:
        decode(two_pictures(image_format))
    assert ("clearcall video" in str(refused.value)) is (image_format == "png")


def test_of_a_tiff_the_first_page_is_taken_and_that_is_said() -> None:
    picture = decode(two_pictures("tiff"))
    assert picture.image[0, 0].tolist() == [255, 0, 0]
    assert picture.warnings == ("Only the first of its 2 pages was taken.",)


def test_a_tiff_of_very_many_pages_takes_no_time() -> None:
    page = as_file(Image.new("L", (1, 1)), "tiff")
    first_at = struct.unpack_from("<I", page, 4)[0]
    following_at = first_at + 2 + 12 * struct.unpack_from("<H", page, first_at)[0]
    entry = struct.pack("<HHII", 256, 3, 1, 1)
    pages = b"".join(
        struct.pack("<H", 1) + entry + struct.pack("<I", len(page) + 18 * number)
        for number in range(1, 50_000)
    )
    many = page[:following_at] + struct.pack("<I", len(page)) + page[following_at + 4 :] + pages
    started_s = time.perf_counter()

    picture = decode(many)

    assert picture.warnings == ("Only the first of its 1000 or more pages was taken.",)
    assert time.perf_counter() - started_s < 2  # milliseconds; minutes where each is looked for


def test_of_a_multi_picture_jpeg_the_first_picture_is_taken() -> None:
    encoded = as_file(landscape(), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48))])
    picture = decode(encoded)
    assert picture.format == "jpeg"
    assert difference(picture.image, landscape()) < LOSSY_LEVELS


@pytest.mark.parametrize("image_format", FORMATS)
def test_too_many_pixels_are_refused_from_the_header_alone(image_format: ImageFormat) -> None:
    encoded = with_announced_size(image_format, 16_000, 11_000)
    with pytest.raises(ImageTooManyPixels) as caught:
        decode_image(encoded, max_pixels=175_999_999)
    assert (caught.value.width, caught.value.height) == (16_000, 11_000)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0"}])
def test_the_size_of_every_kind_of_webp_is_read_before_it_is_opened(
    options: dict[str, Any],
) -> None:
    encoded = as_file(landscape(1024, 768), "webp", **options)[:30]
    with pytest.raises(ImageTooManyPixels) as caught:
        decode_image(encoded, max_pixels=1000)
    assert (caught.value.width, caught.value.height) == (768, 1024)


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_pixel_limit_itself_is_allowed(image_format: ImageFormat) -> None:
    encoded = as_file(landscape(), image_format)
    assert decode_image(encoded, max_pixels=48 * 64).image.shape == (48, 64, 3)
    with pytest.raises(ImageTooManyPixels):
        decode_image(encoded, max_pixels=48 * 64 - 1)


def test_a_huge_tile_in_a_small_tiff_is_refused() -> None:
    encoded = as_file(landscape(), "tiff")
    for tag, kind, tile_tag in ((278, 4, 322), (284, 3, 323)):
        old = encoded.index(struct.pack("<HHI", tag, kind, 1))
        encoded = encoded[:old] + struct.pack("<HHII", tile_tag, 4, 1, 60_000) + encoded[old + 12 :]
    with pytest.raises(ImageTooManyPixels):
        decode(encoded)


def test_a_png_without_pixels_is_broken() -> None:
    with pytest.raises(ImageBroken):
        decode(with_announced_size("png", 0, 48))


def test_a_jpeg_with_very_many_scans_is_refused_before_decoding() -> None:
    encoded = as_file(landscape(), "jpeg", progressive=True)
    bomb = encoded[:-2] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * 200 + b"\xff\xd9"
    with pytest.raises(ImageBroken, match="scans"):
        decode(bomb)
    with pytest.raises(ImageBroken, match="scans"):
        decode_frame(bomb, max_pixels=MANY_PX)


def test_scans_are_those_of_the_first_picture() -> None:
    encoded = as_file(landscape(), "jpeg", progressive=True)
    video = b"\xff\xda\x00\x08" * 500  # of a motion photo, say

    picture = decode(encoded + video)

    assert difference(picture.image, landscape()) < LOSSY_LEVELS
    assert decode_frame(encoded + video, max_pixels=MANY_PX).shape == landscape().shape


@pytest.mark.parametrize("filling", [b"\xff\xff\xff", b"\xff\x00\x11\xff\xd0"])
def test_no_filling_hides_scans(filling: bytes) -> None:
    encoded = as_file(landscape(), "jpeg", progressive=True)
    scan = filling + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    with pytest.raises(ImageBroken, match="scans"):
        decode(encoded[:-2] + scan * 200 + b"\xff\xd9")


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.2, 0.6, 0.95])
def test_a_file_that_is_cut_off_is_broken(image_format: ImageFormat, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    encoded = as_file(noise, image_format)
    with pytest.raises((ImageBroken, ImageUnsupported)):
        decode(encoded[: int(len(encoded) * share)])


def test_a_webp_wider_than_its_format_allows_is_refused_with_another_format() -> None:
    wide = Picture(np.zeros((1, 16_384, 3), np.uint8), None, None, "png")
    with pytest.raises(RequestInvalid, match=r"16383 pixels a side.*such as png"):
        encode_image(wide, "webp", quality=90)


@pytest.mark.parametrize(("width", "image_format"), [(65_501, "jpeg"), (16_384, "heic")])
def test_sizes_that_an_encoder_refuses_are_told(width: int, image_format: ImageFormat) -> None:
    thin = Picture(np.zeros((1, width, 3), np.uint8), None, None, "png")
    with pytest.raises(RequestInvalid, match="such as png"):
        encode_image(thin, image_format, quality=90)


def test_lower_quality_makes_fewer_bytes() -> None:
    picture = Picture(landscape(200, 200), None, None, "png")
    for image_format in ("jpeg", "webp"):
        sizes = [len(encode_image(picture, image_format, quality=q)) for q in (10, 60, 100)]
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[2]


def test_a_picture_that_is_a_crop_of_another_is_encoded() -> None:
    crop = landscape(64, 80)[:48, :64]
    encoded = encode_image(Picture(crop, None, None, "png"), "png", quality=1)
    assert difference(decode(encoded).image, np.array(crop)) == 0


SEEDS = [as_file(landscape(24, 32), image_format) for image_format in FORMATS] + [
    as_file(landscape(24, 32), "jpeg", progressive=True, icc_profile=profile_for(b"RGB ")),
    as_file(np.dstack((landscape(24, 32), landscape(24, 32)[..., 0])), "png"),
    as_file(landscape(24, 32), "tiff", compression="tiff_lzw"),
    as_file(Image.fromarray(landscape(24, 32)).quantize(16), "png", transparency=3),
]
DOCUMENTED = (ImageBroken, ImageUnsupported, ImageTooManyPixels)


def decode_both_ways(encoded: bytes) -> None:
    with contextlib.suppress(*DOCUMENTED):
        height, width, channels = decode(encoded).image.shape
        assert (height * width <= MANY_PX, channels) == (True, 3)
    with contextlib.suppress(*DOCUMENTED):
        height, width, channels = decode_frame(encoded, max_pixels=MANY_PX).shape
        assert (height * width <= MANY_PX, channels) == (True, 3)


@given(
    st.binary(max_size=200)
    | st.tuples(st.sampled_from([seed[:16] for seed in SEEDS]), st.binary(max_size=200)).map(
        b"".join
    )
)
def test_arbitrary_bytes_are_a_picture_or_a_documented_error(encoded: bytes) -> None:
    decode_both_ways(encoded)


@given(st.sampled_from(SEEDS), st.data())
def test_a_mutated_file_is_a_picture_or_a_documented_error(
    seed: bytes, data: st.DataObject
) -> None:
    encoded = bytearray(seed)
    # Most of what can go wrong is decided in the first bytes.
    where = st.integers(0, min(300, len(seed) - 1)) | st.integers(0, len(seed) - 1)
    for at, value in data.draw(st.lists(st.tuples(where, st.integers(0, 255)), max_size=8)):
        encoded[at] = value
    end = data.draw(st.integers(1, len(seed)) | st.just(len(seed)))
    decode_both_ways(bytes(encoded[:end]))
