"""Many streams at once, as real clients send them: `python -m benchmarks.load 2x1280x720@30`.

A mix names streams by number, size and frames per second: `2x1280x720@30,1x640x360@15`; `@max`
sends whenever the window has room. Frames are taken when they are due: one that finds the window
full is skipped by the client, as a camera would; with `--greedy` it is sent all the same. Without
`--url` a service is started for the time of the measurement.

It prints a table, and a JSON object behind it. Latency is from the moment before a frame is sent to
the moment its answer has arrived, in this process; the first second of every stream is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.footage import clip_frames, panned_frames, still_frames
from benchmarks.load_client import (
    SETTLE_LIMIT_S,
    LoadOptions,
    StreamClient,
    StreamPlan,
    StreamReport,
)
from benchmarks.service import Scrape, running_service, scrape

__all__ = [
    "LoadReport",
    "main",
    "parse_mix",
    "run_load",
]

_KIND = re.compile(r"(?:(\d+)x)?(\d+)x(\d+)@(max|\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class LoadReport:
    """All streams, and the service while they ran.

    `received`, `answered` and `dropped` are the service's own counts; `is_balanced` says that the
    first is the sum of the others. `fairness` is the slowest stream's FPS over the fastest one's,
    by kind. CPU is in cores.
    """

    streams: list[StreamReport]
    fairness: dict[str, float]
    received: int
    answered: int
    dropped: dict[str, int]
    is_balanced: bool
    service_cpu: float
    own_cpu: float
    memory_mb: float
    memory_growth_mb: float

    @property
    def fps_out(self) -> float:
        """Of all streams together."""
        return sum(stream.fps_out for stream in self.streams)

    def latency_ms(self, share: float) -> float:
        """The worst stream's p50, p95 or p99."""
        name = f"latency_p{share:.0f}_ms"
        return max(float(getattr(stream, name)) for stream in self.streams)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("mix", type=parse_mix, help="streams, as in 2x1280x720@30,1x640x360@15")
    add("--url", help="HTTP address of a running service; without it one is started")
    add("--student", default="small", help="of the service that is started (default: small)")
    add("--seconds", type=float, default=10.0, help="to measure (default: 10)")
    add("--clip", type=Path, help="video file to take the frames from")
    add("--still", action="store_true", help="a still scene instead of a panned photograph")
    add("--greedy", action="store_true", help="send what is due even if the window is full")
    add("--window", type=int, help="frames unanswered at most (default: what the server says)")
    add("--read-fps", type=float, help="read at most so many answers per second")
    add("--no-acknowledgements", action="store_true", help="never say that a frame was displayed")
    add("--settings", type=json.loads, default={}, help='JSON, as in {"quality": 80}')
    add("--json", type=Path, help="file to write the report to, instead of printing it")
    arguments = parser.parse_args(argv)
    options = LoadOptions(
        seconds=arguments.seconds,
        is_greedy=arguments.greedy,
        window=arguments.window,
        read_fps=arguments.read_fps,
        acknowledges=not arguments.no_acknowledgements,
        settings=arguments.settings,
    )

    def frames(plan: StreamPlan) -> list[bytes]:
        if arguments.clip is not None:
            return clip_frames(arguments.clip, plan.height, plan.width)
        make = still_frames if arguments.still else panned_frames
        return make(plan.height, plan.width)

    with contextlib.ExitStack() as stack:
        url = arguments.url or stack.enter_context(running_service(arguments.student)).url
        report = run_load(url, arguments.mix, frames, options)
    _print(report)
    text = json.dumps(asdict(report))
    if arguments.json is None:
        print(text)
    else:
        arguments.json.write_text(text)
    return 0 if report.is_balanced else 1


def parse_mix(text: str) -> list[StreamPlan]:
    """Reads a mix of streams.

    Raises:
        ArgumentTypeError: It is not one; the message says how one looks.
    """
    plans: list[StreamPlan] = []
    for kind in text.split(","):
        match = _KIND.fullmatch(kind.strip())
        if match is None:
            raise argparse.ArgumentTypeError(
                f"{kind!r} is not a kind of stream: expected NUMBERxWIDTHxHEIGHT@FPS, "
                "as in 2x1280x720@30 or 1x640x360@max"
            )
        count, width, height, rate = match.groups()
        fps = math.inf if rate == "max" else float(rate)
        plans += [StreamPlan(int(height), int(width), fps)] * int(count or 1)
    return plans


def run_load(
    url: str,
    plans: Sequence[StreamPlan],
    frames: Callable[[StreamPlan], list[bytes]],
    options: LoadOptions,
) -> LoadReport:
    """Runs the streams against the service at an HTTP URL.

    Nothing else may use that service meanwhile: its counters are read before and after.

    Raises:
        OSError: No connection.
        ConnectionClosed: The service refused a stream.
    """
    footage = {plan: frames(plan) for plan in set(plans)}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(url, plans, footage, options))


async def _run(
    url: str,
    plans: Sequence[StreamPlan],
    footage: dict[StreamPlan, list[bytes]],
    options: LoadOptions,
) -> LoadReport:
    before = await asyncio.to_thread(scrape, url)
    socket_url = f"ws{url.removeprefix('http')}/stream"
    streams = [
        StreamClient(plan, footage[plan], options, phase=(number * 0.618) % 1)
        for number, plan in enumerate(plans)
    ]
    starting = asyncio.Barrier(len(streams) + 1)
    async with asyncio.TaskGroup() as group:
        for stream in streams:
            group.create_task(stream.run(socket_url, starting))
        await starting.wait()
        await asyncio.sleep(options.warm_up_s)
        first = await asyncio.to_thread(scrape, url)
        own_cpu_s, started_s = time.process_time(), time.perf_counter()
        await asyncio.sleep(options.seconds)
        last = await asyncio.to_thread(scrape, url)
        measured_s = time.perf_counter() - started_s
        own_cpu = (time.process_time() - own_cpu_s) / measured_s
    after = await _settled(url, before.streams)
    reports = [stream.report() for stream in streams]
    received = after.received - before.received
    answered = after.sent - before.sent
    dropped = {
        reason: count - before.dropped.get(reason, 0) for reason, count in after.dropped.items()
    }
    return LoadReport(
        streams=reports,
        fairness=_fairness(reports),
        received=received,
        answered=answered,
        dropped={reason: count for reason, count in dropped.items() if count},
        is_balanced=received == answered + sum(dropped.values()),
        service_cpu=(last.cpu_s - first.cpu_s) / measured_s,
        own_cpu=own_cpu,
        memory_mb=last.memory_mb,
        memory_growth_mb=last.memory_mb - first.memory_mb,
    )


def _fairness(reports: list[StreamReport]) -> dict[str, float]:
    by_kind: dict[str, list[float]] = defaultdict(list)
    for report in reports:
        by_kind[report.plan].append(report.fps_out)
    return {kind: min(rates) / max(rates) if max(rates) else 0.0 for kind, rates in by_kind.items()}


async def _settled(url: str, streams: int) -> Scrape:
    """The counters, once the service has noticed that all our streams have ended."""
    limit_s = time.perf_counter() + SETTLE_LIMIT_S
    while True:
        now = await asyncio.to_thread(scrape, url)
        if now.streams <= streams or time.perf_counter() > limit_s:
            return now
        await asyncio.sleep(0.05)


def _print(report: LoadReport) -> None:
    table = Table(title="Streams")
    for name in ("stream", "FPS due", "in", "out", "p50 ms", "p95", "p99", "skipped", "sent"):
        table.add_column(name, justify="right")
    for name in ("answered", "overhead p50", "p95", "errors"):
        table.add_column(name, justify="right")
    for each in report.streams:
        overhead = each.stages_ms["overhead"]
        rates = (each.fps_due, each.fps_in, each.fps_out)
        latencies = (each.latency_p50_ms, each.latency_p95_ms, each.latency_p99_ms)
        counts = (each.skipped, each.sent, each.delivered)
        table.add_row(
            each.plan,
            *(f"{value:.1f}" for value in (*rates, *latencies)),
            *(str(value) for value in counts),
            *(f"{value:.2f}" for value in overhead),
            ", ".join(f"{code} {count}" for code, count in each.errors.items()),
        )
    console = Console(width=150)
    console.print(table)
    dropped = ", ".join(f"{count} {reason}" for reason, count in report.dropped.items()) or "none"
    console.print(
        f"The service received {report.received} frames, answered {report.answered}, dropped "
        f"{dropped}: {'all accounted for' if report.is_balanced else 'NOT ALL ACCOUNTED FOR'}."
    )
    console.print(
        f"Fairness: {', '.join(f'{kind} {share:.2f}' for kind, share in report.fairness.items())}. "
        f"CPU: {report.service_cpu:.2f} cores of the service, {report.own_cpu:.2f} of this "
        f"generator. Memory: {report.memory_mb:.0f} MB, {report.memory_growth_mb:+.1f} meanwhile."
    )


if __name__ == "__main__":
    sys.exit(main())
