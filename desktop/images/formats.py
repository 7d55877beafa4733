"""File suffixes and the formats they stand for."""

from __future__ import annotations

from pathlib import PurePath

from service.codec import ImageFormat

__all__ = ["FORMAT_NAMES", "PICTURE_SUFFIXES", "format_of", "suffix_of"]

_SUFFIXES: dict[str, ImageFormat] = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".png": "png",
    ".webp": "webp",
    ".bmp": "bmp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".avif": "avif",
    ".heic": "heic",
    ".heif": "heic",
    ".hif": "heic",  # of cameras
}
# What a folder is searched for. Those that cannot be read are named as failures, so that nobody
# takes a folder for done that is not.
PICTURE_SUFFIXES = frozenset({*_SUFFIXES, ".apng", ".gif", ".jxl"})

# As written on the command line.
FORMAT_NAMES: dict[str, ImageFormat] = {
    "jpeg": "jpeg",
    "jpg": "jpeg",
    "png": "png",
    "webp": "webp",
    "bmp": "bmp",
    "tiff": "tiff",
    "tif": "tiff",
    "avif": "avif",
    "heic": "heic",
}


def format_of(path: PurePath) -> ImageFormat | None:
    """What a file name's suffix stands for, if any."""
    return _SUFFIXES.get(path.suffix.lower())


def suffix_of(image_format: ImageFormat) -> str:
    """The usual one."""
    return {"jpeg": ".jpg", "tiff": ".tif"}.get(image_format, f".{image_format}")
