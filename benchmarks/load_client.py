"""One client of the load generator: paces frames into a WebSocket and notes what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.footage import played
from service.frames import Frame, Result, pack_frame, parse_result

__all__ = ["SETTLE_LIMIT_S", "LoadOptions", "StreamClient", "StreamPlan", "StreamReport"]

SETTLE_LIMIT_S = 15.0  # for what is still to come when a measurement is over
_STAGES = ("queue", "decode", "inference", "encode", "total", "overhead")


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What one stream sends; `fps` is infinite where it sends as fast as it may."""

    height: int
    width: int
    fps: float

    def __str__(self) -> str:
        rate = "max" if math.isinf(self.fps) else f"{self.fps:g}"
        return f"{self.width}x{self.height}@{rate}"


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How the streams behave.

    Attributes:
        seconds: that are measured, after `warm_up_s`.
        is_greedy: sends what is due even if the window is full.
        window: frames unanswered at most; None = what the server's hello says.
        read_fps: answers read per second at most; None = all, at once.
        acknowledges: says of each answer that it was displayed, to servers that know the message.
        settings: of the stream, as in docs/protocol.md.
    """

    seconds: float = 10.0
    warm_up_s: float = 1.0
    is_greedy: bool = False
    window: int | None = None
    read_fps: float | None = None
    acknowledges: bool = True
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StreamReport:
    """What one stream saw; rates, latencies and stages of the measured time, counts of all of it.

    `stages_ms` has p50 and p95 by stage, of what the server says; `overhead` is the total without
    decoding, inference and encoding. `skipped` are frames that found the window full. `still_share`
    is the mean share of the picture whose last correction was used again.
    """

    plan: str
    fps_due: float
    fps_in: float
    fps_out: float
    kbit_s_in: float
    kbit_s_out: float
    still_share: float
    latency_p50_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    stages_ms: dict[str, tuple[float, float]]
    sent: int
    delivered: int
    skipped: int
    errors: dict[str, int]
    close_code: int | None


@dataclass(frozen=True, slots=True)
class _Arrival:
    at_s: float
    latency_ms: float
    message_bytes: int
    result: Result


class StreamClient:
    """One client. Sequence numbers start at 0; an answer settles all frames up to its own."""

    def __init__(
        self, plan: StreamPlan, frames: list[bytes], options: LoadOptions, *, phase: float
    ) -> None:
        self._plan = plan
        self._frames = frames
        self._options = options
        self._phase = phase
        self._window = 1
        self._knows_displayed = False
        self._settled = -1
        self._has_room = asyncio.Event()
        self._started_s = 0.0
        self._sent: list[tuple[float, int]] = []  # when, bytes
        self._due = 0
        self._skipped = 0
        self._arrivals: list[_Arrival] = []
        self._errors: dict[str, int] = defaultdict(int)
        self._close_code: int | None = None

    async def run(self, url: str, starting: asyncio.Barrier) -> None:
        # A slow reader must not read ahead.
        read_ahead = 16 if self._options.read_fps is None else 1
        async with connect(url, max_size=None, compression=None, max_queue=read_ahead) as socket:
            hello = json.loads(await socket.recv())
            if hello["type"] != "hello":
                raise RuntimeError(f"The service refused a stream: {hello.get('message', hello)}")
            self._window = self._options.window or hello.get("window") or hello["in_flight"] + 1
            self._knows_displayed = "window" in hello
            if self._options.settings:
                await socket.send(json.dumps({"type": "settings"} | self._options.settings))
            await starting.wait()
            self._started_s = time.perf_counter()
            reading = asyncio.create_task(self._read(socket))
            try:
                await self._send(socket)
                await self._drain(reading)
            except ConnectionClosed:
                pass
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
        self._close_code = socket.close_code

    @property
    def _unanswered(self) -> int:
        return len(self._sent) - 1 - self._settled

    async def _send(self, socket: ClientConnection) -> None:
        end_s = self._started_s + self._options.warm_up_s + self._options.seconds
        while (now_s := time.perf_counter()) < end_s:
            if math.isinf(self._plan.fps):
                await self._wait_for_room(end_s)
            else:
                period_s = 1 / self._plan.fps
                # What was due while the socket was blocked is lost: a camera does not wait.
                late = int((now_s - self._started_s) / period_s - self._phase) - self._due
                self._due += max(late, 0)
                self._skipped += max(late, 0)
                due_s = self._started_s + (self._due + self._phase) * period_s
                await asyncio.sleep(max(due_s - time.perf_counter(), 0))
            self._due += 1
            if self._unanswered >= self._window and not self._options.is_greedy:
                self._skipped += 1
                continue
            await self._send_one(socket)

    async def _send_one(self, socket: ClientConnection) -> None:
        number = len(self._sent)
        now_s = time.perf_counter()
        message = pack_frame(Frame(number, now_s * 1000, played(self._frames, number)))
        self._sent.append((now_s, len(message)))
        await socket.send(message)

    async def _wait_for_room(self, end_s: float) -> None:
        while self._unanswered >= self._window and time.perf_counter() < end_s:
            self._has_room.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._has_room.wait(), end_s - time.perf_counter())

    async def _drain(self, reading: asyncio.Task[None]) -> None:
        """Waits for the answers that are still to come, within a limit."""
        limit_s = time.perf_counter() + SETTLE_LIMIT_S
        while self._unanswered and time.perf_counter() < limit_s and not reading.done():
            self._has_room.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._has_room.wait(), 0.5)

    async def _read(self, socket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                message = await socket.recv()
                if isinstance(message, bytes):
                    await self._take(socket, message)
                else:
                    self._take_notice(json.loads(message))
                self._has_room.set()

    async def _take(self, socket: ClientConnection, message: bytes) -> None:
        now_s = time.perf_counter()
        result = parse_result(message)
        latency_ms = now_s * 1000 - result.client_timestamp_ms
        self._settled = result.sequence
        self._arrivals.append(_Arrival(now_s, latency_ms, len(message), result))
        if self._knows_displayed and self._options.acknowledges:
            shown = {"sequence": result.sequence, "latency_ms": round(latency_ms, 2)}
            await socket.send(json.dumps({"type": "displayed"} | shown))
        if self._options.read_fps is not None:
            await asyncio.sleep(1 / self._options.read_fps)

    def _take_notice(self, notice: dict[str, Any]) -> None:
        if notice["type"] == "error":
            self._errors[notice["code"]] += 1
            if notice["sequence"] is not None:
                self._settled = max(self._settled, notice["sequence"])

    def report(self) -> StreamReport:
        seconds = self._options.seconds
        from_s = self._started_s + self._options.warm_up_s
        until_s = from_s + seconds
        arrived = [each for each in self._arrivals if from_s <= each.at_s < until_s]
        sent_bytes = [size for at_s, size in self._sent if from_s <= at_s < until_s]
        p50_ms, p95_ms, p99_ms = _percentiles([each.latency_ms for each in arrived], 50, 95, 99)
        times_ms = [_stage_times_ms(each.result) for each in arrived]
        return StreamReport(
            plan=str(self._plan),
            fps_due=self._due / (self._options.warm_up_s + seconds),
            fps_in=len(sent_bytes) / seconds,
            fps_out=len(arrived) / seconds,
            kbit_s_in=sum(sent_bytes) * 8e-3 / seconds,
            kbit_s_out=sum(each.message_bytes for each in arrived) * 8e-3 / seconds,
            still_share=_mean([each.result.still_percent / 100 for each in arrived]),
            latency_p50_ms=p50_ms,
            latency_p95_ms=p95_ms,
            latency_p99_ms=p99_ms,
            stages_ms={
                stage: _percentiles([each[stage] for each in times_ms], 50, 95) for stage in _STAGES
            },
            sent=len(self._sent),
            delivered=len(self._arrivals),
            skipped=self._skipped,
            errors=dict(self._errors),
            close_code=self._close_code,
        )


def _stage_times_ms(result: Result) -> dict[str, float]:
    working_ms = result.decode_ms + result.inference_ms + result.encode_ms
    return {
        "queue": result.queue_ms,
        "decode": result.decode_ms,
        "inference": result.inference_ms,
        "encode": result.encode_ms,
        "total": result.total_ms,
        "overhead": result.total_ms - working_ms,
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _percentiles(values: list[float], *shares: int) -> tuple[Any, ...]:
    if not values:
        return tuple(math.nan for _ in shares)
    return tuple(round(float(value), 3) for value in np.percentile(values, shares))
