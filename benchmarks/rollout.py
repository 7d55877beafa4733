"""Checkpoints replaced again and again under load: `python -m benchmarks.rollout --swaps 1000`.

A service watches a folder; streams and uploads keep it busy while one checkpoint after the other
takes its place through the whole gate. No stream may be cut, no frame or upload fail, every frame
be accounted for, and memory, threads and descriptors stay what they were in the beginning.
Students are tiny unless a bundled size is named. What swapping does to the frames' latency is told
too. The exit status says whether all held.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import numpy as np
from websockets.asyncio.client import connect

from benchmarks.checkpoints import CheckpointMaker
from benchmarks.footage import panned_frames, played
from benchmarks.service import Scrape, Service, running_service, scrape

__all__ = ["RolloutReport", "main", "swap_under_load"]

_FRAME_PX = (180, 320)
_CALM_S = 20.0  # in which the frames' latency without swaps is measured
_SWAP_LIMIT_S = 120.0
_MAX_GROWTH = 0.02
_HEADER = struct.Struct(">2sBBId")


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the service's process holds, after so many swaps."""

    swaps: int
    memory_mb: float
    threads: int
    descriptors: int


@dataclass(slots=True)
class RolloutReport:
    """What was done and what came of it."""

    swaps: int = 0
    seconds: float = 0.0
    swap_s: list[float] = field(default_factory=list)
    frames: int = 0
    uploads: int = 0
    told: int = 0
    latency_ms: list[tuple[float, float]] = field(default_factory=list, repr=False)
    swapping_since_s: float = 0.0
    failures: list[str] = field(default_factory=list)
    footprints: list[Footprint] = field(default_factory=list)
    is_balanced: bool = False

    def latencies(self) -> dict[str, dict[str, float]]:
        """p50 and p95 of frames in ms: before the first swap, and while one follows the other."""
        calm = [ms for at_s, ms in self.latency_ms if at_s < self.swapping_since_s]
        swapping = [ms for at_s, ms in self.latency_ms if at_s >= self.swapping_since_s]
        return {
            name: {f"p{share}": round(float(np.percentile(values, share)), 1) for share in (50, 95)}
            for name, values in (("calm", calm), ("swapping", swapping))
        }

    def faults(self) -> list[str]:
        """What should not be, in words; nothing if all is well."""
        found = list(self.failures)
        settled, last = self.footprints[0], self.footprints[-1]
        # The least of several: just after a swap the old student may still be there.
        third = max(1, len(self.footprints) // 3)
        first_mb = min(each.memory_mb for each in self.footprints[:third])
        last_mb = min(each.memory_mb for each in self.footprints[-third:])
        if last_mb > first_mb * (1 + _MAX_GROWTH):
            found.append(f"memory: {first_mb:.0f} MB, then {last_mb:.0f} MB")
        for name in ("threads", "descriptors"):
            # Loading has a thread for a moment, and looking one with a file.
            if getattr(last, name) > getattr(settled, name) + 3:
                found.append(f"{name}: {getattr(settled, name)}, then {getattr(last, name)}")
        if not self.is_balanced:
            found.append("not every frame is accounted for")
        return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rollout",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--swaps", type=int, default=1000, help="of them (default: 1000)")
    parser.add_argument("--streams", type=int, default=2, help="at a time (default: 2)")
    parser.add_argument("--fps", type=float, default=10.0, help="of each (default: 10)")
    parser.add_argument(
        "--seconds", type=float, default=7200.0, help="after which no more are made (default: 7200)"
    )
    parser.add_argument("--student", choices=("nano", "small", "base"), help="instead of tiny ones")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        maker = CheckpointMaker(Path(folder), arguments.student)
        maker.make(0)
        settings = {"checkpoints": folder, "checkpoint_poll_s": 0.1, "checkpoint_max_slowdown": 5}
        with running_service("nano", **settings) as service:
            report = asyncio.run(
                swap_under_load(
                    service,
                    maker.make,
                    arguments.swaps,
                    streams=arguments.streams,
                    fps=arguments.fps,
                    seconds=arguments.seconds,
                )
            )
    faults = report.faults()
    swap_s = sorted(report.swap_s)
    print(
        json.dumps(
            asdict(report)
            | {
                "latency_ms": report.latencies(),
                "swap_s": {
                    "p50": round(swap_s[len(swap_s) // 2], 2),
                    "most": round(swap_s[-1], 2),
                },
                "footprints": [asdict(each) for each in report.footprints],
            },
            indent=2,
        )
    )
    print("\n".join(faults) or "Nothing failed, nothing grew.")
    return 1 if faults else 0


async def swap_under_load(
    service: Service,
    make: Callable[[int], None],
    swaps: int,
    *,
    streams: int,
    fps: float,
    seconds: float,
) -> RolloutReport:
    """Replaces the served checkpoint `swaps` times, for `seconds` at most, while it is used."""
    report = RolloutReport()
    stop = asyncio.Event()
    begun_s = time.monotonic()
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        async with asyncio.TaskGroup() as group:
            for _ in range(streams):
                group.create_task(_stream(service.url, report, stop, fps))
            group.create_task(_upload(client, report, stop))
            group.create_task(_swap(client, service, report, make=make, swaps=swaps, stop=stop))
            group.create_task(_stop_after(stop, seconds))
        report.seconds = round(time.monotonic() - begun_s, 1)
    scraped = _settled(service.url)
    report.is_balanced = scraped.is_balanced and not any(scraped.dropped.values())
    return report


async def _swap(
    client: httpx.AsyncClient,
    service: Service,
    report: RolloutReport,
    *,
    make: Callable[[int], None],
    swaps: int,
    stop: asyncio.Event,
) -> None:
    every = min(100, max(1, swaps // 10))
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), _CALM_S)
    report.swapping_since_s = time.monotonic()
    try:
        for number in range(1, swaps + 1):
            if stop.is_set():
                return
            before = await _model_id(client)
            begun_s = time.monotonic()
            make(number)
            while await _model_id(client) == before:
                if time.monotonic() - begun_s > _SWAP_LIMIT_S:
                    model = (await client.get("/model")).json()
                    report.failures.append(f"swap {number} did not come: {model['last_reload']}")
                    return
                await asyncio.sleep(0.05)
            report.swap_s.append(time.monotonic() - begun_s)
            report.swaps = number
            if number % every == 0:
                process = service.process
                memory_mb = process.memory_info().rss / 1e6
                report.footprints.append(
                    Footprint(number, memory_mb, process.num_threads(), process.num_fds())
                )
                print(report.footprints[-1], file=sys.stderr, flush=True)
    finally:
        stop.set()


async def _stop_after(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    stop.set()


async def _model_id(client: httpx.AsyncClient) -> str:
    answer = await client.get("/health/ready")
    return str(answer.raise_for_status().json()["model"])


async def _stream(url: str, report: RolloutReport, stop: asyncio.Event, fps: float) -> None:
    """One frame at a time, each of which must be answered."""
    frames = panned_frames(*_FRAME_PX)
    address = f"ws{url.removeprefix('http')}/stream"
    async with connect(address, max_size=None, compression=None) as socket:
        hello = json.loads(await socket.recv())
        number = 0
        while not stop.is_set():
            sent_s = time.monotonic()
            await socket.send(_HEADER.pack(b"CC", 1, 1, number, 0.0) + played(frames, number))
            while isinstance(answer := await socket.recv(), str):
                message = json.loads(answer)
                if message["type"] == "model":
                    report.told += 1
                    hello |= message
                else:
                    report.failures.append(answer)
                    if message.get("sequence") == number:
                        break
            if isinstance(answer, bytes):
                report.frames += 1
                report.latency_ms.append((sent_s, (time.monotonic() - sent_s) * 1000))
            number += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1 / fps)


async def _upload(client: httpx.AsyncClient, report: RolloutReport, stop: asyncio.Event) -> None:
    encoded = panned_frames(*_FRAME_PX)[0]
    while not stop.is_set():
        answer = await client.post("/sharpen", content=encoded)
        if answer.status_code == 200:
            report.uploads += 1
        else:
            report.failures.append(f"upload: {answer.status_code} {answer.text[:200]}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.2)


def _settled(url: str) -> Scrape:
    for _ in range(50):
        scraped = scrape(url)
        if not scraped.streams:
            break
        time.sleep(0.1)
    return scraped


if __name__ == "__main__":
    sys.exit(main())
