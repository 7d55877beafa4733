"""Picture files: which there are below a folder, how large each is, and its pixels.

Nothing here knows what the pictures are for, and nothing is kept: see `picture_set` for that.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

__all__ = [
    "MAX_PIXELS",
    "PICTURE_EXTENSIONS",
    "ImageArray",
    "ImageUnreadable",
    "centre_crop",
    "choose_pictures",
    "decode_picture",
    "find_pictures",
    "load_picture",
    "picture_size",
    "read_picture",
    "require_few_pixels",
]

ImageArray: TypeAlias = npt.NDArray[np.uint8]

PICTURE_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
# Decoded, 600 MB. The largest photographs of today's cameras stay below it.
MAX_PIXELS = 200_000_000

_HEAD_BYTES = 12
_TIFF = b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"
_OPENERS: tuple[tuple[tuple[bytes, ...], Callable[[IO[bytes]], ImageFile.ImageFile]], ...] = (
    # The classes themselves and not Image.open: its bomb check is a process-wide variable.
    ((b"\xff\xd8\xff",), JpegImagePlugin.JpegImageFile),
    ((b"\x89PNG\r\n\x1a\n",), PngImagePlugin.PngImageFile),
    ((b"RIFF",), WebPImagePlugin.WebPImageFile),
    ((b"BM",), BmpImagePlugin.BmpImageFile),
    (_TIFF, TiffImagePlugin.TiffImageFile),
)
_NOT_READABLE = "not a picture that can be read"


class ImageUnreadable(OSError):
    """An image that cannot be had. The message is the reason alone, without the file's name."""


def find_pictures(folder: Path) -> list[Path]:
    """The picture files below `folder`, sorted.

    Raises:
        FileNotFoundError: it is not a folder, or holds no picture.
    """
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_EXTENSIONS and path.is_file()
    )
    if not paths:
        raise FileNotFoundError(
            f"{folder} holds no pictures ({', '.join(sorted(PICTURE_EXTENSIONS))}). "
            "Pass a folder of sharp pictures."
        )
    return paths


def choose_pictures(folder: Path, limit: int) -> list[Path]:
    """So many of the picture files below `folder`, spread evenly over them; 0 = all.

    Raises:
        FileNotFoundError: see `find_pictures`.
    """
    paths = find_pictures(folder)
    if not limit or limit >= len(paths):
        return paths
    return [paths[number * len(paths) // limit] for number in range(limit)]


def centre_crop(image: ImageArray, side_px: int) -> ImageArray:
    """The square in the middle of an image (H, W, 3) that is at least so high and wide."""
    top, left = (image.shape[0] - side_px) // 2, (image.shape[1] - side_px) // 2
    return np.ascontiguousarray(image[top : top + side_px, left : left + side_px])


def read_picture(path: Path) -> ImageArray | None:
    """The file as an image (H, W, 3) uint8 RGB, turned upright; None if it cannot be read."""
    try:
        return load_picture(path)
    except ImageUnreadable:
        return None


def load_picture(path: Path) -> ImageArray:
    """The file as an image (H, W, 3) uint8 RGB, turned upright.

    Raises:
        ImageUnreadable: missing, no picture, damaged, or above `MAX_PIXELS`; the last is known
            from the header, before memory is spent.
    """
    try:
        encoded = path.read_bytes()
    except OSError as exc:
        raise ImageUnreadable(f"cannot be read ({exc.strerror or exc})") from exc
    return decode_picture(encoded)


def decode_picture(encoded: bytes) -> ImageArray:
    """The bytes of a picture file as an image (H, W, 3) uint8 RGB, turned upright.

    Raises:
        ImageUnreadable: see `load_picture`.
    """
    _header_size(io.BytesIO(encoded))
    if encoded.startswith(_TIFF) and (image := _of_transparent_tiff(encoded)) is not None:
        return image
    try:
        bgr = cv2.imdecode(np.frombuffer(encoded, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as exc:
        raise ImageUnreadable(_NOT_READABLE) from exc
    if bgr is None:
        raise ImageUnreadable(f"{_NOT_READABLE}: damaged or cut off")
    return np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)


def _of_transparent_tiff(encoded: bytes) -> ImageArray | None:
    """Its colours as they are, which OpenCV multiplies by the transparency; None of another one."""
    try:
        opened = TiffImagePlugin.TiffImageFile(io.BytesIO(encoded))
        if opened.mode not in ("RGBA", "LA"):
            return None
        return np.asarray(ImageOps.exif_transpose(opened).convert("RGB")).copy()
    except (SyntaxError, OSError, ValueError) as exc:
        raise ImageUnreadable(f"{_NOT_READABLE}: damaged or cut off") from exc


def picture_size(source: Path | bytes) -> tuple[int, int]:
    """(height, width) in px from the header of a file or of its bytes, before any turning upright.

    Raises:
        ImageUnreadable: see `load_picture`.
    """
    if isinstance(source, bytes):
        return _header_size(io.BytesIO(source))
    try:
        with source.open("rb") as file:
            return _header_size(file)
    except ImageUnreadable:
        raise
    except OSError as exc:
        raise ImageUnreadable(f"cannot be read ({exc.strerror or exc})") from exc


def _header_size(file: IO[bytes]) -> tuple[int, int]:
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    opener = next((opener for magic, opener in _OPENERS if head.startswith(magic)), None)
    if opener is None:
        raise ImageUnreadable(_NOT_READABLE)
    try:
        width, height = opener(file).size
    # SyntaxError is Pillow's word for a header that it cannot make sense of.
    except (SyntaxError, OSError, ValueError, OverflowError) as exc:
        raise ImageUnreadable(f"{_NOT_READABLE}: its header is damaged") from exc
    require_few_pixels(height, width)
    return height, width


def require_few_pixels(height: int, width: int) -> None:
    """Refuses what would take too much memory.

    Raises:
        ImageUnreadable: above `MAX_PIXELS`.
    """
    if height * width > MAX_PIXELS:
        raise ImageUnreadable(
            f"{width}x{height} px is {height * width / 1e6:.0f} megapixels, "
            f"above the limit of {MAX_PIXELS / 1e6:.0f}"
        )
