"""A degradation as data: the steps it consists of, with all their strengths and seeds drawn.

A chain of steps alone determines what becomes of a picture. So it can be drawn on the CPU and
carried out either there, step by step, or by `device_degradation` for a whole batch, and printed.
A step is called with an `image`, (H, W, 3) uint8 RGB, and returns one of the same size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.operators import (
    ImageArray,
    Resampler,
    add_halo,
    add_sensor_noise,
    blur_defocus,
    blur_gaussian,
    blur_motion,
    compress_jpeg,
    compress_webp,
    rescale,
)
from trainer.video_codec import Codec, compress_video

__all__ = [
    "Chain",
    "Defocus",
    "Gaussian",
    "Halo",
    "Jpeg",
    "Motion",
    "Noise",
    "Rescale",
    "Step",
    "Video",
    "WebP",
    "carry_out",
    "describe",
]


@dataclass(frozen=True, slots=True)
class Gaussian:
    """See `operators.blur_gaussian`."""

    sigma_px: float

    def __call__(self, image: ImageArray) -> ImageArray:
        return blur_gaussian(image, sigma_px=self.sigma_px)

    def __str__(self) -> str:
        return f"Gaussian {self.sigma_px:.2f} px"


@dataclass(frozen=True, slots=True)
class Defocus:
    """See `operators.blur_defocus`."""

    radius_px: float

    def __call__(self, image: ImageArray) -> ImageArray:
        return blur_defocus(image, radius_px=self.radius_px)

    def __str__(self) -> str:
        return f"defocus {self.radius_px:.2f} px"


@dataclass(frozen=True, slots=True)
class Motion:
    """See `operators.blur_motion`."""

    length_px: float
    angle_deg: float
    bend_deg: float

    def __call__(self, image: ImageArray) -> ImageArray:
        return blur_motion(
            image, length_px=self.length_px, angle_deg=self.angle_deg, bend_deg=self.bend_deg
        )

    def __str__(self) -> str:
        bend = f", bend {self.bend_deg:.0f} deg" if self.bend_deg else ""
        return f"motion {self.length_px:.1f} px at {self.angle_deg:.0f} deg{bend}"


@dataclass(frozen=True, slots=True)
class Noise:
    """See `operators.add_sensor_noise`; on a device the same seed gives other numbers."""

    read: float
    shot: float
    seed: int

    def __call__(self, image: ImageArray) -> ImageArray:
        rng = np.random.default_rng(self.seed)
        return add_sensor_noise(image, rng, read=self.read, shot=self.shot)

    def __str__(self) -> str:
        return f"noise read {self.read:.1f} shot {self.shot:.1f}"


@dataclass(frozen=True, slots=True)
class Jpeg:
    """See `operators.compress_jpeg`."""

    quality: int
    is_subsampled: bool

    def __call__(self, image: ImageArray) -> ImageArray:
        return compress_jpeg(image, quality=self.quality, is_subsampled=self.is_subsampled)

    def __str__(self) -> str:
        return f"JPEG {self.quality} {'4:2:0' if self.is_subsampled else '4:4:4'}"


@dataclass(frozen=True, slots=True)
class WebP:
    """See `operators.compress_webp`."""

    quality: int

    def __call__(self, image: ImageArray) -> ImageArray:
        return compress_webp(image, quality=self.quality)

    def __str__(self) -> str:
        return f"WebP {self.quality}"


@dataclass(frozen=True, slots=True)
class Halo:
    """See `operators.add_halo`."""

    radius_px: float
    amount: float

    def __call__(self, image: ImageArray) -> ImageArray:
        return add_halo(image, radius_px=self.radius_px, amount=self.amount)

    def __str__(self) -> str:
        return f"halo {self.amount:.2f} of {self.radius_px:.1f} px"


@dataclass(frozen=True, slots=True)
class Video:
    """See `video_codec.compress_video`; the seed is that of the camera's motion."""

    codec: Codec
    crf: int
    seed: int

    def __call__(self, image: ImageArray) -> ImageArray:
        rng = np.random.default_rng(self.seed)
        return compress_video(image, rng, codec=self.codec, crf=self.crf)

    def __str__(self) -> str:
        return f"{self.codec} CRF {self.crf}"


@dataclass(frozen=True, slots=True)
class Rescale:
    """See `operators.rescale`; `between` is what happens to the small picture."""

    factor: float
    shrink: Resampler
    enlarge: Resampler
    between: Jpeg | Video | None = None

    def __call__(self, image: ImageArray) -> ImageArray:
        return rescale(
            image,
            factor=self.factor,
            shrink=self.shrink,
            enlarge=self.enlarge,
            between=self.between,
        )

    def __str__(self) -> str:
        up = "" if self.enlarge == self.shrink else f", up {self.enlarge}"
        between = f", small {self.between}" if self.between else ""
        return f"x{self.factor:.2f} {self.shrink}{up}{between}"


Step = Gaussian | Defocus | Motion | Noise | Jpeg | WebP | Halo | Video | Rescale
Chain = tuple[Step, ...]


def carry_out(chain: Sequence[Callable[[ImageArray], ImageArray]], image: ImageArray) -> ImageArray:
    """The image after all steps; a copy where there are none."""
    for step in chain:
        image = step(image)
    return image if chain else image.copy()


def describe(chain: Chain) -> str:
    """One line for people."""
    return " > ".join(map(str, chain)) or "untouched"
