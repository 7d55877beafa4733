"""A still picture as a call shows it: a short clip in which a part of it moves, and all of it may.

What a video codec does to a frame depends on the frames before it: what stands still is refined
from frame to frame, what moves is predicted and left soft. A picture that is panned as a whole, or
encoded alone, shows other traces than those of calls. Pure: nothing is encoded here.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from trainer.operators import ImageArray

__all__ = ["CallScene", "call_scene", "framed", "walk"]

_STILL_CAMERA = 0.65  # share of the calls
_NOISY_CAMERA = 0.35
_WALK_MEMORY = 0.85

_Plane = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CallScene:
    """Two clips (T, H, W, 3) uint8 RGB.

    Attributes:
        clean: what the camera points at.
        filmed: the same with the sensor's noise, where it has any: what the encoder gets.
    """

    clean: ImageArray
    filmed: ImageArray


def call_scene(
    image: ImageArray, rng: np.random.Generator, *, frames: int, size_px: tuple[int, int]
) -> CallScene:
    """Films a picture.

    The picture is scaled down by a random factor, as far as it still fills the frame, and cut at a
    random place. Two soft-edged places in it sway by some px, the smaller one within the larger
    one, like a head and a mouth; in a third of the scenes the camera sways too.

    Args:
        image: (H, W, 3) uint8 RGB, at least as large as the frame.
        size_px: (height, width) of the frame.

    Raises:
        ValueError: the picture is smaller than the frame.
    """
    still = framed(image, rng, size_px)
    height, width = size_px
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    centre = np.array((rng.uniform(0.3, 0.8) * height, rng.uniform(0.25, 0.75) * width))
    radii = rng.uniform(0.17, 0.55, size=2) * height
    inner = centre + rng.uniform(-0.5, 0.5, size=2) * radii
    head = _bump(rows, columns, centre, radii)
    mouth = _bump(rows, columns, inner, 0.35 * radii)
    camera_px = walk(rng, frames, rng.uniform(0.1, 1.5) * (rng.random() >= _STILL_CAMERA))
    head_px = walk(rng, frames, rng.uniform(0.0, 2.5))
    mouth_px = walk(rng, frames, rng.uniform(0.0, 1.5))
    clean = np.empty((frames, height, width, 3), np.uint8)
    for t in range(frames):
        down, across = (
            camera_px[t, axis] + head_px[t, axis] * head + mouth_px[t, axis] * mouth
            for axis in (0, 1)
        )
        clean[t] = cv2.remap(
            still,
            (columns + across).astype(np.float32),
            (rows + down).astype(np.float32),
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    return CallScene(clean, _with_sensor_noise(clean, rng))


def framed(image: ImageArray, rng: np.random.Generator, size_px: tuple[int, int]) -> ImageArray:
    """A random part of the picture that fills the frame, scaled down by a random factor."""
    fit = max(size_px[0] / image.shape[0], size_px[1] / image.shape[1])
    if fit > 1:
        raise ValueError(
            f"the picture is {image.shape[1]}x{image.shape[0]} px, smaller than the frame of "
            f"{size_px[1]}x{size_px[0]} px"
        )
    scale = rng.uniform(fit, 1)
    height, width = (max(size_px[axis], round(image.shape[axis] * scale)) for axis in (0, 1))
    scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    top = int(rng.integers(height - size_px[0] + 1))
    left = int(rng.integers(width - size_px[1] + 1))
    cut = scaled[top : top + size_px[0], left : left + size_px[1]]
    return np.ascontiguousarray(cut, dtype=np.uint8)


def _bump(
    rows: _Plane, columns: _Plane, centre: npt.NDArray[np.float64], radii: npt.NDArray[np.float64]
) -> _Plane:
    """1 within an ellipse, falling to 0 at 1.6 times its radii, smoothly."""
    away = np.hypot((rows - centre[0]) / radii[0], (columns - centre[1]) / radii[1])
    inside = np.clip(1.6 - away, 0, 1)
    smooth: _Plane = (inside * inside * (3 - 2 * inside)).astype(np.float32)
    return smooth


def walk(rng: np.random.Generator, frames: int, speed_px: float) -> npt.NDArray[np.float64]:
    """(T, 2): where a thing is that sways by about `speed_px` a frame."""
    steps = rng.normal(size=(frames, 2))
    for t in range(1, frames):
        steps[t] = _WALK_MEMORY * steps[t - 1] + (1 - _WALK_MEMORY**2) ** 0.5 * steps[t]
    places: npt.NDArray[np.float64] = np.cumsum(0.5 * speed_px * steps, axis=0)
    return places


def _with_sensor_noise(clean: ImageArray, rng: np.random.Generator) -> ImageArray:
    if rng.random() >= _NOISY_CAMERA:
        return clean
    deviation = rng.uniform(0.3, 2.5)
    noisy = np.empty_like(clean)
    for t, frame in enumerate(clean):
        noise = rng.standard_normal(frame.shape, dtype=np.float32) * deviation
        noisy[t] = np.clip(np.rint(frame + noise), 0, 255)
    return noisy
