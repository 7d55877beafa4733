"""How many streams a replica carries, by student and kind of stream, as an operator would count.

A number of streams is carried if each of them gets at least 95 % of its frames, and 95 % of them
within a limit. The number grows until it is not. The streams are of a person who moves before a
still room; the client shares the machine, so that a replica alone carries a little more.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.footage import still_frames
from benchmarks.load import LoadReport, run_load
from benchmarks.load_client import LoadOptions, StreamPlan
from benchmarks.service import Service

__all__ = ["KINDS", "Capacity", "capacity"]

KINDS = (StreamPlan(360, 640, 15), StreamPlan(360, 640, 30), StreamPlan(720, 1280, 30))
_LEAST_SHARE = 0.95
_LATENCY_LIMIT_MS = 150.0  # of what a call may take altogether, ITU-T G.114


@dataclass(frozen=True, slots=True)
class Capacity:
    """What `streams` of one kind took; `load` is None where not even one is carried."""

    kind: StreamPlan
    streams: int
    load: LoadReport | None


def capacity(
    service: Service, kinds: Sequence[StreamPlan] = KINDS, *, seconds: float
) -> list[Capacity]:
    """Counts the streams of each kind that the service carries.

    Args:
        service: That nobody else uses.
        kinds: Of streams.
        seconds: For each number of streams.
    """
    return [_carried(service, kind, seconds=seconds) for kind in kinds]


def _carried(service: Service, kind: StreamPlan, *, seconds: float) -> Capacity:
    carried = Capacity(kind, 0, None)
    frames = still_frames(kind.height, kind.width)
    for streams in itertools.count(1):
        load = run_load(
            service.url, [kind] * streams, lambda _: frames, LoadOptions(seconds=seconds)
        )
        if not _is_carried(load):
            return carried
        carried = Capacity(kind, streams, load)
    raise AssertionError("count() does not end")


def _is_carried(load: LoadReport) -> bool:
    return load.latency_ms(95) <= _LATENCY_LIMIT_MS and all(
        stream.fps_out >= _LEAST_SHARE * stream.fps_due for stream in load.streams
    )
