"""Pictures of 16 bits per channel: read, corrected and written as such; pure.

The network sees 8 bits. What it changed there, in levels, is added to the 16 bits that the picture
came with, so that what it left alone stays as it was to the last bit.

OpenCV reads the samples, since Pillow has no colours of 16 bits. It misreads some layouts of TIFF
without a word, so what it reads must agree with Pillow's 8 bits, or it is not taken.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["DEEP_FORMATS", "DeepSamples", "corrected", "read_deep", "shallow", "write_deep"]

DEEP_FORMATS = frozenset({"png", "tiff"})

_PER_LEVEL = 257  # 255 * 257 = 65535
_MOST_DIFFERENT_LEVELS = 2  # between two ways to round 16 bits to 8
_CHECKED_ROWS = 256  # at a time, so that the check takes little memory
_PNG_HEAD_BYTES = 8 + 25  # signature and IHDR
_PNG_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_TIFF_WIDTH, _TIFF_BITS, _TIFF_SHORT, _TIFF_LONG = 256, 258, 3, 4


@dataclass(frozen=True, slots=True)
class DeepSamples:
    """`image` (H, W, 3) RGB and `alpha` (H, W) or None, uint16, not premultiplied."""

    image: npt.NDArray[np.uint16]
    alpha: npt.NDArray[np.uint16] | None


def shallow(samples: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """16 bits to the nearest of 8."""
    # In 32 bits, since the half that is added overflows 16, and row by row to need no more of them.
    out = np.empty(samples.shape, np.uint8)
    for start in range(0, samples.shape[0], _CHECKED_ROWS):
        rows = slice(start, start + _CHECKED_ROWS)
        out[rows] = (samples[rows].astype(np.uint32) + _PER_LEVEL // 2) // _PER_LEVEL
    return out


def corrected(
    deep: npt.NDArray[np.uint16], seen: npt.NDArray[np.uint8], sharpened: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint16]:
    """Adds to 16 bits what the network changed in 8: all three of one shape."""
    out = np.empty(deep.shape, np.uint16)
    for start in range(0, deep.shape[0], _CHECKED_ROWS):
        rows = slice(start, start + _CHECKED_ROWS)
        change = sharpened[rows].astype(np.int32) - seen[rows]
        out[rows] = np.clip(deep[rows] + change * _PER_LEVEL, 0, 65_535)
    return out


def read_deep(
    encoded: bytes, seen: Image.Image, *, is_premultiplied: bool = False
) -> DeepSamples | None:
    """The samples of a PNG or TIFF of 16 bits, as stored in a PNG, upright from a TIFF.

    Args:
        encoded: A file that Pillow has decoded, so that it is sound and of a size that is allowed.
        seen: What Pillow made of it, RGB, RGBA or LA.
        is_premultiplied: Whether the file's colours are multiplied with alpha.

    Returns:
        None where OpenCV cannot read it as Pillow did.
    """
    try:
        stored: Any = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if stored is None or stored.dtype != np.uint16 or stored.shape[:2] != (seen.height, seen.width):
        return None
    if stored.ndim == 2:
        stored = cv2.cvtColor(
            stored, cv2.COLOR_GRAY2BGRA if "A" in seen.mode else cv2.COLOR_GRAY2BGR
        )
    has_alpha = stored.shape[2] == 4
    alpha = np.ascontiguousarray(stored[..., 3]) if has_alpha else None
    if has_alpha:
        image: Any = cv2.cvtColor(stored, cv2.COLOR_BGRA2RGB)
    else:  # in place: large pictures are hundreds of megabytes
        image = cv2.cvtColor(stored, cv2.COLOR_BGR2RGB, dst=stored)
    del stored
    if alpha is not None and is_premultiplied:
        image = _straight(image, alpha)
    deep = DeepSamples(image, alpha)
    return deep if _agrees(deep, seen) else None


def write_deep(deep: DeepSamples, image_format: str, *, is_gray: bool, **options: Any) -> bytes:
    """Encodes as PNG or TIFF of 16 bits; `options` are Pillow's, with profile and metadata.

    Gray with alpha becomes RGB with alpha, which every reader knows.
    """
    if is_gray:
        gray: Any = cv2.cvtColor(deep.image, cv2.COLOR_RGB2GRAY)
        if deep.alpha is None:
            return _saved(Image.fromarray(gray), image_format, options)
        same: Any = cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
        deep = DeepSamples(same, deep.alpha)
    if image_format == "png":
        return _png(deep, options)
    if deep.alpha is None:
        return _tiff(deep.image, options)
    return _tiff(np.dstack((deep.image, deep.alpha)), options)


def _saved(image: Image.Image, image_format: str, options: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    image.save(out, format=image_format, **options)
    return out.getvalue()


def _png(deep: DeepSamples, options: dict[str, Any]) -> bytes:
    """OpenCV's pixels between Pillow's chunks of profile and metadata."""
    if deep.alpha is None:
        bgr: Any = cv2.cvtColor(deep.image, cv2.COLOR_RGB2BGR)
    else:
        bgr = np.dstack((deep.image[..., ::-1], deep.alpha))
    level = options.get("compress_level", 4)
    is_encoded, buffer = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, level])
    assert is_encoded, "OpenCV encodes every uint16 image of a size that it could decode"
    pixels = memoryview(buffer.data)
    carried = _saved(Image.new("RGB", (1, 1)), "png", options)
    return b"".join(
        (pixels[:_PNG_HEAD_BYTES], *_chunks_beside_pixels(carried), pixels[_PNG_HEAD_BYTES:])
    )


def _chunks_beside_pixels(png: bytes) -> list[bytes]:
    at, found = 8, []
    while at < len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] not in _PNG_PIXELS:
            found.append(png[at:end])
        at = end
    return found


def _tiff(samples: npt.NDArray[np.uint16], options: dict[str, Any]) -> bytes:
    """Pillow writes the bytes as a picture of 8 bits and twice the width; two tags are put right.

    Without a predictor a strip is just its samples' bytes, compressed or not.
    """
    height, width, channels = samples.shape
    as_bytes = samples.astype("<u2").view(np.uint8).reshape(height, 2 * width, channels)
    encoded = bytearray(_saved(Image.fromarray(as_bytes), "tiff", options))
    assert encoded[:4] == b"II*\0", "Pillow writes little-endian TIFF"
    directory = struct.unpack_from("<I", encoded, 4)[0]
    for entry in range(struct.unpack_from("<H", encoded, directory)[0]):
        at = directory + 2 + 12 * entry
        tag, kind, count, place = struct.unpack_from("<HHII", encoded, at)
        if tag == _TIFF_WIDTH:
            struct.pack_into("<HII", encoded, at + 2, _TIFF_LONG, 1, width)
        elif tag == _TIFF_BITS:
            assert (kind, count) == (_TIFF_SHORT, channels), "Pillow says the bits of each channel"
            bits_at = at + 8 if 2 * count <= 4 else place
            struct.pack_into(f"<{count}H", encoded, bits_at, *[16] * count)
    return bytes(encoded)


def _straight(
    premultiplied: npt.NDArray[np.uint16], alpha: npt.NDArray[np.uint16]
) -> npt.NDArray[np.uint16]:
    out = np.empty(premultiplied.shape, np.uint16)
    for start in range(0, premultiplied.shape[0], _CHECKED_ROWS):
        rows = slice(start, start + _CHECKED_ROWS)
        share: Any = np.maximum(alpha[rows], 1).astype(np.uint64)
        share = share[..., None]
        straight = (premultiplied[rows].astype(np.uint64) * 65_535 + share // 2) // share
        out[rows] = np.minimum(straight, 65_535)
    return out


def _agrees(deep: DeepSamples, seen: Image.Image) -> bool:
    """Whether it is what Pillow saw."""
    # A transparent colour of 16 bits Pillow looks for among 8.
    has_colour_key = isinstance(seen.info.get("transparency"), tuple)
    for top in range(0, seen.height, _CHECKED_ROWS):
        bottom = min(top + _CHECKED_ROWS, seen.height)
        rgba = np.asarray(seen.crop((0, top, seen.width, bottom)).convert("RGBA"), np.int16)
        apart = np.abs(shallow(deep.image[top:bottom]).astype(np.int16) - rgba[..., :3])
        if deep.alpha is not None:
            alpha = shallow(deep.alpha[top:bottom]).astype(np.int16)
            if not has_colour_key and np.abs(alpha - rgba[..., 3]).max() > _MOST_DIFFERENT_LEVELS:
                return False
            # As much as it shows: straightened colours are rounded the coarser the less they do.
            apart = apart * alpha[..., None] // 255
        if apart.size and apart.max() > _MOST_DIFFERENT_LEVELS:
            return False
    return True
