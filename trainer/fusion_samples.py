"""What a `FusionNetwork` learns from: filmed and shared scenes, degraded, sharpened and aligned.

A sample is a few crops of a few frames of one clip: the network's planes, and how far the sharpened
luma is from the clean one. It depends on the seed, its number and the pictures alone. Samples are
made once and kept in files, since a clip costs far more than a step of training.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.model.neighbours import NEIGHBOURS, Shot, beside_neighbours, luma_levels
from service.model.sharpener import Sharpener
from trainer.atomic import write_bytes
from trainer.call_frames import received
from trainer.call_scene import call_scene
from trainer.moving_scene import moving_scene
from trainer.operators import ImageArray, add_sensor_noise, blur_gaussian, compress_jpeg
from trainer.pictures import ImageUnreadable, load_picture
from trainer.screen_scene import screen_scene
from trainer.video_codec import LADDER_SIZE_PX

__all__ = [
    "CROPS_PER_SAMPLE",
    "CROP_PX",
    "FusionSample",
    "make_sample",
    "read_sample",
    "write_sample",
]

FloatArray = npt.NDArray[np.floating]

CROP_PX = 192
_FRAMES = 20
_TARGETS = 3  # frames of a clip
_CROPS = 2  # of a frame
CROPS_PER_SAMPLE = _TARGETS * _CROPS
_TRIES = 20  # of pictures, for one that is large enough
_CALL_SHARE, _MOVING_SHARE = 0.2, 0.5  # of the scenes; the rest are screens
_MIXED = 3  # pictures in a moving scene or on a screen
_CODEC_SHARE, _JPEG_SHARE = 0.6, 0.18  # the rest is no more than blurred
_RATES_KBPS = (60.0, 1500.0)  # of 640x360
_BLURS_PX = (0.3, 1.6)
_BLURRED_SHARE = 0.6
_LARGEST_NOISE = 0.025  # standard deviation, of 1
_JPEG_QUALITIES = (35, 96)


@dataclass(frozen=True, slots=True)
class FusionSample:
    """Crops of one clip.

    Attributes:
        planes: (`CROPS_PER_SAMPLE`, 2 + 2 K, `CROP_PX`, `CROP_PX`) fp16, see `FusionNetwork`.
        missing: clean luma less sharpened luma, (`CROPS_PER_SAMPLE`, `CROP_PX`, `CROP_PX`) fp16,
            levels.
        kind: `codec`, `jpeg` (frame by frame, as a webcam's) or `blur`.
    """

    planes: FloatArray
    missing: FloatArray
    kind: str


def make_sample(
    pictures: Sequence[Path], sharpeners: Sequence[Sharpener], *, seed: int, number: int
) -> FusionSample:
    """Films or draws a clip, degrades and sharpens it, and cuts what is needed of it.

    Args:
        pictures: sharp ones; those below `CROP_PX` are passed over.
        sharpeners: one of which is drawn.

    Raises:
        ValueError: no picture that was drawn is large enough.
    """
    rng = np.random.default_rng((seed, number))
    clean, filmed = _scene(pictures, rng)
    kind, seen = _degraded(filmed, rng)
    sharpener = sharpeners[int(rng.integers(len(sharpeners)))]
    sharpened: dict[int, ImageArray] = {}

    def shot(at: int) -> Shot | None:
        if not 0 <= at < len(seen):
            return None
        if at not in sharpened:
            sharpened[at] = sharpener.sharpen(seen[at])
        return Shot(seen[at], sharpened[at])

    planes, missing = [], []
    for target in rng.choice(len(seen), _TARGETS, replace=False):
        at = int(target)
        middle = shot(at)
        assert middle is not None
        frame_planes, _ = beside_neighbours(middle, [shot(at + offset) for offset in NEIGHBOURS])
        frame_missing = luma_levels(clean[at]) - frame_planes[0]
        for _ in range(_CROPS):
            # An even start, since the network takes 2x2 pixels as one position.
            top, left = (
                2 * int(rng.integers((side - CROP_PX) // 2 + 1)) for side in frame_missing.shape
            )
            cut = np.s_[..., top : top + CROP_PX, left : left + CROP_PX]
            planes.append(frame_planes[cut].astype(np.float16))
            missing.append(frame_missing[cut].astype(np.float16))
    return FusionSample(np.stack(planes), np.stack(missing), kind)


def write_sample(sample: FusionSample, path: Path) -> None:
    """Writes it whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    encoded = io.BytesIO()
    np.savez(encoded, planes=sample.planes, missing=sample.missing, kind=np.array(sample.kind))
    write_bytes(path, encoded.getvalue())


def read_sample(path: Path) -> FusionSample:
    """Reads what `write_sample` wrote.

    Raises:
        OSError, ValueError: it cannot be read, or is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return FusionSample(arrays["planes"], arrays["missing"], str(arrays["kind"]))
    except KeyError as exc:
        raise ValueError(f"{path} is no sample of `clearcall-train fusion`. Delete it.") from exc


def _scene(pictures: Sequence[Path], rng: np.random.Generator) -> tuple[ImageArray, ImageArray]:
    """A clip (T, H, W, 3) as it is, and as a camera without blur has it."""
    drawn = rng.random()
    seen = [_large_picture(pictures, rng) for _ in range(1 if drawn < _CALL_SHARE else _MIXED)]
    height, width = (min(seen[0].shape[axis], LADDER_SIZE_PX[axis]) // 2 * 2 for axis in (0, 1))
    if drawn < _CALL_SHARE:
        scene = call_scene(seen[0], rng, frames=_FRAMES, size_px=(height, width))
        return scene.clean, scene.filmed
    draw = moving_scene if drawn < _CALL_SHARE + _MOVING_SHARE else screen_scene
    clip = draw(seen, rng, frames=_FRAMES, size_px=LADDER_SIZE_PX)
    return clip, clip


def _large_picture(pictures: Sequence[Path], rng: np.random.Generator) -> ImageArray:
    for _ in range(_TRIES):
        try:
            picture = load_picture(pictures[int(rng.integers(len(pictures)))])
        except ImageUnreadable:
            continue
        if min(picture.shape[:2]) >= CROP_PX:
            return picture
    raise ValueError(f"{_TRIES} pictures in a row have a side below {CROP_PX} px")


def _degraded(filmed: ImageArray, rng: np.random.Generator) -> tuple[str, ImageArray]:
    drawn = rng.random()
    if drawn < _CODEC_SHARE:
        return "codec", received(filmed, rng, rates_kbps=_RATES_KBPS)
    sigma_px = rng.uniform(*_BLURS_PX) if rng.random() < _BLURRED_SHARE else 0.0
    blurred = [blur_gaussian(frame, sigma_px=sigma_px) if sigma_px else frame for frame in filmed]
    if drawn >= _CODEC_SHARE + _JPEG_SHARE:
        return "blur", np.stack(blurred)
    noise = 255 * rng.uniform(0, _LARGEST_NOISE)
    quality = int(rng.integers(*_JPEG_QUALITIES))
    return "jpeg", np.stack(
        [
            compress_jpeg(add_sensor_noise(frame, rng, read=noise), quality=quality)
            for frame in blurred
        ]
    )
