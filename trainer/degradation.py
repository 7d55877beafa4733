"""What low bandwidth does to a picture.

Fixed protocols for evaluation and seeded degradations for training; the strengths and shares of the
latter are in `mixture`, the operators that both are made of in `operators`.

Pure: images in, images out, no files. Everything works on an `image`, (H, W, 3) uint8 RGB, and
keeps its size. Random choices come from the generator or the seed passed in and from nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trainer.mixture import DEFAULT_MIXTURE, KINDS, Mixture, draw_chain, sample_chain
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
from trainer.steps import carry_out

__all__ = [
    "DEFAULT_MIXTURE",
    "KINDS",
    "PROTOCOLS",
    "Mixture",
    "Protocol",
    "add_halo",
    "add_sensor_noise",
    "blur_defocus",
    "blur_gaussian",
    "blur_motion",
    "compress_jpeg",
    "degrade_at_random",
    "degrade_sample",
    "rescale",
]


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
    image: ImageArray,
    rng: np.random.Generator,
    *,
    clean_share: float = 0.1,
    mixture: Mixture = DEFAULT_MIXTURE,
) -> ImageArray:
    """A degradation of random kind and strength.

    A `clean_share` of the calls returns the picture untouched, the others one of the `mixture`.
    """
    return carry_out(draw_chain(rng, clean_share=clean_share, mixture=mixture), image)


def degrade_sample(
    image: ImageArray,
    *,
    seed: int,
    number: int,
    clean_share: float = 0.1,
    mixture: Mixture = DEFAULT_MIXTURE,
) -> ImageArray:
    """Training sample `number`, by the chain that `device_degradation.degrade_batch` gives it."""
    chain = sample_chain(seed, number, clean_share=clean_share, mixture=mixture)
    return carry_out(chain, image)
