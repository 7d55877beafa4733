"""JPEG frames to send: a photograph panned over, a still scene with a moving middle, or a clip.

Each is a list to be played to and fro, so that it has no cut.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from service.frame_codec import ImageArray, encode_frame
from trainer.videos import sample_frames

__all__ = ["clip_frames", "panned_frames", "played", "still_frames"]

_SAMPLES = Path(__file__).parents[1] / "tests" / "samples"
_QUALITY = 80  # what browsers and cameras send
_NOISE_LEVELS = 0.7  # of a webcam's sensor in good light, after its own denoising


def panned_frames(height: int, width: int, *, count: int = 16) -> list[bytes]:
    """Everything moves, a pixel a frame: nothing of the frame before can be used again."""
    large = _scaled(_photograph("man-in-profile"), height + count, width + count)
    return [
        _encoded(large[shift : shift + height, shift : shift + width]) for shift in range(count)
    ]


def still_frames(height: int, width: int, *, count: int = 32) -> list[bytes]:
    """A call without a camera operator: a still room, a head's width of it moving, sensor noise."""
    room = _scaled(_photograph("museum"), height, width)
    side = height // 2
    head = _scaled(_photograph("woman-with-hat"), side, side)
    is_head = np.zeros((side, side, 1), np.uint8)
    cv2.ellipse(is_head, (side // 2, side // 2), (side // 3, side // 2 - 1), 0, 0, 360, (1,), -1)
    random = np.random.default_rng(0)
    frames = []
    for number in range(count):
        image = room.copy()
        top = height // 3 + round(height / 60 * np.sin(number / 5))
        left = (width - side) // 2 + round(width / 60 * np.sin(number / 7))
        place = image[top : top + side, left : left + side]
        place[...] = np.where(is_head, head, place)
        noise = random.normal(0, _NOISE_LEVELS, image.shape)
        frames.append(_encoded(np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)))
    return frames


def clip_frames(path: Path, height: int, width: int, *, count: int = 90) -> list[bytes]:
    """Neighbouring frames from the middle of a video file, scaled to (height, width) px."""
    return [
        _encoded(_scaled(image, height, width))
        for _, image in sample_frames(path, count=count, run_length=count)
    ]


def played(frames: list[bytes], number: int) -> bytes:
    """Frame `number` of an endless playing to and fro."""
    period = max(2 * len(frames) - 2, 1)
    at = number % period
    return frames[min(at, period - at)]


def _photograph(name: str) -> ImageArray:
    bgr = cv2.imread(str(_SAMPLES / f"{name}.jpg"), cv2.IMREAD_COLOR)
    assert bgr is not None, f"{name}.jpg is part of the repository"
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _scaled(image: ImageArray, height: int, width: int) -> ImageArray:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _encoded(image: ImageArray) -> bytes:
    return encode_frame(image, "jpeg", quality=_QUALITY)
