"""Tiny data sets, written to a folder: pictures, pairs of them, a video."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import ImageFont

from trainer.pictures import ImageArray, load_picture

__all__ = ["patch", "softened", "write_font", "write_picture", "write_png_header", "write_video"]

_SAMPLES = Path(__file__).parents[1] / "samples"


@cache
def _sample(name: str) -> ImageArray:
    return load_picture(_SAMPLES / f"{name}.jpg")


def patch(number: int, height: int = 96, width: int = 128) -> ImageArray:
    """A part of a photograph (height, width, 3) uint8 RGB; another one for each number below 40."""
    photograph = _sample(("museum", "colosseum", "neon-frames", "woman-with-hat")[number % 4])
    top, left = 20 * (number // 4 % 10), 16 * (number // 4 % 10)
    return np.ascontiguousarray(photograph[top : top + height, left : left + width])


def softened(image: ImageArray) -> ImageArray:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 1.5), dtype=np.uint8)


def write_font(path: Path) -> None:
    """Pillow's own one."""
    own = ImageFont.load_default(12)
    assert isinstance(own, ImageFont.FreeTypeFont)
    path.write_bytes(own.font_bytes)


def write_picture(path: Path, image: ImageArray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[:, :, ::-1])
    return path


def write_png_header(path: Path, *, height: int, width: int) -> Path:
    """A PNG file that announces a size and holds next to nothing."""
    write_picture(path, np.zeros((1, 1, 3), np.uint8))
    content = bytearray(path.read_bytes())
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = _crc(bytes(content[12:29]))
    path.write_bytes(content)
    return path


def _crc(chunk: bytes) -> bytes:
    return zlib.crc32(chunk).to_bytes(4, "big")


def write_video(path: Path, frames: Sequence[ImageArray]) -> Path:
    """H.264, 10 frames a second, nearly lossless, with B-frames and a keyframe every 5 frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.pix_fmt = "yuv444p"
        stream.options = {"crf": "1", "preset": "ultrafast", "bf": "2", "g": "5"}
        stream.codec_context.thread_count = 1
        stream.height, stream.width = frames[0].shape[:2]
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
