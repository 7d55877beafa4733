"""The live path against its bars: what it costs beyond model and codec, and what load does to it.

Each figure stands beside what it is compared with, measured in the same run: model and codec are
the service's own code in this process, while no service runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.footage import panned_frames, played
from benchmarks.load import LoadReport, run_load
from benchmarks.load_client import LoadOptions, StreamPlan
from benchmarks.service import Service
from service.frame_codec import decode_frame, encode_frame, use_one_thread_per_call
from service.model.sharpener import Sharpener
from trainer.timing import PICTURES, time_calls

__all__ = [
    "FloodTiming",
    "SoakTiming",
    "StillTiming",
    "StreamTiming",
    "flood_timing",
    "soak_timing",
    "still_timing",
    "stream_timings",
]

_QUALITY = 85  # the service's default
_MANY_PX = 100_000_000
_CALM_SHARE = 0.5  # of what fits, where latency is to show no queue
_FLOOD_STREAMS = 4
_FLOOD_SIZE = (360, 640)
_SOAK_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class StreamTiming:
    """One stream of one size, as fast as its window allows, and then at half of that.

    `alone_fps` is what one frame after another reaches when nothing but decoding, model and
    encoding is called; `overlapped_fps` what the cores could reach with decoding and encoding
    beside the model. `overhead` is the server's total without decode, inference and encode, when
    frames do not wait for each other.
    """

    height: int
    width: int
    fps: float
    latency_ms: tuple[float, float]
    calm_latency_ms: tuple[float, float]
    overhead_ms: tuple[float, float]
    decode_ms: float
    model_ms: float
    encode_ms: float

    @property
    def alone_fps(self) -> float:
        return 1000 / (self.decode_ms + self.model_ms + self.encode_ms)

    @property
    def share(self) -> float:
        """Of what model and codec alone allow."""
        return self.fps / self.alone_fps


@dataclass(frozen=True, slots=True)
class StillTiming:
    """`nano` at 1280x720 with still regions used again and not; `still_share` is their size."""

    footage: str
    fps_with: float
    fps_without: float
    still_share: float
    latency_ms: tuple[float, float]


@dataclass(frozen=True, slots=True)
class FloodTiming:
    """Streams that offer four times what fits, beside the same streams at half of it."""

    calm: LoadReport
    flood: LoadReport
    capacity_fps: float
    offered_fps: float

    @property
    def latency_ratio(self) -> float:
        """p95 of the delivered frames against the calm p95."""
        return self.flood.latency_ms(95) / self.calm.latency_ms(95)


@dataclass(frozen=True, slots=True)
class SoakTiming:
    """Resident memory after the first minute, or half of a shorter time, and at the end."""

    minutes: float
    first_mb: float
    last_mb: float
    is_balanced: bool

    @property
    def growth(self) -> float:
        return self.last_mb / self.first_mb - 1


def _panned(plan: StreamPlan) -> list[bytes]:
    return panned_frames(plan.height, plan.width)


def stream_timings(service: Service, student: str, *, seconds: float) -> list[StreamTiming]:
    """Each size of `PICTURES`, `seconds` for each measurement."""
    use_one_thread_per_call()
    sharpener = Sharpener.load(student)
    parts_ms = {size: _parts_ms(sharpener, *size, seconds=seconds) for size in PICTURES}
    return [_stream_timing(service, *size, parts_ms[size], seconds=seconds) for size in PICTURES]


def _stream_timing(
    service: Service,
    height: int,
    width: int,
    parts_ms: tuple[float, float, float],
    *,
    seconds: float,
) -> StreamTiming:
    # The whole picture moves, and finding that out is part of neither model nor codec.
    options = LoadOptions(seconds=seconds, settings={"still_regions": False})
    busy = run_load(service.url, [StreamPlan(height, width, math.inf)], _panned, options)
    calm_plan = StreamPlan(height, width, round(busy.fps_out * _CALM_SHARE, 2))
    calm = run_load(service.url, [calm_plan], _panned, options).streams[0]
    stream = busy.streams[0]
    return StreamTiming(
        height,
        width,
        busy.fps_out,
        (stream.latency_p50_ms, stream.latency_p95_ms),
        (calm.latency_p50_ms, calm.latency_p95_ms),
        calm.stages_ms["overhead"],
        *parts_ms,
    )


def _parts_ms(
    sharpener: Sharpener, height: int, width: int, *, seconds: float
) -> tuple[float, float, float]:
    """Medians of decoding, model and encoding, called in turn as for a stream's frames."""
    frames = panned_frames(height, width)
    times_s: list[tuple[float, float, float, float]] = []
    number = 0

    def one_frame() -> None:
        nonlocal number
        at_s = [time.perf_counter()]
        image = decode_frame(played(frames, number), max_pixels=_MANY_PX)
        at_s.append(time.perf_counter())
        sharpened = sharpener.sharpen(image)
        at_s.append(time.perf_counter())
        encode_frame(sharpened, "jpeg", quality=_QUALITY)
        times_s.append((*at_s, time.perf_counter()))  # type: ignore[arg-type]
        number += 1

    time_calls(one_frame, seconds=seconds)
    decode_ms, model_ms, encode_ms = np.median(np.diff(times_s, axis=1), axis=0) * 1000
    return float(decode_ms), float(model_ms), float(encode_ms)


def still_timing(
    service: Service, frames: Sequence[bytes], footage: str, *, seconds: float
) -> StillTiming:
    """One stream of 1280x720 frames at 30 FPS or as fast as it goes, still regions on and off."""
    plan = StreamPlan(720, 1280, math.inf)
    runs = {
        is_on: run_load(
            service.url,
            [plan],
            lambda _: list(frames),
            LoadOptions(seconds=seconds, warm_up_s=2.0, settings={"still_regions": is_on}),
        )
        for is_on in (False, True)
    }
    latency = runs[True].streams[0]
    return StillTiming(
        footage,
        runs[True].fps_out,
        runs[False].fps_out,
        latency.still_share,
        (latency.latency_p50_ms, latency.latency_p95_ms),
    )


def flood_timing(service: Service, *, seconds: float) -> FloodTiming:
    """Four streams that send what comes, whatever the window says, at four times what fits."""
    height, width = _FLOOD_SIZE
    options = LoadOptions(seconds=seconds)
    fast = [StreamPlan(height, width, math.inf)] * _FLOOD_STREAMS
    capacity_fps = run_load(service.url, fast, _panned, options).fps_out

    def streams(share: float) -> list[StreamPlan]:
        fps = round(capacity_fps * share / _FLOOD_STREAMS, 2)
        return [StreamPlan(height, width, fps)] * _FLOOD_STREAMS

    calm = run_load(service.url, streams(_CALM_SHARE), _panned, options)
    greedy = LoadOptions(seconds=seconds, is_greedy=True)
    flood = run_load(service.url, streams(4), _panned, greedy)
    return FloodTiming(calm, flood, capacity_fps, sum(each.fps_in for each in flood.streams))


def soak_timing(service: Service, *, minutes: float) -> SoakTiming:
    """Memory under a mix of streams that offer more than fits."""
    plans = [StreamPlan(720, 1280, 30), StreamPlan(360, 640, 30), StreamPlan(360, 640, 15)]
    first_s = min(_SOAK_MINUTE_S, minutes * 60 / 2)
    options = LoadOptions(seconds=minutes * 60 - first_s, warm_up_s=first_s, is_greedy=True)
    report = run_load(service.url, plans, _panned, options)
    first_mb = report.memory_mb - report.memory_growth_mb
    return SoakTiming(minutes, first_mb, report.memory_mb, report.is_balanced)
