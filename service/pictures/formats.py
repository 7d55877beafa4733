"""The picture formats: how each is told by its bytes and its file name, and what it can hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, get_args

from service.errors import ImageUnsupported

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "FormatFacts",
    "ImageFormat",
    "facts_of",
    "format_of_name",
    "media_type",
    "sniff",
]

ImageFormat = Literal["jpeg", "png", "webp", "bmp", "tiff", "gif", "avif", "heic"]
FORMATS: tuple[ImageFormat, ...] = get_args(ImageFormat)

SUFFIXES: dict[str, ImageFormat] = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".png": "png",
    ".apng": "png",
    ".webp": "webp",
    ".bmp": "bmp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".gif": "gif",
    ".avif": "avif",
    ".heic": "heic",
    ".heif": "heic",
}
_AVIF_BRANDS = (b"avif", b"avis")
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


@dataclass(frozen=True, slots=True)
class FormatFacts:
    """What a format can hold, as Clearcall writes it.

    `max_side_px` is None where no picture that Clearcall accepts is too long for it.
    """

    has_alpha: bool = True
    has_16_bits: bool = False
    has_gray: bool = False
    has_frames: bool = False
    has_profile: bool = True
    is_lossy: bool = False
    max_side_px: int | None = None


_FACTS: dict[ImageFormat, FormatFacts] = {
    "jpeg": FormatFacts(has_alpha=False, has_gray=True, is_lossy=True, max_side_px=65_500),
    "png": FormatFacts(has_16_bits=True, has_gray=True, has_frames=True),
    "webp": FormatFacts(has_frames=True, is_lossy=True, max_side_px=16_383),
    "bmp": FormatFacts(has_alpha=False, has_gray=True, has_profile=False),
    "tiff": FormatFacts(has_16_bits=True, has_gray=True),
    "gif": FormatFacts(has_frames=True, has_profile=False, max_side_px=65_535),
    "avif": FormatFacts(has_frames=True, is_lossy=True, max_side_px=65_535),
    "heic": FormatFacts(is_lossy=True, max_side_px=16_384),
}


def facts_of(image_format: ImageFormat) -> FormatFacts:
    """What a format can hold."""
    return _FACTS[image_format]


def media_type(image_format: ImageFormat) -> str:
    """As in a Content-Type header."""
    return f"image/{image_format}"


def format_of_name(name: str | PurePath) -> ImageFormat | None:
    """The format that a file name's suffix stands for, if any."""
    return SUFFIXES.get(PurePath(name).suffix.lower())


def sniff(encoded: bytes) -> ImageFormat:
    """Tells the format by the first bytes.

    Raises:
        ImageUnsupported: None of these formats.
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
    if encoded.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if encoded[4:8] == b"ftyp":
        brands = {encoded[at : at + 4] for at in (8, *range(16, _brands_end(encoded), 4))}
        if not brands.isdisjoint(_AVIF_BRANDS):
            return "avif"
        if not brands.isdisjoint(_HEIC_BRANDS):
            return "heic"
    raise ImageUnsupported(
        "These bytes are not a JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or HEIC picture. Send one of "
        "these."
    )


def _brands_end(encoded: bytes) -> int:
    return min(int.from_bytes(encoded[:4], "big"), len(encoded), 256)
