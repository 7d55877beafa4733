"""What low bandwidth does to a picture.

Seeded degradations for training and fixed protocols for evaluation.

Pure: images in, images out, no files. Everything works on an `image`, (H, W, 3) uint8 RGB, and
keeps its size. Random choices come from the generator that is passed in and from nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = [
    "PROTOCOLS",
    "add_sensor_noise",
    "blur_gaussian",
    "compress_jpeg",
    "degrade_at_random",
    "rescale",
]

ImageArray = npt.NDArray[np.uint8]
Resampler = Literal["bicubic", "bilinear", "area", "bicubic-antialiased", "bilinear-antialiased"]

_OPENCV_FILTERS = {
    "bicubic": cv2.INTER_CUBIC,
    "bilinear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
}
_PILLOW_FILTERS = {
    "bicubic-antialiased": Image.Resampling.BICUBIC,
    "bilinear-antialiased": Image.Resampling.BILINEAR,
}
_SHRINKERS: tuple[Resampler, ...] = (
    "bicubic",
    "bilinear",
    "area",
    "bicubic-antialiased",
    "bilinear-antialiased",
)
_ENLARGERS: tuple[Resampler, ...] = ("bicubic", "bicubic-antialiased", "bilinear")


def blur_gaussian(image: ImageArray, *, sigma_px: float) -> ImageArray:
    """Gaussian blur of standard deviation `sigma_px`, borders reflected."""
    return _uint8(cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma_px))


def add_sensor_noise(
    image: ImageArray, rng: np.random.Generator, *, read: float, shot: float = 0.0
) -> ImageArray:
    """Noise of a small sensor, independent per pixel and channel.

    Args:
        read: standard deviation of the signal-independent part, in levels of 255.
        shot: standard deviation of the signal-dependent part at white, in levels of 255; it grows
            with the root of the signal (Foi et al. 2008, the Gaussian approximation of Poisson
            noise).
    """
    signal = image.astype(np.float32)
    noise = rng.standard_normal(signal.shape, dtype=np.float32)
    if shot > 0:
        noise *= np.sqrt(read**2 + shot**2 * signal / 255)
    else:
        noise *= read
    return _uint8(signal + noise)


def compress_jpeg(image: ImageArray, *, quality: int, is_subsampled: bool = True) -> ImageArray:
    """One round trip through JPEG at `quality` (1 to 100).

    Colour at half resolution if subsampled.
    """
    sampling = (
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
        if is_subsampled
        else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    )
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    _, encoded = cv2.imencode(".jpg", image[:, :, ::-1], settings)
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None, "OpenCV reads the JPEG that it wrote"
    return _image(decoded[:, :, ::-1])


def rescale(
    image: ImageArray,
    *,
    factor: float,
    shrink: Resampler = "bicubic",
    enlarge: Resampler = "bicubic",
    between: Callable[[ImageArray], ImageArray] | None = None,
) -> ImageArray:
    """Down by `factor` and back up to the same size.

    `bicubic`, `bilinear` and `area` are OpenCV's (the first two alias when they shrink); the
    antialiased ones are Pillow's. `between` is applied to the small picture.
    """
    height, width = image.shape[:2]
    small_size = (max(1, round(height / factor)), max(1, round(width / factor)))
    small = _resize(image, small_size, shrink)
    if between is not None:
        small = between(small)
    return _resize(small, (height, width), enlarge)


def _resize(image: ImageArray, size: tuple[int, int], resampler: Resampler) -> ImageArray:
    height, width = size
    if resampler in _PILLOW_FILTERS:
        resized = Image.fromarray(image).resize((width, height), _PILLOW_FILTERS[resampler])
        return np.array(resized)
    return _image(cv2.resize(image, (width, height), interpolation=_OPENCV_FILTERS[resampler]))


def _uint8(values: npt.NDArray[Any]) -> ImageArray:
    return _image(np.clip(np.rint(values), 0, 255))


def _image(values: npt.NDArray[Any]) -> ImageArray:
    return np.ascontiguousarray(values, dtype=np.uint8)


def _webcam(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    blurred = blur_gaussian(image, sigma_px=1.0)
    noisy = add_sensor_noise(blurred, rng, read=4.0)
    return compress_jpeg(rescale(noisy, factor=1.5), quality=45)


def _bicubic(image: ImageArray, *, factor: float, is_antialiased: bool) -> ImageArray:
    resampler: Resampler = "bicubic-antialiased" if is_antialiased else "bicubic"
    return rescale(image, factor=factor, shrink=resampler, enlarge=resampler)


Protocol = Callable[[ImageArray, np.random.Generator], ImageArray]

# Fixed for good: a figure made with one of these names must stay comparable. Change one by adding
# another name.
# `bicubic` is the antialiased filter that the literature means; OpenCV's, which aliases when it
# shrinks, has rows of its own.
PROTOCOLS: dict[str, Protocol] = {
    "bicubic x2": lambda image, _: _bicubic(image, factor=2, is_antialiased=True),
    "bicubic x4": lambda image, _: _bicubic(image, factor=4, is_antialiased=True),
    "bicubic x2 aliased": lambda image, _: _bicubic(image, factor=2, is_antialiased=False),
    "bicubic x4 aliased": lambda image, _: _bicubic(image, factor=4, is_antialiased=False),
    "gaussian 1.0": lambda image, _: blur_gaussian(image, sigma_px=1.0),
    "gaussian 2.0": lambda image, _: blur_gaussian(image, sigma_px=2.0),
    "webcam": _webcam,
    "untouched": lambda image, _: image.copy(),
}


def degrade_at_random(
    image: ImageArray, rng: np.random.Generator, *, clean_share: float = 0.1
) -> ImageArray:
    """A degradation of random kind and strength.

    A `clean_share` of the calls returns the picture untouched.

    One of: only rescaled (x1.5 to x4), only blurred (sigma 0.4 to 2.6 px), only compressed (JPEG 25
    to 95), only noisy, or a mixture of them in the order of a camera and a codec, with the
    compression before or after the enlargement.
    """
    if rng.random() < clean_share:
        return image.copy()
    kinds = (_rescale_at_random, _blur_at_random, _compress_at_random, _noise_at_random, _mix)
    kind = kinds[rng.choice(len(kinds), p=(0.52, 0.15, 0.05, 0.03, 0.25))]
    return kind(image, rng)


def _factor(rng: np.random.Generator) -> float:
    """Whole factors are what real products use, so they are drawn more often."""
    if rng.random() < 0.8:
        return float(rng.choice((1.5, 2.0, 2.0, 2.0, 2.0, 2.0, 3.0, 4.0, 4.0, 4.0)))
    return float(rng.uniform(1.5, 4.0))


def _rescale_at_random(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    shrink = _SHRINKERS[rng.choice(5, p=(0.50, 0.06, 0.08, 0.30, 0.06))]
    enlarge = _ENLARGERS[rng.choice(3, p=(0.4, 0.4, 0.2))]
    if shrink in _ENLARGERS and rng.random() < 0.6:  # one tool does both
        enlarge = shrink
    return rescale(image, factor=_factor(rng), shrink=shrink, enlarge=enlarge)


def _blur_at_random(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    return blur_gaussian(image, sigma_px=float(rng.uniform(0.4, 2.6)))


def _compress_at_random(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    return compress_jpeg(
        image, quality=int(rng.integers(25, 96)), is_subsampled=bool(rng.random() < 0.8)
    )


def _noise_at_random(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    return add_sensor_noise(
        image, rng, read=float(rng.uniform(0.5, 6)), shot=float(rng.uniform(0, 8))
    )


def _mix(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    if rng.random() < 0.75:
        image = blur_gaussian(image, sigma_px=float(rng.uniform(0.4, 2.0)))
    if rng.random() < 0.6:
        image = _noise_at_random(image, rng)
    is_small_compressed = bool(rng.random() < 0.5)
    if rng.random() < 0.6:
        image = rescale(
            image,
            factor=float(rng.uniform(1.2, 3.0)),
            shrink=_SHRINKERS[rng.integers(5)],
            enlarge=_ENLARGERS[rng.integers(3)],
            between=(lambda small: _compress_at_random(small, rng))
            if is_small_compressed
            else None,
        )
        if is_small_compressed:
            return image
    return _compress_at_random(image, rng) if rng.random() < 0.75 else image
