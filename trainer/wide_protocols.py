"""Degradations beside those of `degradation.PROTOCOLS`: what else happens to pictures.

A student that gains under a few protocols and harms beside them has learned the protocols. Most of
these are drawn in training, too, at strengths of their own; `box` and `median` never are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from trainer.degradation import PROTOCOLS, Protocol
from trainer.operators import ImageArray, add_sensor_noise
from trainer.steps import Defocus, Gaussian, Halo, Jpeg, Motion, Rescale, WebP, carry_out

__all__ = ["EVERY_PROTOCOL", "WIDE_PROTOCOLS"]

_HALVED = Rescale(2, "bicubic-antialiased", "bicubic-antialiased")
_SHARPENED = Halo(1.2, 0.7)


def _of(*steps: Callable[[ImageArray], ImageArray]) -> Protocol:
    return lambda image, _: carry_out(steps, image)


def _noise(read: float) -> Protocol:
    return lambda image, rng: add_sensor_noise(image, rng, read=read)


def _noisy_half(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    return add_sensor_noise(_HALVED(image), rng, read=4)


def _noisy_webcam(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    noisy = add_sensor_noise(Gaussian(1.2)(image), rng, read=8)
    return carry_out((Rescale(1.5, "area", "bilinear"), _jpeg(45)), noisy)


def _jpeg(quality: int) -> Jpeg:
    return Jpeg(quality, is_subsampled=True)


def _box(image: ImageArray) -> ImageArray:
    return np.asarray(cv2.blur(image, (3, 3)), np.uint8)


def _median(image: ImageArray) -> ImageArray:
    return np.asarray(cv2.medianBlur(image, 3), np.uint8)


# Fixed for good, as `PROTOCOLS` are.
WIDE_PROTOCOLS: Mapping[str, Protocol] = {
    "bicubic x1.25": _of(Rescale(1.25, "bicubic-antialiased", "bicubic-antialiased")),
    "bicubic x6": _of(Rescale(6, "area", "bicubic")),
    "bicubic x8": _of(Rescale(8, "bicubic-antialiased", "bicubic-antialiased")),
    "lanczos x2": _of(Rescale(2, "lanczos-antialiased", "lanczos-antialiased")),
    "lanczos x3": _of(Rescale(3, "lanczos-antialiased", "lanczos-antialiased")),
    "lanczos x2 aliased": _of(Rescale(2, "lanczos", "lanczos")),
    "hamming x2": _of(Rescale(2, "hamming-antialiased", "hamming-antialiased")),
    "bilinear x2": _of(Rescale(2, "area", "bilinear")),
    "decimated x2": _of(Rescale(2, "nearest", "bicubic")),
    "blocky x2": _of(Rescale(2, "area", "nearest")),
    "gaussian 0.5": _of(Gaussian(0.5)),
    "gaussian 1.5": _of(Gaussian(1.5)),
    "gaussian 3.0": _of(Gaussian(3.0)),
    "box 3": _of(_box),
    "median 3": _of(_median),
    "defocus 1.5": _of(Defocus(1.5)),
    "defocus 3.0": _of(Defocus(3.0)),
    "defocus 5.0": _of(Defocus(5.0)),
    "motion 5": _of(Motion(5, 30, 0)),
    "motion 10": _of(Motion(10, 100, 0)),
    "jpeg 90": _of(_jpeg(90)),
    "jpeg 50": _of(_jpeg(50)),
    "jpeg 20": _of(_jpeg(20)),
    "webp 60": _of(WebP(60)),
    "noise 3": _noise(3),
    "noise 10": _noise(10),
    "sharpened": _of(_SHARPENED),
    "bicubic x2, sharpened": _of(_HALVED, _SHARPENED),
    "bicubic x2, noise 4": _noisy_half,
    "small jpeg x2": _of(Rescale(2, "area", "bicubic", _jpeg(60))),
    "gaussian 1.0, jpeg 70": _of(Gaussian(1.0), _jpeg(70)),
    "gaussian 1.0, webp 60": _of(Gaussian(1.0), WebP(60)),
    "noisy webcam": _noisy_webcam,
}
"""By name, from an image (H, W, 3) uint8 RGB and a generator to the degraded image."""

EVERY_PROTOCOL: Mapping[str, Protocol] = {**PROTOCOLS, **WIDE_PROTOCOLS}
