"""Pictures in files <-> images. The limits are checked on the header, before anything is decoded.

With Pillow: JPEG, PNG, WebP, BMP, TIFF, AVIF and HEIC, told by their bytes. They come out
upright, as RGB of 8 bits, with the alpha channel beside them; a colour profile and what `metadata`
keeps are carried over to the output, and gray pictures are written as gray ones. What is converted
on the way (CMYK, palettes) is said in `Picture.warnings`. PNG and TIFF of 16 bits have them beside
the 8 that the network sees (`deep`), JPEGs their `gain_map`. Animations are refused.

Images are (H, W, 3) uint8 RGB, C-contiguous. Stream frames have a module of their own,
`frame_codec`.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from service.colour_tags import are_other_than_srgb
from service.deep import DEEP_FORMATS, DeepSamples, read_deep, shallow, write_deep
from service.errors import ImageBroken, ImageTooManyPixels, ImageUnsupported, RequestInvalid
from service.frame_codec import ImageArray, check_scans
from service.gain_map import GainMap, read_multi_picture, with_gain_map
from service.heif import bits_of, box_format, has_gain_map, is_boxed, open_boxes, save_boxes
from service.metadata import NO_METADATA, Metadata, metadata_of
from service.orientation import turned_upright
from service.tiff_pages import count_pages
from service.tiff_strips import deflated, on_exif
from service.xmp import is_of_motion_photo

__all__ = [
    "ALPHA_FORMATS",
    "ImageArray",
    "ImageFormat",
    "Picture",
    "decode_image",
    "encode_image",
    "is_deep",
    "picture_size",
    "sniff",
]

ImageFormat = Literal["jpeg", "png", "webp", "bmp", "tiff", "avif", "heic"]

ALPHA_FORMATS: frozenset[ImageFormat] = frozenset({"png", "webp", "tiff", "avif", "heic"})

_OPENERS: dict[ImageFormat, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    # The classes themselves and not Image.open: its bomb check is a process-wide variable and a
    # warning, ours a setting.
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
}
_MAX_SIDE_PX: dict[ImageFormat, int] = {
    "jpeg": 65_500,
    "webp": 16_383,
    "avif": 65_535,
    "heic": 16_384,
}
_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 322, 323
_TIFF_BITS, _TIFF_PHOTOMETRIC = 258, 262
_WHITE_IS_ZERO = 0
_UNKNOWN_TIFF = "unknown pixel mode"  # how Pillow says it
_MOST_COUNTED_PAGES = 1000
_TIFF_EXTRA_SAMPLES = 338
_ORIENTATION_TAG = 0x0112
_PNG_BITS_AT = 24
_SPACES = {"CMYK": b"CMYK", "LAB": b"Lab ", "L": b"GRAY", "RGB": b"RGB "}
_TOO_DEEP = (
    "The picture has samples of 32 bits or signed ones, which are not served. Save it with 8 or 16 "
    "bits per channel."
)
_GRAY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L")


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded upload.

    `image` is (H, W, 3) uint8 RGB, upright; `alpha` (H, W) uint8, not premultiplied, or None;
    `colour_profile` the ICC bytes that `image` is in, or None for sRGB; `format` is what it came
    in; `is_gray` whether its file has no colours; `warnings` what was not kept, to be shown; `deep`
    the same picture in 16 bits, and `gain_map` what makes it HDR, where its file has them and they
    were asked for.
    """

    image: ImageArray
    alpha: npt.NDArray[np.uint8] | None
    colour_profile: bytes | None
    format: ImageFormat
    metadata: Metadata = NO_METADATA
    is_gray: bool = False
    warnings: tuple[str, ...] = ()
    deep: DeepSamples | None = None
    gain_map: GainMap | None = None


def sniff(encoded: bytes) -> ImageFormat:
    """Tells the format by the first bytes.

    Raises:
        ImageUnsupported: None of them.
    """
    if encoded.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if encoded.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if encoded.startswith(b"RIFF") and encoded[8:12] == b"WEBP":
        return "webp"
    if encoded.startswith(b"BM"):
        return "bmp"
    if encoded.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "tiff"
    boxes = box_format(encoded)
    if boxes is not None:
        return boxes
    if encoded.startswith((b"GIF87a", b"GIF89a")):
        raise ImageUnsupported(
            "A GIF cannot be sharpened as a picture. Convert it to PNG; an animated one is a film, "
            "which `clearcall video` reads."
        )
    raise ImageUnsupported(
        "These bytes are not a JPEG, PNG, WebP, BMP, TIFF, AVIF or HEIC picture. Send one of these."
    )


def picture_size(encoded: bytes) -> tuple[int, int]:
    """Reads (height, width) in px from an upload's header, as stored: not turned, not decoded.

    Raises:
        ImageUnsupported: Not one of these formats.
        ImageBroken: The header is damaged.
    """
    file_format = sniff(encoded)
    if file_format == "webp":
        width, height = _webp_size(encoded)
        return height, width
    with _translated_errors():
        opened = _opened(encoded, file_format)
    return opened.height, opened.width


def is_deep(encoded: bytes) -> bool:
    """Whether the header says that its channels have 16 bits; nothing is decoded.

    Raises:
        ImageUnsupported: Not one of these formats.
        ImageBroken: The header is damaged.
    """
    file_format = sniff(encoded)
    if file_format not in DEEP_FORMATS:
        return False
    with _translated_errors():
        return _bits(_opened(encoded, file_format), encoded) == 16


def decode_image(
    encoded: bytes,
    *,
    max_pixels: int,
    is_alpha_kept: bool = True,
    is_place_kept: bool = True,
    is_depth_kept: bool = False,
    is_gain_map_kept: bool = False,
) -> Picture:
    """Decodes an upload.

    Args:
        encoded: The whole file.
        max_pixels: Most pixels that are decoded, in px.
        is_alpha_kept: Transparency comes out as `alpha`; otherwise it is flattened onto white.
        is_place_kept: Whether the metadata may say where the picture was taken.
        is_depth_kept: 16 bits per channel come out as `deep` too; otherwise a warning says that
            they became 8.
        is_gain_map_kept: Likewise a JPEG's HDR gain map, as `gain_map`.

    Raises:
        ImageUnsupported: Not one of these formats, or of a sample type that is not served.
        ImageTooManyPixels: The header announces more than `max_pixels`.
        ImageBroken: Damaged, cut off, or with no pixels at all.
    """
    file_format = sniff(encoded)
    if file_format == "jpeg":
        check_scans(encoded)
    if file_format == "webp":  # Pillow makes room for the whole picture when it opens one
        _check_pixels(_webp_size(encoded), max_pixels)
    with _translated_errors():
        opened = _opened(encoded, file_format)
    _check_announced_size(opened, max_pixels)
    with _translated_errors():
        _refuse_animation(opened)
        if _bits(opened, encoded) > 16:
            raise ImageUnsupported(_TOO_DEEP)
        opened.load()
        mode = opened.mode
        key: Any = opened.info.get("transparency")
        if file_format == "png" and mode == "L" and isinstance(key, int):
            # Pillow scales samples of 2 and 4 bits to 8, but not the one that is transparent.
            opened.info["transparency"] = key * 255 // ((1 << _bits(opened, encoded)) - 1)
        deep = _deep(opened, encoded) if is_depth_kept else None
        warnings = _conversions(opened, encoded, is_depth_kept=deep is not None)
        gain_map: GainMap | None = None
        said: tuple[str, ...] = ()
        if file_format == "jpeg":
            gain_map, said = _gain_map(
                opened, encoded, is_kept=is_gain_map_kept, max_pixels=max_pixels
            )
        exif_block = opened.info.get("exif")
        upright = _upright(opened)
        profile = _icc_profile(upright)
        spaces = (b"RGB ", b"GRAY") if mode in _GRAY_MODES else (b"RGB ",)
        metadata = metadata_of(upright, encoded, exif_block)
        metadata = _announcing(metadata, gain_map)
        if not is_place_kept:
            metadata = metadata.without_place()
        if deep is None:
            rgb, alpha = _split(upright, profile)
            if alpha is not None and not is_alpha_kept:
                rgb, alpha = _flatten(rgb, alpha), None
            image, opacity = np.array(rgb), None if alpha is None else np.array(alpha)
        else:
            if deep.alpha is not None and not is_alpha_kept:
                deep = _flattened(deep)
            image = shallow(deep.image)
            opacity = None if deep.alpha is None else shallow(deep.alpha)
        return Picture(
            image=image,
            alpha=opacity,
            colour_profile=profile if _profile_space(profile) in spaces else None,
            format=file_format,
            metadata=metadata,
            is_gray=mode in _GRAY_MODES,
            warnings=warnings + said,
            deep=deep,
            gain_map=gain_map,
        )


def encode_image(picture: Picture, image_format: ImageFormat, *, quality: int) -> bytes:
    """Encodes a picture, with alpha channel, profile and metadata where the format has room.

    Args:
        picture: What to encode; alpha must have been flattened for a format without. `deep` is
            written instead of `image`, where there is one and PNG or TIFF is asked for.
        image_format: The output format.
        quality: Of JPEG and WebP, 1 to 100. PNG, BMP and TIFF are lossless.

    Raises:
        RequestInvalid: The format cannot hold a picture of this size.
    """
    assert picture.alpha is None or image_format in ALPHA_FORMATS, "flatten before encoding"
    height, width = picture.image.shape[:2]
    limit = _MAX_SIDE_PX.get(image_format)
    if limit is not None and max(height, width) > limit:
        raise RequestInvalid(
            f"The picture is {width}x{height}, and {image_format} holds at most {limit} pixels a "
            "side. Ask for another format, such as png."
        )
    is_written_gray = picture.is_gray and image_format != "webp"  # WebP has colours always
    profile = picture.colour_profile
    is_profile_kept = image_format != "bmp" and (
        is_written_gray or _profile_space(profile) == b"RGB "
    )
    options = _save_options(image_format, quality, profile if is_profile_kept else None)
    options |= picture.metadata.save_options(image_format, (height, width))
    if picture.deep is not None and image_format in DEEP_FORMATS:
        if picture.deep.alpha is not None and _profile_space(profile) == b"GRAY":
            options.pop("icc_profile", None)  # gray with alpha is written as colours there
        written = write_deep(picture.deep, image_format, is_gray=picture.is_gray, **options)
        return _finished_tiff(written, picture) if image_format == "tiff" else written
    image = Image.fromarray(picture.image)
    if picture.is_gray:
        image = image.convert("L").convert("RGB")  # what a student adds may have a tint
    if profile is not None and not is_profile_kept:
        is_of_gray = _profile_space(profile) == b"GRAY"
        image = _managed_rgb(image.convert("L") if is_of_gray else image, profile) or image
    if is_written_gray:
        image = image.convert("L")
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    if is_boxed(image_format):
        return save_boxes(image, image_format, **options)
    out = io.BytesIO()
    image.save(out, format=image_format, **options)
    if picture.gain_map is not None and image_format == "jpeg":
        return with_gain_map(out.getvalue(), picture.gain_map)
    return _finished_tiff(out.getvalue(), picture) if image_format == "tiff" else out.getvalue()


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """Turns whatever a decoder raises into ImageBroken, and lets our own errors through."""
    try:
        yield
    except (ImageBroken, ImageUnsupported):
        raise
    except Exception as exc:
        # Damaged files make Pillow fail in an open set of ways (OSError, SyntaxError, ValueError,
        # struct.error, zlib.error, KeyError, ...): whatever it is, it is the file's fault here.
        raise ImageBroken("The picture is damaged or cut off and cannot be decoded.") from exc


def _opened(encoded: bytes, file_format: ImageFormat) -> ImageFile.ImageFile:
    if is_boxed(file_format):
        return open_boxes(encoded, file_format)
    try:
        return _OPENERS[file_format](io.BytesIO(encoded))
    except SyntaxError as exc:
        if str(exc) != _UNKNOWN_TIFF:
            raise
        raise ImageUnsupported(
            "The TIFF keeps its samples in a way that is not served, such as colours of 32 bits. "
            "Save it as RGB with 8 or 16 bits per channel."
        ) from exc


def _check_announced_size(opened: ImageFile.ImageFile, max_pixels: int) -> None:
    _check_pixels(opened.size, max_pixels)
    if min(opened.size) < 1:
        raise ImageBroken("The picture has no pixels.")
    if isinstance(opened, TiffImagePlugin.TiffImageFile):
        # A tile is decoded whole, however small the picture is.
        tile_px = opened.tag_v2.get(_TIFF_TILE_WIDTH, 0), opened.tag_v2.get(_TIFF_TILE_LENGTH, 0)
        _check_pixels(tile_px, max_pixels)


def _check_pixels(size_px: tuple[int, int], max_pixels: int) -> None:
    """`size_px` is (width, height), as Pillow has it."""
    width, height = size_px
    if width * height > max_pixels:
        raise ImageTooManyPixels(height=height, width=width, limit_px=max_pixels)


def _webp_size(encoded: bytes) -> tuple[int, int]:
    """(width, height) in px from a WebP's first chunk: lossy, lossless or extended."""
    start = encoded[12:30].ljust(18, b"\0")
    match start[:4]:
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", start, 14)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            bits = int.from_bytes(start[9:13], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            width, height = start[12:15], start[15:18]
            return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    raise ImageBroken("The WebP file is damaged: it does not start with a picture.")


def _refuse_animation(opened: ImageFile.ImageFile) -> None:
    """Of a TIFF's or HEIC's pages the first is taken, which a warning says."""
    if opened.format in ("TIFF", "HEIF"):
        return
    frames = getattr(opened, "n_frames", 1)
    if frames > 1:
        # Of WebP's FFmpeg decodes none.
        video = "" if opened.format == "WEBP" else "convert it to a video (clearcall video), or "
        advice = f"{video}send its pictures one by one."
        raise ImageUnsupported(
            f"This is an animation of {frames} pictures, and only single ones are served: {advice}"
        )


def _conversions(
    opened: ImageFile.ImageFile, encoded: bytes, *, is_depth_kept: bool
) -> tuple[str, ...]:
    """What a picture loses on the way into RGB of 8 bits, one sentence each."""
    said = []
    if opened.mode in ("CMYK", "LAB"):
        said.append(f"Converted from {opened.mode} to RGB.")
    if opened.mode in ("P", "PA"):
        said.append("Its palette was converted to full colours.")
    bits = _bits(opened, encoded)
    if bits > 8 and not is_depth_kept:
        said.append(f"Its {bits} bits per channel became 8.")
    if box_format(encoded) is not None and has_gain_map(encoded):
        said.append("Its HDR gain map was not kept.")
    if _icc_profile(opened) is None and are_other_than_srgb(opened, encoded):
        said.append("Its colours are not sRGB's, and no profile says so: they may look different.")
    if isinstance(opened, TiffImagePlugin.TiffImageFile):  # Pillow counts them in quadratic time
        pages = count_pages(encoded, _MOST_COUNTED_PAGES)
    else:
        pages = getattr(opened, "n_frames", 1)
    if pages > 1:
        counted = f"{pages} or more" if pages == _MOST_COUNTED_PAGES else f"{pages}"
        said.append(f"Only the first of its {counted} pages was taken.")
    return tuple(said)


def _bits(opened: ImageFile.ImageFile, encoded: bytes) -> int:
    """Per channel, in the file."""
    bits: Any = 8
    if isinstance(opened, PngImagePlugin.PngImageFile):
        bits = encoded[_PNG_BITS_AT]
    elif isinstance(opened, TiffImagePlugin.TiffImageFile):
        bits = opened.tag_v2.get(_TIFF_BITS, 8)
    elif box_format(encoded) is not None:
        bits = bits_of(encoded)
    return int(max(bits) if isinstance(bits, tuple) else bits)


def _deep(loaded: ImageFile.ImageFile, encoded: bytes) -> DeepSamples | None:
    """The 16 bits of a file that has them, upright; None where they cannot be had."""
    if _bits(loaded, encoded) != 16:
        return None
    if isinstance(loaded, TiffImagePlugin.TiffImageFile):
        is_premultiplied = 1 in _as_tuple(loaded.tag_v2.get(_TIFF_EXTRA_SAMPLES, ()))
        orientation = 1  # Pillow and OpenCV both turn it when they read it
    else:
        is_premultiplied, orientation = False, _orientation_of(loaded)
    if loaded.mode.startswith("I"):
        gray = _deep_gray(loaded)
        if gray.min() < 0 or gray.max() > 65_535:
            return None
        gray = gray.astype(np.uint16)
        key: Any = loaded.info.get("transparency")
        hidden = np.where(gray == key, 0, 65_535) if isinstance(key, int) else None
        deep = DeepSamples(
            np.repeat(gray[..., None], 3, axis=2),
            None if hidden is None else hidden.astype(np.uint16),
        )
    elif loaded.mode in ("RGB", "RGBA", "LA"):
        read = read_deep(encoded, loaded, is_premultiplied=is_premultiplied)
        if read is None:
            return None
        deep = read
    else:
        return None
    return DeepSamples(
        turned_upright(deep.image, orientation),
        None if deep.alpha is None else turned_upright(deep.alpha, orientation),
    )


def _gain_map(
    opened: ImageFile.ImageFile, encoded: bytes, *, is_kept: bool, max_pixels: int
) -> tuple[GainMap | None, tuple[str, ...]]:
    """The HDR gain map of a JPEG, turned as the picture will be; and what behind it is not kept."""
    found, said = read_multi_picture(encoded), []
    if found.others:
        said.append(f"Only the first of its pictures was taken; {found.others} more not kept.")
    xmp = opened.info.get("xmp", b"")
    if isinstance(xmp, bytes) and is_of_motion_photo(xmp):
        said.append("Its motion photo's video was not kept.")
    gain_map = found.gain_map
    if gain_map is not None:
        gain_map = gain_map.without_exif().turned(_orientation_of(opened), max_pixels=max_pixels)
        if gain_map is None or not is_kept:
            said.append("Its HDR gain map was not kept.")
            gain_map = None
    return gain_map, tuple(said)


def _announcing(metadata: Metadata, gain_map: GainMap | None) -> Metadata:
    """XMP that announces the gain map that is there, or none."""
    if gain_map is None:
        return metadata.without_gain_map()
    if metadata.xmp is None:
        return metadata
    return replace(metadata, xmp=gain_map.announced(metadata.xmp))


def _flattened(deep: DeepSamples) -> DeepSamples:
    assert deep.alpha is not None
    opacity = deep.alpha[..., None].astype(np.float32) / 65_535
    white = deep.image * opacity + 65_535 * (1 - opacity)
    return DeepSamples(np.round(white).astype(np.uint16), None)


def _orientation_of(opened: ImageFile.ImageFile) -> Any:
    """As its EXIF says; 1 where that is damaged."""
    with contextlib.suppress(Exception):
        return opened.getexif().get(_ORIENTATION_TAG, 1)
    return 1


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _upright(opened: Image.Image) -> Image.Image:
    """Applies the EXIF orientation and takes it out, so that nothing turns it a second time."""
    # A damaged EXIF block must not cost a picture whose pixels are sound.
    with contextlib.suppress(Exception):
        # Without `in_place` it copies pictures that are upright already.
        ImageOps.exif_transpose(opened, in_place=True)
    return opened


def _split(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, Image.Image | None]:
    """Any mode of Pillow -> RGB, and the alpha channel where there is transparency."""
    if image.mode.startswith("I") or image.mode == "F":
        return _split_deep_gray(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return rgba.convert("RGB"), rgba.getchannel("A")
    if image.mode == "RGB":
        return image, None
    if image.mode in ("CMYK", "LAB"):
        return _managed_rgb(image, profile) or image.convert("RGB"), None
    return image.convert("RGB"), None


def _split_deep_gray(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Gray of 16 bits -> RGB of 8 bits: 65535 / 257 = 255. Pillow itself would clip it at 255."""
    values = _deep_gray(image)
    if image.mode == "F" or (image.mode == "I" and (values.min() < 0 or values.max() > 65_535)):
        raise ImageUnsupported(_TOO_DEEP)
    gray = Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
    key: Any = image.info.get("transparency")  # PNG: the one gray value that is transparent
    alpha = (
        Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
        if isinstance(key, int)
        else None
    )
    return gray.convert("RGB"), alpha


def _deep_gray(image: Image.Image) -> npt.NDArray[Any]:
    """(H, W): 0 is black, and white 65535 where the file has integers of 16 bits or fewer."""
    values: Any = np.asarray(image)
    if image.mode.startswith("I;16") and isinstance(image, TiffImagePlugin.TiffImageFile):
        # Of a TIFF Pillow gives what is stored: 12 bits unscaled, white as 0 where it is that.
        white = (1 << int(_as_tuple(image.tag_v2.get(_TIFF_BITS, 16))[0])) - 1
        if white != 65_535:
            values = ((values.astype(np.uint32) * 65_535 + white // 2) // white).astype(np.uint16)
        if image.tag_v2.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
            values = 65_535 - values
    return values  # type: ignore[no-any-return]


def _managed_rgb(image: Image.Image, profile: bytes | None) -> Image.Image | None:
    """A picture in the colours of its profile -> sRGB; None where there is no way."""
    if profile is None or _profile_space(profile) != _SPACES.get(image.mode):
        return None
    try:
        source = ImageCms.getOpenProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (
        ImageCms.PyCMSError,
        OSError,
        ValueError,
    ):  # a profile that cannot be used: the plain formula instead
        return None


def _flatten(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    white = Image.new("RGB", rgb.size, "white")
    white.paste(rgb, mask=alpha)
    return white


def _icc_profile(image: Image.Image) -> bytes | None:
    profile = image.info.get("icc_profile")
    is_sound = isinstance(profile, bytes) and len(profile) >= 128 and profile[36:40] == b"acsp"
    return profile if is_sound else None


def _profile_space(profile: bytes | None) -> bytes | None:
    return None if profile is None else profile[16:20]


def _save_options(image_format: ImageFormat, quality: int, profile: bytes | None) -> dict[str, Any]:
    match image_format:
        case "jpeg":
            # Halved chroma would blur the colour edges that were just sharpened; at low quality
            # size matters more.
            options: dict[str, Any] = {"quality": quality, "subsampling": 0 if quality >= 90 else 2}
        case "webp" | "avif" | "heic":
            options = {"quality": quality}
        case "png":
            options = {"compress_level": 4}  # 1-8 % larger than the default 6, about twice as fast
        case "tiff":
            options = {"compression": "tiff_adobe_deflate"}
        case "bmp":
            return {}
    return options | ({"icc_profile": profile} if profile else {})


def _finished_tiff(tiff: bytes, picture: Picture) -> bytes:
    exif = picture.metadata.exif_for(picture.image.shape[:2])
    return deflated(tiff) if exif is None else on_exif(tiff, exif)
