"""Colours that a file describes by numbers of its own and not by an ICC profile; pure."""

from __future__ import annotations

from PIL import ImageFile, PngImagePlugin

from service.heif import box_format, colours_of

__all__ = ["are_other_than_srgb"]

# ITU-T H.273: BT.709, which has sRGB's primaries, and "unspecified"; curves that are shown alike.
_PRIMARIES = {1, 2}
_CURVES = {1, 2, 6, 13, 14, 15}
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
    if box_format(encoded) is not None:
        return not _are_like_srgb(colours_of(encoded))
    if not isinstance(opened, PngImagePlugin.PngImageFile):
        return False
    head = encoded[: encoded.find(b"IDAT")]
    if (at := head.find(_CICP)) >= 0:
        numbers = tuple(head[at + len(_CICP) :][:2])
        return len(numbers) == 2 and not _are_like_srgb(numbers)
    if "srgb" in opened.info:
        return False
    gamma: float = opened.info.get("gamma", _GAMMA)
    places = opened.info.get("chromaticity", _CHROMATICITY)
    apart = max(abs(is_ - srgb) for is_, srgb in zip(places, _CHROMATICITY, strict=False))
    return abs(gamma - _GAMMA) > _GAMMA_TOLERANCE or apart > _CHROMATICITY_TOLERANCE


def _are_like_srgb(numbers: tuple[int, int] | None) -> bool:
    return numbers is None or (numbers[0] in _PRIMARIES and numbers[1] in _CURVES)
