"""Prometheus objects of one app, in a registry of its own. What is counted is decided by callers.

Every frame that is received is later counted exactly once more, as sent or as dropped.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.engine import WorkKind
from service.ledger import DropReason

if TYPE_CHECKING:
    from service.lanes import Sharpened

__all__ = ["EndCause", "Metrics", "RateWindow", "ReloadResult", "Route", "StageTimes"]

# Why a stream ended: the client left; 30 bad frames; the network failed on 30; nothing came; its
# key was removed; nothing was read; the service stops; a bug.
EndCause = Literal["client", "bad-frames", "failing", "idle", "key", "stalled", "stopping", "error"]
Route = Literal["/sharpen", "/stream"]
# What became of a checkpoint of the watched folder: served; not loadable; worse or slower than it
# may be; taken by hand past the gate; a bug.
ReloadResult = Literal["activated", "invalid", "refused", "forced", "error"]

_BUNDLED = ("nano", "small", "base")
_RATE_WINDOW_S = 5.0
_BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16)
_SHARE_BUCKETS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_STAGE_BUCKETS_S = (
    *(0.0005, 0.001, 0.002, 0.004, 0.006, 0.008, 0.012, 0.016, 0.024, 0.033, 0.05),
    *(0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Where a picture's time went; `queue_ms` is waiting, `total_ms` from arrival to answer."""

    decode_ms: float
    queue_ms: float
    inference_ms: float
    encode_ms: float
    total_ms: float

    def items_ms(self) -> Iterable[tuple[str, float]]:
        """The stages by name, in order, total last."""
        yield "decode", self.decode_ms
        yield "queue", self.queue_ms
        yield "inference", self.inference_ms
        yield "encode", self.encode_ms
        yield "total", self.total_ms


class RateWindow:
    """Events per second over a sliding window; the memory is bounded by `max_events`."""

    def __init__(
        self,
        *,
        window_s: float = _RATE_WINDOW_S,
        max_events: int = 10_000,
        clock: Callable[[], float],
    ) -> None:
        self._window_s = window_s
        self._clock = clock
        self._times_s: deque[float] = deque(maxlen=max_events)

    def note(self) -> None:
        """Counts one event, now."""
        self._times_s.append(self._clock())

    def per_second(self) -> float:
        """Events in the window, divided by its length."""
        oldest_s = self._clock() - self._window_s
        # A snapshot: the scrape runs in another thread than the counting.
        return sum(time_s > oldest_s for time_s in tuple(self._times_s)) / self._window_s


class Metrics:
    """All that Prometheus can scrape of one app."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.on_sharpened: Callable[[Route, StageTimes], None] | None = None  # traces
        self.registry = CollectorRegistry()
        registry = self.registry
        self.frames_received = Counter(
            "clearcall_frames_received",
            "Frames received on streams, bad ones included.",
            registry=registry,
        )
        self.frames_sent = Counter(
            "clearcall_frames_sent", "Sharpened frames sent on streams.", registry=registry
        )
        self._frames_dropped = Counter(
            "clearcall_frames_dropped",
            "Frames without a sharpened answer: replaced by a newer one, paused (by the client), "
            "limited (over the stream's rate), invalid (not a frame), broken (a picture that "
            "cannot be used), failed (in the network), stopping (the service stops), disconnected "
            "(the client left first).",
            ["reason"],
            registry=registry,
        )
        self.streams_active = Gauge(
            "clearcall_streams_active", "Streams that are open.", registry=registry
        )
        self._streams_ended = Counter(
            "clearcall_streams_ended", "Streams that ended, by cause.", ["cause"], registry=registry
        )
        self.window_stalls = Counter(
            "clearcall_window_stalls",
            "How often a frame was held back because a client had not displayed enough results.",
            registry=registry,
        )
        self._glass_to_glass_seconds = Histogram(
            "clearcall_glass_to_glass_seconds",
            "From a frame's capture to its result's display, where clients tell it.",
            buckets=_STAGE_BUCKETS_S,
            registry=registry,
        )
        self._received_rate = RateWindow(clock=clock)
        self._images = Counter(
            "clearcall_images",
            "Requests for POST /sharpen by HTTP status.",
            ["status"],
            registry=registry,
        )
        self._refused = Counter(
            "clearcall_access_refused",
            "Requests and streams that were not allowed, by the code of the answer.",
            ["code"],
            registry=registry,
        )
        self._stage_seconds = Histogram(
            "clearcall_stage_seconds",
            "Time per picture in each stage.",
            ["route", "stage"],
            buckets=_STAGE_BUCKETS_S,
            registry=registry,
        )
        self._queue_depth = Gauge(
            "clearcall_queue_depth",
            "Decoded or admitted pictures that wait.",
            ["kind"],
            registry=registry,
        )
        self._engine_queue_seconds = Histogram(
            "clearcall_engine_queue_seconds",
            "How long a picture waited for the network.",
            ["kind"],
            buckets=_STAGE_BUCKETS_S,
            registry=registry,
        )
        self._batch_size = Histogram(
            "clearcall_batch_size",
            "Frames that went through the network together, by frame.",
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self._still_share = Histogram(
            "clearcall_still_share",
            "Share of a frame whose last correction was used again.",
            buckets=_SHARE_BUCKETS,
            registry=registry,
        )
        self._rungs = Counter(
            "clearcall_frames_sharpened",
            "Frames by the rung of the quality ladder that did them: student and scale in percent.",
            ["student", "scale"],
            registry=registry,
        )
        self._model = Info("clearcall_model", "The model that is served.", registry=registry)
        self._reloads = Counter(
            "clearcall_checkpoint_reloads",
            "Checkpoints of the watched folder by what became of them: activated, invalid (cannot "
            "be loaded), refused (by the gate), forced (past it, by hand), error.",
            ["result"],
            registry=registry,
        )
        for result in get_args(ReloadResult):
            self._reloads.labels(result)
        self._rates = {route: RateWindow(clock=clock) for route in get_args(Route)}
        registry.register(_RateCollector(self._rates, self._received_rate))
        # A series that exists from the start lets rate() see its first increase.
        self._drop_counters = {
            reason: self._frames_dropped.labels(reason) for reason in get_args(DropReason)
        }
        self._stage_histograms = {
            route: {
                stage: self._stage_seconds.labels(route, stage)
                for stage, _ in StageTimes(0, 0, 0, 0, 0).items_ms()
            }
            for route in get_args(Route)
        }
        for cause in get_args(EndCause):
            self._streams_ended.labels(cause)
        self._images.labels("200")
        self._engine_queues = {
            kind: self._engine_queue_seconds.labels(kind) for kind in get_args(WorkKind)
        }
        # Looking a series up takes longer than counting in it.
        self._rung_counters: dict[tuple[str, float], Counter] = {}
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def describe_model(self, *, model: str, device: str, backend: str) -> None:
        """Says what is served, once it is loaded."""
        self._model.info({"model": model, "device": device, "backend": backend})

    def note_reload(self, result: ReloadResult) -> None:
        """Counts a checkpoint of the watched folder that was tried."""
        self._reloads.labels(result).inc()

    def watch_queue(self, kind: str, depth: Callable[[], int]) -> None:
        """Reads a queue's depth at every scrape."""
        self._queue_depth.labels(kind).set_function(depth)

    def note_received(self) -> None:
        """Counts a binary message on a stream."""
        self.frames_received.inc()
        self._received_rate.note()

    def note_displayed(self, latency_ms: float) -> None:
        """Records what a client says that a frame took from its capture to its display."""
        self._glass_to_glass_seconds.observe(latency_ms / 1000)

    def note_stream_ended(self, cause: EndCause) -> None:
        """Counts a stream that is over."""
        self._streams_ended.labels(cause).inc()

    def note_dropped(self, reason: DropReason, count: int = 1) -> None:
        """Counts frames that get no result."""
        self._drop_counters[reason].inc(count)

    def note_image(self, status: int) -> None:
        """Counts one POST /sharpen by the status of its answer."""
        self._images.labels(str(status)).inc()

    def note_refused(self, code: str) -> None:
        """Counts what was not allowed, by an error's code."""
        self._refused.labels(code).inc()

    def note_engine(self, kind: WorkKind, sharpened: Sharpened) -> None:
        """Records what the engine did with one picture.

        The labels are few: the students that are served, and the scales of the ladder's rungs.
        """
        self._engine_queues[kind].observe(sharpened.queue_ms / 1000)
        if kind == "frame":
            self._batch_size.observe(sharpened.batch)
            self._still_share.observe(sharpened.still_share)
            # Checkpoints come and go, and a label stays: only the bundled ones have their own.
            student = sharpened.student if sharpened.student in _BUNDLED else "own"
            rung = student, sharpened.scale
            if rung not in self._rung_counters:
                scale_percent = f"{sharpened.scale:.0%}"[:-1]
                self._rung_counters[rung] = self._rungs.labels(student, scale_percent)
            self._rung_counters[rung].inc()

    def note_sharpened(self, route: Route, times: StageTimes) -> None:
        """Records one picture that was sharpened and answered."""
        self._rates[route].note()
        histograms = self._stage_histograms[route]
        for stage, time_ms in times.items_ms():
            histograms[stage].observe(time_ms / 1000)
        if self.on_sharpened is not None:
            self.on_sharpened(route, times)

    def text(self) -> bytes:
        """The exposition in Prometheus' text format."""
        return generate_latest(self.registry)


class _RateCollector(Collector):
    """Works the rates out when they are asked for, so that an idle route falls to 0 by itself."""

    def __init__(self, rates: dict[Route, RateWindow], received: RateWindow) -> None:
        self._rates = rates
        self._received = received

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "clearcall_frames_per_second",
            f"Pictures answered per second over the last {_RATE_WINDOW_S:g} s.",
            labels=["route"],
        )
        for route, rate in self._rates.items():
            family.add_metric([route], rate.per_second())
        yield family
        received = GaugeMetricFamily(
            "clearcall_frames_received_per_second",
            f"Frames received on streams per second over the last {_RATE_WINDOW_S:g} s.",
        )
        received.add_metric([], self._received.per_second())
        yield received
