"""What a picture carries beside its pixels and its profile: EXIF, XMP, captions, resolution.

The orientation is not kept, since pictures come out upright, nor is a thumbnail, which would show
the picture before, nor anything that describes how the old file stored its pixels.
"""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image, PngImagePlugin, TiffImagePlugin

from service import xmp
from service.captions import (
    APP13,
    APP13_HEAD,
    captions_of_iptc,
    iptc_of,
    kept_captions,
    without_place,
)
from service.exif_block import EXIF_HEAD, GPS, kept, resized
from service.extended_xmp import XMP_HEAD, extension_of, extension_segments, naming
from service.jpeg_segments import MOST_PAYLOAD_BYTES, head_segments, packed

__all__ = ["NO_METADATA", "Metadata", "metadata_of"]

_PNG_XMP = "XML:com.adobe.xmp"
_TIFF_XMP, _TIFF_IPTC, _TIFF_PHOTOSHOP = 700, 33723, 34377
_COMMENT = 0xFE
_APP1 = 0xE1
# How a TIFF stores its pixels, its orientation, and blocks that are kept elsewhere or not at all.
_STRUCTURE = frozenset(
    (
        *range(254, 260),
        *(262, 263, 266, 273, 274, 277, 278, 279, 280, 281, 284, *range(288, 294), 297, 301),
        *(317, 318, 319, *range(320, 326), 330, *range(332, 337), 338, 339, 340, 341, 342, 347),
        *(*range(512, 522), *range(529, 533), 700, 33723, 34377, 34675, 37724, 50341),
    )
)
_MOST_CAPTION_BYTES = MOST_PAYLOAD_BYTES - len(APP13_HEAD)
_MOST_BYTES = {"jpeg": 65_500}  # a marker segment's


@dataclass(frozen=True, slots=True)
class Metadata:
    """`exif` is a TIFF block after `Exif\\0\\0`, `xmp` a packet, `dpi` across and down.

    `captions` are Photoshop's resource blocks with IPTC, `comment` is a JPEG's, `extended_xmp`
    what its packet has no room for.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    captions: bytes | None = None
    comment: bytes | None = None
    extended_xmp: bytes | None = None

    def without_place(self) -> Metadata:
        """Without what says where the picture was taken."""
        exif = None if self.exif is None else kept(self.exif, {GPS})
        packet = None if self.xmp is None else xmp.without_place(self.xmp)
        extended = None if self.extended_xmp is None else xmp.without_place(self.extended_xmp)
        captions = None if self.captions is None else without_place(self.captions)
        return replace(self, exif=exif, xmp=packet, captions=captions, extended_xmp=extended)

    def without_gain_map(self) -> Metadata:
        """Without the announcement of an HDR gain map."""
        if self.xmp is None:
            return self
        return replace(self, xmp=xmp.without_gain_map(self.xmp))

    def left_behind(self, image_format: str) -> tuple[str, ...]:
        """What a format has no room for, one sentence each."""
        limit = _MOST_BYTES.get(image_format)
        lost = []
        for name, block in (("EXIF", self.exif), ("XMP", self.xmp)):
            if block and (image_format == "bmp" or (limit is not None and len(block) > limit)):
                lost.append(name)
        if self.extended_xmp and image_format != "jpeg":
            lost.append("extended XMP")
        if self.captions and not (
            image_format == "tiff"
            or (image_format == "jpeg" and len(self.captions) <= _MOST_CAPTION_BYTES)
        ):
            lost.append("IPTC captions")
        if self.comment and image_format != "jpeg":
            lost.append("comment")
        if not lost:
            return ()
        return (f"{image_format} has no room for its {', '.join(lost)}; not kept.",)

    def save_options(self, image_format: str, size_px: tuple[int, int]) -> dict[str, Any]:
        """Arguments of Pillow's `save`, for a picture of this (height, width)."""
        options: dict[str, Any] = {}
        if self.dpi and image_format not in ("webp", "avif", "heic"):
            options["dpi"] = self.dpi
        if image_format == "bmp":
            return options
        if image_format == "tiff":
            return options | self._tiff_options()
        exif = self.exif_for(size_px)
        limit = _MOST_BYTES.get(image_format)
        if exif and (limit is None or len(exif) <= limit):
            options["exif"] = exif
        if image_format == "jpeg":
            return options | self._jpeg_options()
        if not self.xmp:
            return options
        packet = naming(self.xmp, None)
        if image_format == "png":
            texts = PngImagePlugin.PngInfo()
            texts.add_itxt(_PNG_XMP, packet.decode("utf-8", "replace"))
            options["pnginfo"] = texts
        else:
            options["xmp"] = packet
        return options

    def exif_for(self, size_px: tuple[int, int]) -> bytes | None:
        """The EXIF of a picture of this (height, width)."""
        return None if self.exif is None else resized(self.exif, size_px)

    def _jpeg_options(self) -> dict[str, Any]:
        segments = b""
        if self.xmp and len(self.xmp) <= _MOST_BYTES["jpeg"]:
            segments += packed(_APP1, XMP_HEAD + naming(self.xmp, self.extended_xmp))
            segments += extension_segments(self.extended_xmp or b"")
        if self.captions and len(self.captions) <= _MOST_CAPTION_BYTES:
            segments += packed(APP13, APP13_HEAD + self.captions)
        options: dict[str, Any] = {"extra": segments} if segments else {}
        return options | ({"comment": self.comment} if self.comment else {})

    def _tiff_options(self) -> dict[str, Any]:
        """All but EXIF, on which `tiff_strips` puts the picture."""
        block = Image.Exif()
        if self.captions:
            block[_TIFF_PHOTOSHOP] = self.captions
            if iptc := iptc_of(self.captions):
                block[_TIFF_IPTC] = iptc
        if self.xmp:
            block[_TIFF_XMP] = naming(self.xmp, None)
        if not len(block) and not self.exif:
            return {}
        # libtiff, which compresses, cannot write such blocks; `tiff_strips` does it afterwards.
        return {"exif": block, "compression": "raw"}


NO_METADATA = Metadata()


def metadata_of(upright: Image.Image, encoded: bytes, exif_block: Any) -> Metadata:
    """What a decoded picture carries.

    Args:
        upright: The picture, once Pillow has turned it upright.
        encoded: Its file.
        exif_block: As the file had it, before Pillow wrote it anew to turn the picture; None where
            there was none, as in a TIFF.
    """
    exif = None
    # A damaged block must not cost a picture whose pixels are sound.
    with contextlib.suppress(Exception):
        exif = _kept_exif(upright, exif_block)
    packet = upright.info.get("xmp") or upright.info.get(_PNG_XMP)
    if isinstance(packet, str):
        packet = packet.encode()
    packet = xmp.without_motion_photo(packet) if isinstance(packet, bytes) else None
    captions = comment = extended = None
    with contextlib.suppress(Exception):
        if isinstance(upright, TiffImagePlugin.TiffImageFile):
            captions = _tiff_captions(upright)
        elif encoded.startswith(b"\xff\xd8"):
            captions, comment = _jpeg_captions(encoded)
            extended = None if packet is None else extension_of(encoded, packet)
    return Metadata(
        exif,
        packet,
        _dpi(upright.info.get("dpi")),
        captions,
        comment,
        extended,
    )


def _jpeg_captions(encoded: bytes) -> tuple[bytes | None, bytes | None]:
    blocks, comment = b"", None
    for marker, _, payload in head_segments(encoded):
        if marker == APP13 and payload.startswith(APP13_HEAD):  # long ones go on in the next
            blocks += payload.removeprefix(APP13_HEAD)
        elif marker == _COMMENT:
            comment = payload
    return kept_captions(blocks), comment


def _tiff_captions(opened: TiffImagePlugin.TiffImageFile) -> bytes | None:
    # As in the file: of IPTC that is said to be LONGs, as many programs do, Pillow reads the first.
    raw = opened.tag_v2._tagdata
    captions = kept_captions(raw[_TIFF_PHOTOSHOP]) if _TIFF_PHOTOSHOP in raw else None
    if _TIFF_IPTC in raw and not (captions and iptc_of(captions)):
        captions = (captions or b"") + captions_of_iptc(raw[_TIFF_IPTC])
    return captions


def _dpi(value: Any) -> tuple[float, float] | None:
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        across, down = (float(each) for each in value)
        if 1 <= across <= 65_535 and 1 <= down <= 65_535:
            return across, down
    return None


def _kept_exif(upright: Image.Image, exif_block: Any) -> bytes | None:
    """The block without what describes the old file; None where nothing is left."""
    if isinstance(exif_block, bytes):
        with contextlib.suppress(ValueError, struct.error):
            return _sound(kept(exif_block, _STRUCTURE))
    # A TIFF's own directory, or one that only Pillow can follow.
    block = upright.getexif()
    for tag in [*block]:
        if tag in _STRUCTURE:
            del block[tag]
    return _sound(EXIF_HEAD + block.tobytes().removeprefix(EXIF_HEAD) if len(block) else None)


def _sound(exif: bytes | None) -> bytes | None:
    """The block, once all has been tried that may be asked of it later.

    Raises:
        ValueError, struct.error: It is damaged.
    """
    for each in (exif, kept(exif, {GPS}) if exif else None):
        if each:
            resized(each, (1, 1))
    return exif
