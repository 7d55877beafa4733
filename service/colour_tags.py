"""Colours that a file describes by numbers of its own and not by an ICC profile; pure."""

from __future__ import annotations

import struct

from PIL import ImageFile, PngImagePlugin

__all__ = ["are_other_than_srgb"]

# ITU-T H.273: BT.709, which has sRGB's primaries, and "unspecified"; curves that are shown alike.
_PRIMARIES = {1, 2}
_CURVES = {1, 2, 6, 13, 14, 15}
_HEAD_BYTES = 65_536  # of the boxes that describe the picture
_NCLX = b"colrnclx"
_CICP = b"cICP"
_GAMMA, _GAMMA_TOLERANCE = 0.45455, 0.01
_CHROMATICITY = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # white, red, green, blue
_CHROMATICITY_TOLERANCE = 0.005


def are_other_than_srgb(opened: ImageFile.ImageFile, encoded: bytes) -> bool:
    """Whether a PNG's chunks or the boxes of an AVIF or HEIC say so.

    Args:
        opened: The picture, as Pillow has opened it.
        encoded: Its file.
    """
    if not isinstance(opened, PngImagePlugin.PngImageFile):
        boxes = encoded[:_HEAD_BYTES]
        return _is_other(">HH", boxes, boxes.find(_NCLX), len(_NCLX))
    head = encoded[: encoded.find(b"IDAT")]
    if (at := head.find(_CICP)) >= 0:
        return _is_other("BB", head, at, len(_CICP))
    if "srgb" in opened.info:
        return False
    gamma: float = opened.info.get("gamma", _GAMMA)
    places = opened.info.get("chromaticity", _CHROMATICITY)
    apart = max(abs(is_ - srgb) for is_, srgb in zip(places, _CHROMATICITY, strict=False))
    return abs(gamma - _GAMMA) > _GAMMA_TOLERANCE or apart > _CHROMATICITY_TOLERANCE


def _is_other(layout: str, encoded: bytes, at: int, name_bytes: int) -> bool:
    if at < 0:
        return False
    try:
        primaries, curve = struct.unpack_from(layout, encoded, at + name_bytes)
    except struct.error:  # it is cut off
        return False
    return primaries not in _PRIMARIES or curve not in _CURVES
