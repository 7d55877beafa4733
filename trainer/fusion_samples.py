"""What a `FusionNetwork` learns from: filmed and shared scenes, degraded, sharpened and aligned.

A sample is a few crops of some frames of one clip: luma as it came and sharpened, how far the
sharpened one is from the clean one, and the motion to its neighbours. It depends on the seed, its
number and the pictures alone. Samples are made once and kept in files, since a clip costs far more
than a step of training.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from service.model.alignment import Luma, luma, motion
from service.model.atomic import write_bytes
from service.model.neighbours import NEIGHBOURS, luma_levels
from service.model.sharpener import Sharpener
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
    "FRAMES",
    "LUMA_STEPS",
    "FusionSample",
    "halved_motions",
    "make_sample",
    "read_sample",
    "write_sample",
]

FloatArray = npt.NDArray[np.floating]

CROP_PX = 128
FRAMES = 8  # of a crop
CROPS_PER_SAMPLE = 5
LUMA_STEPS = 256  # of a level
_CLIP_FRAMES = 20
_TRIES = 20  # of pictures, for one that is large enough
_CALL_SHARE, _MOVING_SHARE = 0.2, 0.4  # of the scenes; the rest are screens
_HELD_SHARE, _LONGEST_HELD = 0.35, 6  # of the clips; frames that each picture of it is there for
_MIXED = 3  # pictures in a moving scene or on a screen
_RECORDING_SHARE = 0.4  # of the codecs' clips
_CODEC_SHARE, _JPEG_SHARE = 0.6, 0.18  # the rest is no more than blurred
_RATES_KBPS = (60.0, 1500.0)  # of 640x360
_SCREEN_RATES_KBPS = (40.0, 500.0)  # what a screen needs that stands for the most part
_BEGINNING_SHARE = 0.25  # of the samples, that are of a clip's first frames
_BLURS_PX = (0.3, 1.6)
_BLURRED_SHARE = 0.6
_LARGEST_NOISE = 0.025  # standard deviation, of 1
_JPEG_QUALITIES = (35, 96)


@dataclass(frozen=True, slots=True)
class FusionSample:
    """Crops of `FRAMES` frames of one clip, T x H x W each.

    Attributes:
        sharpened: (`CROPS_PER_SAMPLE`, T, H, W) uint16, luma in 1 / `LUMA_STEPS` levels.
        seen: (`CROPS_PER_SAMPLE`, T, H, W) uint8, luma of what came.
        missing: (`CROPS_PER_SAMPLE`, T, H, W) fp16, clean luma less sharpened luma, levels.
        motion: (`CROPS_PER_SAMPLE`, T, K, 2, H / 2, W / 2) fp16, to each of the `NEIGHBOURS`, px
            across and down; zeros where there is none.
        kind: `codec`, `jpeg` (frame by frame, as a webcam's) or `blur`.
    """

    sharpened: npt.NDArray[np.uint16]
    seen: ImageArray
    missing: FloatArray
    motion: FloatArray
    kind: str


def make_sample(
    pictures: Sequence[Path],
    sharpeners: Sequence[Sharpener],
    *,
    fonts: Sequence[Path] = (),
    seed: int,
    number: int,
) -> FusionSample:
    """Films or draws a clip, degrades and sharpens it, and cuts what is needed of it.

    Args:
        pictures: sharp ones; those below `CROP_PX` are passed over.
        sharpeners: one of which is drawn.
        fonts: of the text on screens, see `screen_scene`.

    Raises:
        ValueError: no picture that was drawn is large enough.
    """
    rng = np.random.default_rng((seed, number))
    scene, rates_kbps = _scene(pictures, fonts, rng)
    clean, filmed = _held(*scene, rng=rng)
    kind, images = _degraded(filmed, rng, rates_kbps)
    sharpener = sharpeners[int(rng.integers(len(sharpeners)))]
    is_beginning = rng.random() < _BEGINNING_SHARE
    first = 0 if is_beginning else int(rng.integers(len(images) - FRAMES + 1))
    chosen = slice(first, first + FRAMES)
    seen = [luma(image) for image in images[chosen]]
    sharpened = [
        luma_levels(sharpener.sharpen(image).astype(np.float32)) for image in images[chosen]
    ]
    missing = [
        luma_levels(image.astype(np.float32)) - level
        for image, level in zip(clean[chosen], sharpened, strict=True)
    ]
    motions = halved_motions(seen)
    # An even start, since the network takes 2x2 pixels as one position.
    starts = [
        tuple(2 * int(rng.integers((side - CROP_PX) // 2 + 1)) for side in seen[0].shape)
        for _ in range(CROPS_PER_SAMPLE)
    ]

    def cut(planes: Sequence[npt.NDArray[Any]], dtype: type, *, shrunk: int = 1) -> Any:
        side = CROP_PX // shrunk
        stacked = np.stack(planes)
        return np.stack(
            [
                stacked[..., top // shrunk :, left // shrunk :][..., :side, :side]
                for top, left in starts
            ]
        ).astype(dtype)

    return FusionSample(
        cut([np.rint(level * LUMA_STEPS) for level in sharpened], np.uint16),
        cut(seen, np.uint8),
        cut(missing, np.float16),
        cut(motions, np.float16, shrunk=2),
        kind,
    )


def write_sample(sample: FusionSample, path: Path) -> None:
    """Writes it whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    encoded = io.BytesIO()
    np.savez(encoded, **asdict(sample))
    write_bytes(path, encoded.getvalue())


def read_sample(path: Path) -> FusionSample:
    """Reads what `write_sample` wrote.

    Raises:
        OSError, ValueError: it cannot be read, or is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            read = {field.name: arrays[field.name] for field in fields(FusionSample)}
            return FusionSample(**read | {"kind": str(read["kind"])})
    except KeyError as exc:
        raise ValueError(f"{path} is no sample of `clearcall-train fusion`. Delete it.") from exc


def _scene(
    pictures: Sequence[Path], fonts: Sequence[Path], rng: np.random.Generator
) -> tuple[tuple[ImageArray, ImageArray], tuple[float, float]]:
    """A clip (T, H, W, 3) as it is and as a camera without blur has it; its range of bit rates."""
    drawn = rng.random()
    seen = [_large_picture(pictures, rng) for _ in range(1 if drawn < _CALL_SHARE else _MIXED)]
    height, width = (min(seen[0].shape[axis], LADDER_SIZE_PX[axis]) // 2 * 2 for axis in (0, 1))
    if drawn < _CALL_SHARE:
        scene = call_scene(seen[0], rng, frames=_CLIP_FRAMES, size_px=(height, width))
        return (scene.clean, scene.filmed), _RATES_KBPS
    is_moving = drawn < _CALL_SHARE + _MOVING_SHARE
    draw = moving_scene if is_moving else partial(screen_scene, fonts=fonts)
    clip = draw(seen, rng, frames=_CLIP_FRAMES, size_px=LADDER_SIZE_PX)
    return (clip, clip), _RATES_KBPS if is_moving else _SCREEN_RATES_KBPS


def _held(*clips: ImageArray, rng: np.random.Generator) -> tuple[ImageArray, ...]:
    """Some with fewer pictures than frames, as where a screen or a camera gives fewer."""
    if rng.random() >= _HELD_SHARE:
        return clips
    held = int(rng.integers(2, _LONGEST_HELD + 1))
    shown = (np.arange(_CLIP_FRAMES) + int(rng.integers(held))) // held
    return tuple(clip[shown] for clip in clips)


def halved_motions(seen: Sequence[Luma]) -> list[FloatArray]:
    """Of each frame to its neighbours, (K, 2, H / 2, W / 2) fp32; zeros where there is none.

    Args:
        seen: luma of a clip's frames, (H, W) uint8, even sides.
    """
    motions = []
    for at, plane in enumerate(seen):
        height, width = plane.shape
        halved = np.zeros((len(NEIGHBOURS), 2, height // 2, width // 2), np.float32)
        for number, offset in enumerate(NEIGHBOURS):
            if 0 <= at + offset < len(seen):
                by = motion(plane, seen[at + offset])
                size = (width // 2, height // 2)
                halved[number] = cv2.resize(by, size, interpolation=cv2.INTER_AREA).transpose(
                    2, 0, 1
                )
        motions.append(halved)
    return motions


def _large_picture(pictures: Sequence[Path], rng: np.random.Generator) -> ImageArray:
    for _ in range(_TRIES):
        try:
            picture = load_picture(pictures[int(rng.integers(len(pictures)))])
        except ImageUnreadable:
            continue
        if min(picture.shape[:2]) >= CROP_PX:
            return picture
    raise ValueError(f"{_TRIES} pictures in a row have a side below {CROP_PX} px")


def _degraded(
    filmed: ImageArray, rng: np.random.Generator, rates_kbps: tuple[float, float]
) -> tuple[str, ImageArray]:
    drawn = rng.random()
    if drawn < _CODEC_SHARE:
        return "codec", received(
            filmed, rng, rates_kbps=rates_kbps, recording_share=_RECORDING_SHARE
        )
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
