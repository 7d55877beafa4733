"""Pictures made here, and files made of them."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from service.codec import ImageFormat
from service.frame_codec import ImageArray

__all__ = ["as_file", "difference", "jpeg_frame", "landscape", "sample", "with_announced_size"]

_SAMPLES = Path(__file__).parents[1] / "samples"


def landscape(height: int = 48, width: int = 64) -> ImageArray:
    """(H, W, 3) uint8 RGB: smooth colours and a white corner; no two orientations agree."""
    down, across = np.mgrid[0:height, 0:width].astype(np.float64)
    image = np.stack(
        (
            200 * across / max(width - 1, 1) + 20,
            160 * down / max(height - 1, 1) + 40,
            90 + 60 * np.sin(across / 9) * np.cos(down / 7),
        ),
        axis=-1,
    ).astype(np.uint8)
    image[: height // 3, : width // 4] = 255
    return image


def as_file(image: Image.Image | ImageArray, file_format: str, **options: Any) -> bytes:
    """Encodes with Pillow."""
    out = io.BytesIO()
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    picture.save(out, file_format, **options)
    return out.getvalue()


def jpeg_frame(height: int = 48, width: int = 64, *, quality: int = 90) -> bytes:
    """A JPEG as a camera client sends it."""
    bgr = cv2.cvtColor(landscape(height, width), cv2.COLOR_RGB2BGR)
    _, buffer = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return buffer.tobytes()


def difference(one: ImageArray, other: ImageArray) -> float:
    """Mean absolute difference in levels of 255."""
    assert one.shape == other.shape
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean())


@cache
def sample(name: str) -> ImageArray:
    """A photograph of `tests/samples` as an image; read-only, since tests share it."""
    with Image.open(_SAMPLES / f"{name}.jpg") as picture:
        image = np.array(picture.convert("RGB"))
    image.flags.writeable = False
    return image


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
