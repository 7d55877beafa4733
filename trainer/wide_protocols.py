"""Degradations beside those of `degradation.PROTOCOLS`: what else happens to pictures.

A student that gains under a few protocols and harms beside them has learned the protocols. Most of
these are drawn in training, too, at strengths of their own; `box`, `median` and `webp` never are.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from trainer.degradation import Protocol
from trainer.operators import (
    ImageArray,
    Resampler,
    add_halo,
    add_sensor_noise,
    blur_defocus,
    blur_gaussian,
    blur_motion,
    compress_jpeg,
    rescale,
)

__all__ = ["WIDE_PROTOCOLS"]


def _rescaled(factor: float, shrink: Resampler, enlarge: Resampler | None = None) -> Protocol:
    return lambda image, _: rescale(image, factor=factor, shrink=shrink, enlarge=enlarge or shrink)


def _chain(*protocols: Protocol) -> Protocol:
    def degrade(image: ImageArray, rng: np.random.Generator) -> ImageArray:
        for protocol in protocols:
            image = protocol(image, rng)
        return image

    return degrade


def _gaussian(sigma_px: float) -> Protocol:
    return lambda image, _: blur_gaussian(image, sigma_px=sigma_px)


def _defocus(radius_px: float) -> Protocol:
    return lambda image, _: blur_defocus(image, radius_px=radius_px)


def _motion(length_px: float, angle_deg: float) -> Protocol:
    return lambda image, _: blur_motion(image, length_px=length_px, angle_deg=angle_deg)


def _noise(read: float) -> Protocol:
    return lambda image, rng: add_sensor_noise(image, rng, read=read)


def _jpeg(quality: int) -> Protocol:
    return lambda image, _: compress_jpeg(image, quality=quality)


def _sharpened(image: ImageArray, _: np.random.Generator) -> ImageArray:
    return add_halo(image, radius_px=1.2, amount=0.7)


def _box(image: ImageArray, _: np.random.Generator) -> ImageArray:
    return np.asarray(cv2.blur(image, (3, 3)), np.uint8)


def _median(image: ImageArray, _: np.random.Generator) -> ImageArray:
    return np.asarray(cv2.medianBlur(image, 3), np.uint8)


def _webp(image: ImageArray, _: np.random.Generator) -> ImageArray:
    encoded = cv2.imencode(".webp", image[:, :, ::-1], (cv2.IMWRITE_WEBP_QUALITY, 60))[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None, "OpenCV reads the WebP that it wrote"
    return np.ascontiguousarray(decoded[:, :, ::-1], np.uint8)


def _small_jpeg(image: ImageArray, _: np.random.Generator) -> ImageArray:
    return rescale(
        image,
        factor=2,
        shrink="area",
        enlarge="bicubic",
        between=lambda small: compress_jpeg(small, quality=60),
    )


# Fixed for good, as `PROTOCOLS` are.
WIDE_PROTOCOLS: Mapping[str, Protocol] = {
    "bicubic x1.25": _rescaled(1.25, "bicubic-antialiased"),
    "bicubic x6": _rescaled(6, "area", "bicubic"),
    "bicubic x8": _rescaled(8, "bicubic-antialiased"),
    "lanczos x2": _rescaled(2, "lanczos-antialiased"),
    "lanczos x3": _rescaled(3, "lanczos-antialiased"),
    "lanczos x2 aliased": _rescaled(2, "lanczos"),
    "hamming x2": _rescaled(2, "hamming-antialiased"),
    "bilinear x2": _rescaled(2, "area", "bilinear"),
    "decimated x2": _rescaled(2, "nearest", "bicubic"),
    "blocky x2": _rescaled(2, "area", "nearest"),
    "gaussian 0.5": _gaussian(0.5),
    "gaussian 1.5": _gaussian(1.5),
    "gaussian 3.0": _gaussian(3.0),
    "box 3": _box,
    "median 3": _median,
    "defocus 1.5": _defocus(1.5),
    "defocus 3.0": _defocus(3.0),
    "defocus 5.0": _defocus(5.0),
    "motion 5": _motion(5, 30),
    "motion 10": _motion(10, 100),
    "jpeg 90": _jpeg(90),
    "jpeg 50": _jpeg(50),
    "jpeg 20": _jpeg(20),
    "webp 60": _webp,
    "noise 3": _noise(3),
    "noise 10": _noise(10),
    "sharpened": _sharpened,
    "bicubic x2, sharpened": _chain(_rescaled(2, "bicubic-antialiased"), _sharpened),
    "bicubic x2, noise 4": _chain(_rescaled(2, "bicubic-antialiased"), _noise(4)),
    "small jpeg x2": _small_jpeg,
    "gaussian 1.0, jpeg 70": _chain(_gaussian(1.0), _jpeg(70)),
    "gaussian 1.0, webp 60": _chain(_gaussian(1.0), _webp),
    "noisy webcam": _chain(
        _gaussian(1.2), _noise(8), _rescaled(1.5, "area", "bilinear"), _jpeg(45)
    ),
}
"""By name, from an image (H, W, 3) uint8 RGB and a generator to the degraded image."""
