"""service.codec: every accepted format, what a picture may carry, the limits, and damaged files."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from service import codec
from service.codec import (
    ALPHA_FORMATS,
    ImageFormat,
    Picture,
    decode_frame,
    decode_image,
    encode_frame,
    encode_image,
    jpeg_size,
    sniff,
)
from service.errors import (
    ImageBroken,
    ImageTooManyPixels,
    ImageUnsupported,
    RequestInvalid,
)
from service.frames import FrameFormat
from tests.service.pictures import as_file, difference, jpeg_frame, landscape

FORMATS: tuple[ImageFormat, ...] = ("jpeg", "png", "webp", "bmp", "tiff")
LOSSLESS: tuple[ImageFormat, ...] = ("png", "bmp", "tiff")
MANY_PX = 1_000_000
ORIENTATION_TAG = 0x0112
# JPEG and WebP halve the resolution of colour, which the landscape has little of.
LOSSY_LEVELS = 4.0


@pytest.fixture(params=["simplejpeg", "opencv"])
def each_binding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs with the fast binding, and as on a platform that has none."""
    if request.param == "opencv":
        monkeypatch.setattr(codec, "simplejpeg", None)


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


def two_pictures(image_format: ImageFormat) -> bytes:
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    return as_file(first, image_format, save_all=True, append_images=[second])


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_animations_are_refused(image_format: ImageFormat) -> None:
    with pytest.raises(ImageUnsupported, match="animation of 2 pictures"):
        decode(two_pictures(image_format))


def test_of_a_tiff_the_first_page_is_taken_and_that_is_said() -> None:
    picture = decode(two_pictures("tiff"))
    assert picture.image[0, 0].tolist() == [255, 0, 0]
    assert picture.warnings == ("Only the first of its 2 pages was taken.",)


def test_of_a_multi_picture_jpeg_the_first_picture_is_taken() -> None:
    encoded = as_file(landscape(), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48))])
    picture = decode(encoded)
    assert picture.format == "jpeg"
    assert difference(picture.image, landscape()) < LOSSY_LEVELS


def with_announced_size(image_format: ImageFormat, width: int, height: int) -> bytes:
    """A small file whose header lies."""
    encoded = bytearray(as_file(landscape(), image_format))
    match image_format:
        case "jpeg":
            at = encoded.index(b"\xff\xc0")
            encoded[at + 5 : at + 9] = struct.pack(">HH", height, width)
        case "png":
            encoded[16:24] = struct.pack(">II", width, height)
            encoded[29:33] = struct.pack(">I", zlib.crc32(encoded[12:29]))
        case "bmp":
            encoded[18:26] = struct.pack("<ii", width, height)
        case "webp":
            encoded[26:30] = struct.pack("<HH", width, height)
        case "tiff":
            for tag, value in ((256, width), (257, height)):
                at = encoded.index(struct.pack("<HHI", tag, 4, 1)) + 8
                encoded[at : at + 4] = struct.pack("<I", value)
    return bytes(encoded)


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


def test_lower_quality_makes_fewer_bytes() -> None:
    picture = Picture(landscape(200, 200), None, None, "png")
    for image_format in ("jpeg", "webp"):
        sizes = [len(encode_image(picture, image_format, quality=q)) for q in (10, 60, 100)]
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[2]


@pytest.mark.usefixtures("each_binding")
def test_a_frame_is_decoded_as_rgb() -> None:
    image = decode_frame(jpeg_frame(), max_pixels=MANY_PX)
    assert difference(image, landscape()) < LOSSY_LEVELS
    assert image.flags.c_contiguous


@pytest.mark.usefixtures("each_binding")
@pytest.mark.parametrize("frame_format", get_args(FrameFormat))
def test_a_frame_is_encoded_as_rgb_in_each_format(frame_format: FrameFormat) -> None:
    encoded = encode_frame(landscape(), frame_format, quality=90)
    assert sniff(encoded) == frame_format
    assert difference(decode(encoded).image, landscape()) < LOSSY_LEVELS


def test_an_image_that_is_a_crop_of_another_is_encoded() -> None:
    crop = landscape(64, 80)[:48, :64]
    jpeg = decode(encode_frame(crop, "jpeg", quality=90)).image
    assert difference(jpeg, np.array(crop)) < LOSSY_LEVELS
    assert difference(decode(encode_frame(crop, "png", quality=90)).image, np.array(crop)) == 0
    assert (
        difference(
            decode(encode_image(Picture(crop, None, None, "png"), "png", quality=1)).image,
            np.array(crop),
        )
        == 0
    )


@pytest.mark.usefixtures("each_binding")
def test_gray_and_cmyk_jpegs_are_frames() -> None:
    gray = as_file(Image.fromarray(landscape()).convert("L"), "jpeg")
    assert decode_frame(gray, max_pixels=MANY_PX).shape == (48, 64, 3)
    red = as_file(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "jpeg")
    assert decode_frame(red, max_pixels=MANY_PX)[8, 8].tolist() == pytest.approx(
        [255, 0, 0], abs=12
    )


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": b"Exif\0\0" + bytes(500)}])
def test_the_size_of_a_jpeg_is_read_from_its_header(options: dict[str, Any]) -> None:
    assert jpeg_size(as_file(landscape(), "jpeg", **options)) == (48, 64)


def test_fill_bytes_and_markers_without_length_are_skipped_on_the_way_to_the_size() -> None:
    encoded = jpeg_frame()
    assert jpeg_size(encoded[:2] + b"\xff\xff\xff\x01\xff\xd0" + encoded[2:]) == (48, 64)


@pytest.mark.parametrize(
    "encoded",
    [
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xda\x00\x08",
        b"\xff\xd8\xff\xe0\x00\x00" * 3,
        b"\xff\xd8\xff\xe0\xff\xff",
        jpeg_frame()[:100],
    ],
)
def test_a_jpeg_without_a_frame_header_is_broken(encoded: bytes) -> None:
    with pytest.raises(ImageBroken, match="no frame header"):
        jpeg_size(encoded)


def test_a_frame_that_is_no_jpeg_is_unsupported() -> None:
    with pytest.raises(ImageUnsupported):
        decode_frame(as_file(landscape(), "png"), max_pixels=MANY_PX)


@pytest.mark.usefixtures("each_binding")
def test_too_many_pixels_in_a_frame_are_refused_from_the_header_alone() -> None:
    with pytest.raises(ImageTooManyPixels):
        decode_frame(with_announced_size("jpeg", 65_535, 65_535), max_pixels=8_300_000)
    with pytest.raises(ImageTooManyPixels):
        decode_frame(jpeg_frame(), max_pixels=48 * 64 - 1)
    assert decode_frame(jpeg_frame(), max_pixels=48 * 64).shape == (48, 64, 3)


@pytest.mark.usefixtures("each_binding")
def test_a_frame_whose_header_lies_about_its_size_is_broken_or_decoded_at_that_size() -> None:
    try:
        image = decode_frame(with_announced_size("jpeg", 640, 480), max_pixels=MANY_PX)
    except ImageBroken:
        return
    assert image.shape == (480, 640, 3)


@pytest.mark.usefixtures("each_binding")
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95, 0.99])
def test_a_frame_that_is_cut_off_is_broken(share: float) -> None:
    encoded = jpeg_frame(240, 320)
    with pytest.raises(ImageBroken):
        decode_frame(encoded[: int(len(encoded) * share)], max_pixels=MANY_PX)


@pytest.mark.usefixtures("each_binding")
def test_padding_after_a_frame_is_no_damage() -> None:
    assert decode_frame(jpeg_frame() + bytes(64), max_pixels=MANY_PX).shape == (48, 64, 3)


@pytest.mark.usefixtures("each_binding")
@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"subsampling": 1}])
def test_a_frame_may_be_progressive_and_its_chroma_of_any_size(options: dict[str, Any]) -> None:
    encoded = as_file(landscape(), "jpeg", quality=90, **options)
    assert difference(decode_frame(encoded, max_pixels=MANY_PX), landscape()) < LOSSY_LEVELS


def test_a_frame_with_a_piece_missing_in_the_middle_is_broken_and_says_why() -> None:
    encoded = jpeg_frame(240, 320)
    with pytest.raises(ImageBroken, match="Corrupt JPEG data"):
        decode_frame(encoded[:4000] + encoded[6000:], max_pixels=MANY_PX)


def test_a_kind_of_jpeg_that_the_fast_binding_refuses_is_decoded_by_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("tjDecompressHeader3(): Could not determine subsampling level")

    monkeypatch.setattr("service.codec.simplejpeg.decode_jpeg", refuse)
    image = decode_frame(jpeg_frame(), max_pixels=MANY_PX)
    assert difference(image, landscape()) < LOSSY_LEVELS


def test_both_bindings_decode_and_encode_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = decode_frame(jpeg_frame(), max_pixels=MANY_PX)
    encoded = encode_frame(landscape(), "jpeg", quality=80)
    monkeypatch.setattr(codec, "simplejpeg", None)
    assert difference(decode_frame(jpeg_frame(), max_pixels=MANY_PX), fast) <= 1
    other = encode_frame(landscape(), "jpeg", quality=80)
    assert difference(decode(other).image, decode(encoded).image) <= 1
    assert len(other) == pytest.approx(len(encoded), rel=0.05)


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
