"""Does a method make flicker what stands still?

A still scene as a webcam sends it: each picture is blurred once, and every frame of it has sensor
noise of its own and goes through JPEG by itself. What changes from frame to frame is noise, so the
change of a method's results beside that of its input tells whether noise is amplified or taken
away. The methods see each frame by itself; `live` is the student on a stream, which remembers what
stands still.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.model.live import LiveSharpener
from service.model.sharpener import Sharpener
from trainer.clip_evaluation import temporal_error
from trainer.evaluation import CROP_PX, SEED, cuts_of
from trainer.methods import ImageArray, Method, standard_methods
from trainer.operators import add_sensor_noise, blur_gaussian, compress_jpeg
from trainer.pictures import choose_pictures
from trainer.summary import grouped

__all__ = [
    "FRAMES",
    "NOISES",
    "STILL_NOTE",
    "Stillness",
    "evaluate_still",
    "film_still",
    "flicker_ratios",
]

FRAMES = 6
NOISES = (0.5, 1.5, 3.0)
_BLUR_SIGMA_PX = 1.0
_JPEG_QUALITY = 85
STILL_NOTE = (
    f"still scenes: {FRAMES} frames of each {CROP_PX}x{CROP_PX} centre crop, Gaussian blur "
    f"{_BLUR_SIGMA_PX:g}, fresh sensor noise (standard deviation in levels of 255), JPEG "
    f"{_JPEG_QUALITY}; mean absolute difference from frame to frame, divided by the input's; live: "
    "the student as a stream has it, where still regions are on"
)


@dataclass(frozen=True, slots=True)
class Stillness:
    """One still scene; `difference` is by method, `input` among them.

    Attributes:
        difference: `temporal_error` against the scene that does not change: the mean change from
            frame to frame, in levels.
        noise: standard deviation of the sensor's noise, in levels of 255.
    """

    picture: str
    noise: float
    difference: dict[str, float]

    def ratio(self, method: str) -> float:
        """The method's temporal difference divided by the input's; below 1 is calmer."""
        return self.difference[method] / self.difference["input"]


def evaluate_still(
    sharpener: Sharpener,
    folder: Path,
    *,
    strength: float | None = None,
    limit: int = 0,
    noises: Sequence[float] = NOISES,
    extra_methods: Mapping[str, Method] | None = None,
    on_picture: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Stillness]:
    """Measures a still scene of every picture of `folder` at every level of noise.

    Pictures that cannot be read or are smaller than the crop are named in the log and left out.

    Args:
        strength: of the student's correction, 0 to 2; None = the checkpoint's default.
        limit: measure so many pictures, spread evenly over the folder; 0 = all.
        noises: standard deviations in levels of 255, above 0.
        on_picture: called with the number of pictures done and in all.

    Raises:
        FileNotFoundError: no picture can be read and is large enough.
    """
    strength = sharpener.default_strength if strength is None else strength
    methods = standard_methods(sharpener, strength=strength, extra=extra_methods)
    paths = choose_pictures(folder, limit)
    measured = []
    for done, path in enumerate(paths):
        on_picture(done, len(paths))
        name = path.relative_to(folder).as_posix()
        for _, picture in cuts_of(path, ("crop",)):
            for noise in noises:
                rng = np.random.default_rng((SEED, zlib.crc32(f"still {noise:g}\n{name}".encode())))
                frames = film_still(picture, rng, noise=noise)
                results = {
                    method: np.stack([run(frame) for frame in frames])
                    for method, run in methods.items()
                }
                results["live"] = _streamed(sharpener, frames, strength)
                scene = np.broadcast_to(picture, frames.shape)
                difference = {
                    method: temporal_error(sharpened, scene)
                    for method, sharpened in results.items()
                }
                if difference["input"] > 0:
                    measured.append(Stillness(name, noise, difference))
    on_picture(len(paths), len(paths))
    if not measured:
        raise FileNotFoundError(f"No picture in {folder} can be read and is large enough.")
    return measured


def _streamed(sharpener: Sharpener, frames: ImageArray, strength: float) -> ImageArray:
    stream = LiveSharpener()
    return np.stack([stream.sharpen(sharpener, frame, strength=strength).image for frame in frames])


def film_still(
    picture: ImageArray, rng: np.random.Generator, *, noise: float, frames: int = FRAMES
) -> ImageArray:
    """What a webcam sees of a `picture`, (H, W, 3) uint8 RGB, that does not move: (T, H, W, 3).

    Args:
        noise: standard deviation of the sensor's noise, in levels of 255.
    """
    soft = blur_gaussian(picture, sigma_px=_BLUR_SIGMA_PX)
    return np.stack(
        [
            compress_jpeg(add_sensor_noise(soft, rng, read=noise), quality=_JPEG_QUALITY)
            for _ in range(frames)
        ]
    )


def flicker_ratios(
    measured: Sequence[Stillness],
) -> dict[float, dict[str, tuple[float, float]]]:
    """By noise and method: mean and largest ratio over the pictures; `input` is left out."""
    return {
        noise: {
            method: (
                float(np.mean([still.ratio(method) for still in group])),
                max(still.ratio(method) for still in group),
            )
            for method in group[0].difference
            if method != "input"
        }
        for noise, group in grouped(measured, lambda still: still.noise).items()
    }
