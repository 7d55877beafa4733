"""Which way up a JPEG frame is: its EXIF orientation, found without decoding, and the turn."""

from __future__ import annotations

from typing import Any, TypeVar

import cv2
import numpy.typing as npt
from PIL import Image

from service.jpeg_segments import segments

__all__ = ["jpeg_orientation", "turned_upright"]

_ORIENTATION_TAG = 0x0112
_APP0, _APP1, _APP15, _COMMENT = 0xE0, 0xE1, 0xEF, 0xFE
_EXIF = b"Exif\0\0"

_ROTATIONS = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}


Samples = TypeVar("Samples", bound=npt.NDArray[Any])


def jpeg_orientation(encoded: bytes) -> int:
    """The EXIF orientation of a JPEG, 1 to 8; 1, upright, where there is none that can be read."""
    for marker, at, end in segments(encoded):
        if marker == _APP1 and encoded.startswith(_EXIF, at + 4):
            return _orientation_in(encoded[at + 4 : end])
        if not _APP0 <= marker <= _APP15 and marker != _COMMENT:
            break  # the tables have begun, and EXIF comes before them
    return 1


def turned_upright(image: Samples, orientation: int) -> Samples:
    """(H, W) or (H, W, 3), uint8 or uint16, as stored -> as it is to be seen, C-contiguous.

    H and W change places from 5 on.
    """
    turned: Any = image
    if orientation in _ROTATIONS:
        turned = cv2.rotate(image, _ROTATIONS[orientation])
    match orientation:
        case 2:
            turned = cv2.flip(image, 1)
        case 4:
            turned = cv2.flip(image, 0)
        case 5:
            turned = cv2.transpose(image)
        case 7:
            turned = cv2.flip(cv2.transpose(image), -1)
    return turned  # type: ignore[no-any-return]


def _orientation_in(block: bytes) -> int:
    exif = Image.Exif()
    try:
        exif.load(block)
        orientation = exif.get(_ORIENTATION_TAG, 1)
    except Exception:  # a damaged EXIF block must not cost a frame whose pixels are sound
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
