"""What a picture carries beside its pixels and its colour profile: EXIF, XMP and resolution.

The orientation is not kept, since pictures come out upright, nor is a thumbnail, which would show
the picture before, nor anything that describes how the old file stored its pixels.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, replace
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

__all__ = ["NO_METADATA", "Metadata", "metadata_of"]

_PNG_XMP = "XML:com.adobe.xmp"
_TIFF_XMP = 700
_GPS = int(ExifTags.IFD.GPSInfo)
_EXIF_IFD = int(ExifTags.IFD.Exif)
_WIDTH, _HEIGHT = 0xA002, 0xA003  # of the picture, in the Exif IFD
# How a TIFF stores its pixels, its orientation, and blocks that are kept elsewhere or not at all.
_STRUCTURE = frozenset(
    (
        *range(254, 260),
        *(262, 263, 266, 273, 274, 277, 278, 279, 280, 281, 284, *range(288, 294), 297, 301),
        *(317, 318, 319, *range(320, 326), 330, *range(332, 337), 338, 339, 340, 341, 342, 347),
        *(*range(512, 522), *range(529, 533), 700, 33723, 34377, 34675, 37724, 50341),
    )
)
_XMP_PLACE = re.compile(
    rb"""\s(?:exif:GPS\w+|photoshop:(?:City|State|Country)|Iptc4xmpCore:Location)\s*=\s*(?:"[^"]*"|'[^']*')"""
    rb"""|<(exif:GPS\w+|photoshop:(?:City|State|Country)|Iptc4xmpCore:Location|Iptc4xmpExt:Location\w+)\b[^>]*>.*?</\1>""",
    re.DOTALL,
)
# An HDR gain map lies behind a JPEG's picture and is not kept: what is left must not announce one.
_XMP_GAIN_MAP = re.compile(rb"""\shdrgm:\w+\s*=\s*(?:"[^"]*"|'[^']*')""")
_MOST_BYTES = {"jpeg": 65_500}  # a marker segment's


@dataclass(frozen=True, slots=True)
class Metadata:
    """`exif` is a TIFF block after `Exif\\0\\0`, `xmp` a packet, `dpi` across and down."""

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None

    def without_place(self) -> Metadata:
        """Without what says where the picture was taken."""
        exif = None if self.exif is None else _edited(self.exif, lambda block: block.pop(_GPS, 0))
        xmp = None if self.xmp is None else _XMP_PLACE.sub(b"", self.xmp)
        return replace(self, exif=exif, xmp=xmp)

    def save_options(self, image_format: str, size_px: tuple[int, int]) -> dict[str, Any]:
        """Arguments of Pillow's `save`, for a picture of this (height, width)."""
        options: dict[str, Any] = {}
        if self.dpi and image_format != "webp":
            options["dpi"] = self.dpi
        if image_format == "bmp":
            return options
        limit = _MOST_BYTES.get(image_format)
        exif = (
            None if self.exif is None else _edited(self.exif, lambda block: _size(block, size_px))
        )
        if exif and (limit is None or len(exif) <= limit):
            options["exif"] = exif
        if image_format == "tiff" and (exif or self.xmp):
            options["compression"] = "raw"  # libtiff, which compresses, cannot write such blocks
        if not self.xmp or (limit is not None and len(self.xmp) > limit):
            return options
        match image_format:
            case "png":
                texts = PngImagePlugin.PngInfo()
                texts.add_itxt(_PNG_XMP, self.xmp.decode("utf-8", "replace"))
                options["pnginfo"] = texts
            case "tiff":
                block = _block(exif or b"")
                block[_TIFF_XMP] = self.xmp
                options["exif"] = block
            case _:
                options["xmp"] = self.xmp
        return options


NO_METADATA = Metadata()


def metadata_of(upright: Image.Image) -> Metadata:
    """What a decoded picture carries, once Pillow has turned it upright."""
    exif = None
    # A damaged block must not cost a picture whose pixels are sound.
    with contextlib.suppress(Exception):
        exif = _kept(upright.getexif())
    xmp = upright.info.get("xmp") or upright.info.get(_PNG_XMP)
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if isinstance(xmp, bytes):
        xmp = _XMP_GAIN_MAP.sub(b"", xmp)
    return Metadata(exif, xmp if isinstance(xmp, bytes) else None, _dpi(upright.info.get("dpi")))


def _dpi(value: Any) -> tuple[float, float] | None:
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        across, down = (float(each) for each in value)
        if 1 <= across <= 65_535 and 1 <= down <= 65_535:
            return across, down
    return None


def _kept(block: Image.Exif) -> bytes | None:
    """The block without what describes the old file; None where nothing is left."""
    for tag in [*block]:
        if tag in _STRUCTURE:
            del block[tag]
    return block.tobytes() if len(block) else None


def _block(exif: bytes) -> Image.Exif:
    block = Image.Exif()
    if exif:
        block.load(exif)
    return block


def _edited(exif: bytes, edit: Any) -> bytes | None:
    block = _block(exif)
    edit(block)
    return block.tobytes() if len(block) else None


def _size(block: Image.Exif, size_px: tuple[int, int]) -> None:
    details = block.get_ifd(_EXIF_IFD)
    for tag, side_px in ((_HEIGHT, size_px[0]), (_WIDTH, size_px[1])):
        if tag in details:
            details[tag] = side_px
