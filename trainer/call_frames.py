"""Frames as a low-bandwidth call shows them, beside what was filmed: pairs to train on.

Every picture is filmed (`call_scene`), goes through a codec at a call's bit rate, and leaves some
of its decoded frames with their clean partners in two folders, `blurry` and `sharp`, that `sources`
reads as pairs. Made once: a frame of a clip costs far more than a crop's other degradations.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from service.model.atomic import write_bytes
from trainer.call_scene import call_scene
from trainer.operators import ImageArray
from trainer.pictures import ImageUnreadable, find_pictures, load_picture
from trainer.video_codec import LADDER_SIZE_PX, Codec, available_codecs, encode_clip

__all__ = ["CallSummary", "received", "write_call_frames"]

_SIDES = ("blurry", "sharp")
_CODEC_SHARES: dict[Codec, float] = {"h264": 0.46, "vp9": 0.46, "av1": 0.08}
_RATES_KBPS = (70.0, 600.0)  # of 640x360
_SMALLEST_PX = 128
_FRAME_RATES = (15, 24, 30)
_FRAMES = 20
_KEPT_FRAMES = (5, 12, 19)  # soon after the key frame, and when the rate has settled

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CallSummary:
    """How many pairs were written, and how many pictures could not be used."""

    pairs: int
    skipped: int

    def describe(self) -> str:
        return f"{self.pairs} pairs of frames, {self.skipped} pictures skipped"


def write_call_frames(
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    clips_per_picture: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> CallSummary:
    """Writes `out`/blurry/NAME.png and `out`/sharp/NAME.png, three pairs a clip.

    640x360, or less where the picture is smaller, at a bit rate that is less alike. A pair depends
    on the seed, on its picture and its place among them, and on the clip's number; pairs that are
    there already are kept, so that a run that was stopped can be started again.

    Args:
        data: folder of sharp pictures; those with a side below 128 px are left out.
        progress: called with the number of clips done and in all.

    Raises:
        FileNotFoundError: the folder holds no picture.
        OSError: `out` cannot be written.
    """
    paths = find_pictures(data)
    total = len(paths) * clips_per_picture
    pairs = skipped = 0
    given: set[str] = set()
    for number, path in enumerate(paths):
        stem = _unlike(path.relative_to(data).with_suffix("").as_posix().replace("/", "-"), given)
        for clip in range(clips_per_picture):
            progress(number * clips_per_picture + clip, total)
            names = [f"{stem}-{clip}-{kept}.png" for kept in range(len(_KEPT_FRAMES))]
            if not all((out / side / n).is_file() for side in _SIDES for n in names):
                try:
                    _write_clip(path, out, names, np.random.default_rng((seed, number, clip)))
                except (ImageUnreadable, ValueError) as exc:
                    _log.warning("skipped %s: %s", path, exc)
                    skipped += 1
                    break
            pairs += len(names)
    progress(total, total)
    return CallSummary(pairs, skipped)


def _unlike(name: str, given: set[str]) -> str:
    """The name, with a number behind it where others of one name came before; it is given then."""
    chosen, number = name, 2
    while chosen in given:
        chosen, number = f"{name}.{number}", number + 1
    given.add(chosen)
    return chosen


def _write_clip(path: Path, out: Path, names: list[str], rng: np.random.Generator) -> None:
    picture = load_picture(path)
    height, width = (min(picture.shape[axis], LADDER_SIZE_PX[axis]) for axis in (0, 1))
    if min(height, width) < _SMALLEST_PX:
        raise ValueError(f"a side of it is below {_SMALLEST_PX} px")
    scene = call_scene(picture, rng, frames=_FRAMES, size_px=(height, width))
    decoded = received(scene.filmed, rng, rates_kbps=_RATES_KBPS)
    for name, kept in zip(names, _KEPT_FRAMES, strict=True):
        write_bytes(out / "sharp" / name, _as_png(scene.clean[kept]))
        write_bytes(out / "blurry" / name, _as_png(decoded[kept]))


def received(
    filmed: ImageArray,
    rng: np.random.Generator,
    *,
    rates_kbps: tuple[float, float],
    recording_share: float = 0.0,
) -> ImageArray:
    """A clip (T, H, W, 3) uint8 RGB as a call's other side, or who has the recording, decodes it.

    Codec, frame rate and bit rate are drawn.

    Args:
        rates_kbps: lowest and highest of 640x360; of less where a frame is smaller.
        recording_share: how many clips in all are encoded as recordings, 0 to 1.
    """
    height, width = filmed.shape[1:3]
    codecs = [codec for codec in _CODEC_SHARES if codec in available_codecs()]
    shares = np.array([_CODEC_SHARES[codec] for codec in codecs])
    codec = codecs[rng.choice(len(codecs), p=shares / shares.sum())]
    lowest, highest = map(math.log, rates_kbps)
    rate_kbps = math.exp(rng.uniform(lowest, highest)) * height * width / math.prod(LADDER_SIZE_PX)
    fps = _FRAME_RATES[rng.integers(len(_FRAME_RATES))]
    is_recording = recording_share > 0 and rng.random() < recording_share
    encoded = encode_clip(
        filmed, codec=codec, bitrate_kbps=rate_kbps, fps=fps, is_recording=is_recording
    )
    return encoded.decoded


def _as_png(image: ImageArray) -> bytes:
    is_written, encoded = cv2.imencode(".png", image[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert is_written, "PNG takes every image"
    return encoded.tobytes()
