"""Stream frames: JPEG <-> images. The limits are checked on the header, before anything is decoded.

libjpeg-turbo through simplejpeg, straight to and from RGB; OpenCV for the rare kinds that it
refuses, for WebP and PNG, and where it is not installed. Images are (H, W, 3) uint8 RGB, upright,
C-contiguous. BGR exists only between two neighbouring lines of this module.
"""

from __future__ import annotations

import struct
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from service.errors import ImageBroken, ImageTooManyPixels, ImageUnsupported
from service.frames import FrameFormat
from service.jpeg_segments import has_more_scans
from service.orientation import jpeg_orientation, turned_upright

try:
    import simplejpeg
except ImportError:  # a platform without a wheel: OpenCV does it all
    simplejpeg = None

__all__ = [
    "ImageArray",
    "check_scans",
    "decode_frame",
    "encode_frame",
    "jpeg_size",
    "use_one_thread_per_call",
]

ImageArray: TypeAlias = npt.NDArray[np.uint8]

# libjpeg spends the time of a whole picture on each scan, and a scan can be a few bytes long: a
# bomb that no pixel limit catches. Progressive files have about ten.
_MAX_JPEG_SCANS = 100
_DAMAGE = ("Corrupt JPEG data", "Premature end of JPEG file")  # how libjpeg's warnings begin


def use_one_thread_per_call() -> None:
    """Makes OpenCV single-threaded, process-wide: the cores are the network's."""
    cv2.setNumThreads(1)


def decode_frame(encoded: bytes, *, max_pixels: int) -> ImageArray:
    """Decodes one JPEG frame of a stream; it comes out upright.

    Raises:
        ImageUnsupported: Not a JPEG.
        ImageTooManyPixels: The header announces more than `max_pixels`.
        ImageBroken: Damaged or cut off.
    """
    height, width = jpeg_size(encoded)
    if height * width > max_pixels:
        raise ImageTooManyPixels(height=height, width=width, limit_px=max_pixels)
    check_scans(encoded)
    # A decoder may fill the missing part with grey and say nothing. Cameras may pad the end.
    if encoded.rfind(b"\xff\xd9") < 0:
        raise ImageBroken("The JPEG is cut off: its end marker is missing.")
    image = _turbo_decoded(encoded, height, width)
    if image is None:
        image = _opencv_decoded(encoded)
    if image is None or image.shape != (height, width, 3):
        raise ImageBroken("The JPEG is damaged and cannot be decoded.")
    return turned_upright(image, jpeg_orientation(encoded))


def encode_frame(image: ImageArray, frame_format: FrameFormat, *, quality: int) -> bytes:
    """Encodes one frame of a stream; `quality` 1 to 100 is of JPEG and WebP, PNG is lossless.

    A JPEG's chroma is halved (4:2:0), as video has it.
    """
    if frame_format == "jpeg" and simplejpeg is not None:
        return bytes(simplejpeg.encode_jpeg(image, quality, "RGB", "420", fastdct=False))
    options = {
        "jpeg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        "webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
        "png": [cv2.IMWRITE_PNG_COMPRESSION, 1],
    }[frame_format]
    is_encoded, buffer = cv2.imencode(f".{frame_format}", _swap_red_and_blue(image), options)
    assert is_encoded, "OpenCV encodes every uint8 image of a size that it could decode"
    return bytes(buffer.data)


def jpeg_size(encoded: bytes) -> tuple[int, int]:
    """Reads (height, width) in px from a JPEG's frame header, without decoding.

    Raises:
        ImageUnsupported: Not a JPEG.
        ImageBroken: The frame header is missing, or says that there are no pixels.
    """
    if not encoded.startswith(b"\xff\xd8\xff"):
        raise ImageUnsupported("The frame is not a JPEG: it should start with FF D8 FF.")
    at = 2
    while at + 9 <= len(encoded) and encoded[at] == 0xFF:
        marker = encoded[at + 1]
        if marker == 0xFF:  # any number of these may fill the space before a marker
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # SOF0 to SOF15
            height, width = struct.unpack_from(">HH", encoded, at + 5)
            if not height or not width:
                break
            return height, width
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # these stand alone, without a length
            at += 2
        elif marker in (0xD9, 0xDA):  # the end, or a scan, before any frame header
            break
        else:
            at += 2 + struct.unpack_from(">H", encoded, at + 2)[0]
    raise ImageBroken("The JPEG is damaged: it has no frame header that gives its size.")


def check_scans(encoded: bytes) -> None:
    """Refuses a JPEG of very many scans before it is decoded.

    Raises:
        ImageBroken: It has them.
    """
    if has_more_scans(encoded, _MAX_JPEG_SCANS):
        raise ImageBroken(
            f"The JPEG has more than {_MAX_JPEG_SCANS} scans. Save it again as a normal JPEG."
        )


def _turbo_decoded(encoded: bytes, height: int, width: int) -> ImageArray | None:
    """Decodes with libjpeg-turbo, as strictly as it can; None where it refuses this kind of JPEG.

    It writes into memory of the size that was checked, and so cannot be made to take more.

    Raises:
        ImageBroken: The compressed data is damaged; other decoders would patch it up silently.
    """
    if simplejpeg is None:
        return None
    room = np.empty((height, width, 3), np.uint8)
    try:
        image: ImageArray = simplejpeg.decode_jpeg(encoded, "RGB", buffer=room)
    except ValueError as exc:
        if str(exc).startswith(_DAMAGE):
            raise ImageBroken(f"The JPEG is damaged: {exc}.") from exc
        return None
    return image


def _opencv_decoded(encoded: bytes) -> ImageArray | None:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error:
        return None
    return None if bgr is None else _swap_red_and_blue(bgr)


def _swap_red_and_blue(image: npt.NDArray[Any]) -> ImageArray:
    # The swap is its own inverse, so this serves both directions.
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
