"""What a stream's memory saves and changes: still regions, the description, the processing scale.

`python -m benchmarks.still [--clip FILE]`. Without a clip, a synthetic scene: a still photograph,
another one moving in front of it.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from service.model.live import DESCRIBE_EVERY, LiveSharpener
from service.model.sharpener import ImageArray, Sharpener
from trainer.clip_evaluation import temporal_error
from trainer.timing import time_calls
from trainer.video_codec import read_clip

__all__ = ["StillTiming", "moving_patch", "still_timing"]

_SAMPLES = Path(__file__).parents[1] / "tests" / "samples"
_CASES = (("nano", (720, 1280)), ("small", (360, 640)))
_NOISES = (0.0, 2.0, 4.0)
_WARM_UP_FRAMES = 30  # sizes that come up for the first time take longer
_DESCRIBED_FRAMES = 120
_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class StillTiming:
    """One student on one scene, frame by frame with and without the memory, in one run.

    Attributes:
        still_share: mean share of a frame that was not computed.
        without_ms, with_ms: medians over frames, after a warm-up.
        psnr_db: of the results with it against those without it.
        flickers: `temporal_error` of the frames given, of the results without, and with it.
    """

    still_share: float
    without_ms: float
    with_ms: float
    psnr_db: float
    flickers: tuple[float, float, float]


def moving_patch(count: int, size: tuple[int, int]) -> ImageArray:
    """(count, height, width, 3): a photograph that moves in front of another one, slightly blurred.

    It takes a quarter of the width and half of the height.
    """
    height, width = size
    background = _sample("museum", size)
    patch = _sample("woman-with-hat", (height // 2, width // 4))
    frames = np.repeat(background[None], count, axis=0)
    for number, frame in enumerate(frames):
        left = round(width * (0.35 + 0.1 * np.sin(number / 12)))
        frame[height // 2 :, left : left + width // 4] = patch[: height - height // 2]
    return np.stack([np.asarray(cv2.GaussianBlur(frame, (0, 0), 1.0)) for frame in frames])


def _sample(name: str, size: tuple[int, int]) -> ImageArray:
    image: Any = cv2.imread(str(_SAMPLES / f"{name}.jpg"))
    scaled: Any = cv2.resize(image, size[::-1], interpolation=cv2.INTER_CUBIC)
    return _swapped(scaled)


def _swapped(image: Any) -> ImageArray:
    """RGB <-> BGR."""
    return np.ascontiguousarray(image[..., ::-1])


def sent(frames: ImageArray, *, noise: float, quality: int = 85) -> Iterator[ImageArray]:
    """The frames as a browser would send them: with sensor noise, through JPEG."""
    rng = np.random.default_rng(0)
    for frame in frames:
        noisy = frame + rng.normal(0, noise, frame.shape) if noise else frame
        rgb: Any = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        _, encoded = cv2.imencode(".jpg", _swapped(rgb), options)
        yield _swapped(cv2.imdecode(encoded, cv2.IMREAD_COLOR))


def _psnr_db(one: ImageArray, other: ImageArray) -> float:
    """Of images, or of all of two clips' frames together."""
    width = one.shape[-2]
    return float(cv2.PSNR(one.reshape(-1, width, 3), other.reshape(-1, width, 3)))


def still_timing(sharpener: Sharpener, clean: ImageArray, *, noise: float) -> StillTiming:
    """Through two streams of one student, which differ in nothing but the still regions."""
    given = np.stack(list(sent(clean, noise=noise)))
    streams = LiveSharpener(), LiveSharpener()
    results: tuple[list[ImageArray], ...] = ([], [])
    times_ms: tuple[list[float], ...] = ([], [])
    shares = []
    for frame in given:
        for which, stream in enumerate(streams):
            started_s = time.perf_counter()
            live = stream.sharpen(sharpener, frame, strength=1.0, reuses_still=which == 1)
            times_ms[which].append((time.perf_counter() - started_s) * 1000)
            results[which].append(live.image)
        shares.append(live.still_share)
    without, with_it = (np.stack(each) for each in results)
    flickers = [temporal_error(each, clean) for each in (given, without, with_it)]
    without_ms, with_ms = (float(np.median(each[_WARM_UP_FRAMES:])) for each in times_ms)
    return StillTiming(
        still_share=float(np.mean(shares[1:])),
        without_ms=without_ms,
        with_ms=with_ms,
        psnr_db=_psnr_db(with_it, without),
        flickers=(flickers[0], flickers[1], flickers[2]),
    )


def _still_lines(scenes: dict[str, Callable[[tuple[int, int]], ImageArray]]) -> Iterator[str]:
    yield "## Still regions"
    yield ""
    yield (
        "Frames as JPEG of quality 85, after sensor noise where it says so (standard deviation in "
        "levels). `PSNR` is that of the results with still regions against those without. Flicker "
        "is the mean absolute error of the change from frame to frame, in levels."
    )
    yield ""
    yield (
        "| scene | noise | student | picture | reused | ms without | ms with | of the time | "
        "PSNR dB | flicker in | without | with |"
    )
    yield "|---|---:|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for student, size in _CASES:
        sharpener = _loaded(student)
        for scene, make in scenes.items():
            clean = make(size)
            for noise in _NOISES:
                case = f"| {scene} | {noise:g} | {student} | {size[1]}x{size[0]} | "
                yield case + _still_cells(still_timing(sharpener, clean, noise=noise))


def _still_cells(timing: StillTiming) -> str:
    flickers = " | ".join(f"{each:.2f}" for each in timing.flickers)
    return (
        f"{timing.still_share:.0%} | {timing.without_ms:.1f} | {timing.with_ms:.1f} | "
        f"{timing.with_ms / timing.without_ms:.0%} | {timing.psnr_db:.1f} | {flickers} |"
    )


def _description_lines() -> Iterator[str]:
    yield "## The description"
    yield ""
    yield (
        f"Taken for each frame, or every {DESCRIBE_EVERY} frames and smoothed; flicker on a still "
        "photograph with sensor noise 3."
    )
    yield ""
    yield (
        "| student | picture | ms for each frame | ms by stream | flicker for each frame | "
        "by stream |"
    )
    yield "|---|---|---:|---:|---:|---:|"
    for student in ("nano", "small"):
        sharpener = _loaded(student)
        for size in ((256, 256), (360, 640)):
            cells = _description_cells(sharpener, size)
            yield f"| {student} | {size[1]}x{size[0]} | {cells}"


def _description_cells(sharpener: Sharpener, size: tuple[int, int]) -> str:
    clean = np.repeat(_sample("museum", size)[None], 32, axis=0)
    given = list(sent(clean, noise=3.0))
    stream = LiveSharpener()

    def by_stream(frame: ImageArray) -> ImageArray:
        return stream.sharpen(sharpener, frame, strength=1.0, reuses_still=False).image

    def alone(frame: ImageArray) -> ImageArray:
        return sharpener.sharpen(frame, strength=1.0)

    times_ms, flickers = [], []
    for call in (alone, by_stream):
        flickers.append(temporal_error(np.stack([call(frame) for frame in given]), clean))
        frames = itertools.cycle(given[:DESCRIBE_EVERY])
        each_ms = [_time_ms(call, next(frames)) for _ in range(_DESCRIBED_FRAMES)]
        times_ms.append(float(np.mean(each_ms[_WARM_UP_FRAMES:])))
    return f"{times_ms[0]:.2f} | {times_ms[1]:.2f} | {flickers[0]:.3f} | {flickers[1]:.3f} |"


def _time_ms(call: Callable[[ImageArray], object], frame: ImageArray) -> float:
    started_s = time.perf_counter()
    call(frame)
    return (time.perf_counter() - started_s) * 1000


def _scale_lines() -> Iterator[str]:
    yield "## The processing scale"
    yield ""
    yield "One photograph, blurred by 1.5 px; PSNR against the photograph."
    yield ""
    yield "| student | picture | scale | ms | PSNR dB | of the input |"
    yield "|---|---|---:|---:|---:|---:|"
    for student, size in _CASES:
        sharpener = _loaded(student)
        clean = _sample("colosseum", size)
        blurred: Any = cv2.GaussianBlur(clean, (0, 0), 1.5)
        for scale in (1.0, 0.75, 0.5):
            median_ms, result = _at_scale(sharpener, blurred, scale)
            yield (
                f"| {student} | {size[1]}x{size[0]} | {scale:g} | {median_ms:.1f} | "
                f"{_psnr_db(result, clean):.2f} | {_psnr_db(blurred, clean):.2f} |"
            )


def _at_scale(sharpener: Sharpener, image: ImageArray, scale: float) -> tuple[float, ImageArray]:
    stream = LiveSharpener()

    def call() -> ImageArray:
        return stream.sharpen(sharpener, image, strength=1.0, scale=scale, reuses_still=False).image

    median_ms, _ = time_calls(call, seconds=_SECONDS)
    return median_ms, call()


def _loaded(student: str) -> Sharpener:
    sharpener = Sharpener.load(student, device="cpu")
    sharpener.warm_up()
    return sharpener


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.still", description=__doc__)
    parser.add_argument("--clip", type=Path, help="a video file; scaled to the sizes measured")
    parser.add_argument("--frames", type=int, default=90, help="of each scene")
    parser.add_argument("--part", choices=("still", "description", "scale"), help="only this one")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)  # as in the service

    def of_clip(size: tuple[int, int]) -> ImageArray:
        return read_clip(arguments.clip, max_frames=arguments.frames, size_px=size)

    scenes: dict[str, Callable[[tuple[int, int]], ImageArray]] = {}
    if arguments.clip:
        scenes[arguments.clip.stem] = of_clip
    scenes["moving patch"] = lambda size: moving_patch(arguments.frames, size)
    parts = {
        "still": _still_lines(scenes),
        "description": _description_lines(),
        "scale": _scale_lines(),
    }
    for lines in [parts[arguments.part]] if arguments.part else parts.values():
        for line in lines:
            print(line, flush=True)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
