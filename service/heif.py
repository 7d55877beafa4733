"""AVIF and HEIC: pictures in boxes (ISO base media). Pillow has AVIF, the extra `heic` the other.

Their profile and metadata are where those of other formats are; rotation is applied by the readers
or said in EXIF, so that both come out upright in the one way that codec has.
"""

from __future__ import annotations

import io
from typing import Any, Literal, TypeGuard

from PIL import Image, ImageFile, features

from service.errors import ImageUnsupported, RequestInvalid

__all__ = [
    "BoxFormat",
    "bits_of",
    "box_format",
    "has_gain_map",
    "is_boxed",
    "open_boxes",
    "save_boxes",
]

BoxFormat = Literal["avif", "heic"]

_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
_X265_PRESET = "veryfast"  # x265's "slow", the default, takes twice as long for the same picture
_HEIC_CHROMA = 420  # phones decode no other
_COLOURS = b"colrnclx"
_HEAD_BYTES = 1 << 16  # in which the descriptions of pictures lie
_MOST_BRANDS_BYTES = 256
_GAIN_MAP_SIGNS = (b"hdrgainmap", b"tmap")


def is_boxed(image_format: str) -> TypeGuard[BoxFormat]:
    """Whether it is one of the two."""
    return image_format in ("avif", "heic")


def box_format(encoded: bytes) -> BoxFormat | None:
    """AVIF or HEIC, by the brands that a file names; None where it is neither."""
    if encoded[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(encoded[:4], "big"), len(encoded), _MOST_BRANDS_BYTES)
    brands = {encoded[at : at + 4] for at in (8, *range(16, end, 4))}
    if not brands.isdisjoint(_AVIF_BRANDS):
        return "avif"
    return "heic" if not brands.isdisjoint(_HEIC_BRANDS) else None


def open_boxes(encoded: bytes, image_format: BoxFormat) -> ImageFile.ImageFile:
    """Reads the header.

    Raises:
        ImageUnsupported: This machine cannot read the format.
        Exception: It is damaged, in whatever way the reader says so.
    """
    if image_format == "avif":
        _check_avif()
        from PIL import AvifImagePlugin

        return AvifImagePlugin.AvifImageFile(io.BytesIO(encoded))
    opened: ImageFile.ImageFile = _heif().as_plugin.HeifImageFile(io.BytesIO(encoded))
    return opened


def save_boxes(
    image: Image.Image, image_format: BoxFormat, *, quality: int, **options: Any
) -> bytes:
    """Encodes a picture; `options` are `icc_profile`, `exif` and `xmp`, as Pillow has them.

    Raises:
        ImageUnsupported: This machine cannot write the format.
        RequestInvalid: HEIC's encoder takes no picture of this size.
    """
    out = io.BytesIO()
    if image_format == "avif":
        _check_avif()
        subsampling = "4:0:0" if image.mode in ("L", "LA") else _subsampling(quality)
        image.save(out, "avif", quality=quality, subsampling=subsampling, **options)
        return out.getvalue()
    heif = _heif()
    profile = options.pop("icc_profile", None)
    if profile:
        image.info["icc_profile"] = profile
    encoder = {"preset": _X265_PRESET}
    try:
        heif.from_pillow(image).save(
            out, quality=quality, chroma=_HEIC_CHROMA, enc_params=encoder, **options
        )
    except RuntimeError as exc:  # x265 has no level for what is very long and thin
        raise RequestInvalid(
            f"HEIC's encoder takes no picture of {image.width}x{image.height} ({exc}). Ask for "
            "another format, such as png."
        ) from exc
    return out.getvalue()


def bits_of(encoded: bytes) -> int:
    """Most bits per channel that a file's decoders are told of."""
    head, deepest = encoded[:_HEAD_BYTES], 8
    at = head.find(b"av1C")
    while 0 <= at < len(head) - 8:
        is_high, is_twelve = head[at + 6] & 0x40, head[at + 6] & 0x20
        deepest = max(deepest, 12 if is_high and is_twelve else 10 if is_high else 8)
        at = head.find(b"av1C", at + 4)
    at = head.find(b"hvcC")
    while 0 <= at < len(head) - 24:
        deepest = max(deepest, 8 + (head[at + 4 + 17] & 7))
        at = head.find(b"hvcC", at + 4)
    return deepest


def colours_of(encoded: bytes) -> tuple[int, int] | None:
    """Primaries and curve of a file that has them as numbers (ITU-T H.273)."""
    head = encoded[:_HEAD_BYTES]
    at = head.find(_COLOURS)
    numbers = head[at + len(_COLOURS) :][:4]
    if at < 0 or len(numbers) < 4:
        return None
    return int.from_bytes(numbers[:2], "big"), int.from_bytes(numbers[2:], "big")


def has_gain_map(encoded: bytes) -> bool:
    """Whether an HDR gain map is described in it."""
    return any(sign in encoded[:_HEAD_BYTES] for sign in _GAIN_MAP_SIGNS)


def _subsampling(quality: int) -> str:
    """As for JPEG: halved chroma would blur the colour edges that were just sharpened."""
    return "4:4:4" if quality >= 90 else "4:2:0"


def _check_avif() -> None:
    if not features.check("avif"):
        raise ImageUnsupported(
            "This machine's Pillow cannot read or write AVIF: pip install -U 'pillow>=11.3'. Or "
            "take another format, such as png."
        )


def _heif() -> Any:
    try:
        import pillow_heif
        import pillow_heif.as_plugin
    except ImportError:
        raise ImageUnsupported(
            "HEIC needs an extra that is not installed: pip install 'clearcall[heic]'. Or take "
            "another format, such as jpeg."
        ) from None
    return pillow_heif
