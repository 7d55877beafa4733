"""A stream while others abuse the service: `python -m benchmarks.abuse`.

In turn: nobody; 200 connections that trickle headers and come back when they are closed (a
slow-loris); 1,000 bad requests a second (not HTTP, unknown paths, wrong methods, garbage as a
picture, wrong parameters, a WebSocket of a foreign page). Whoever abuses is a process of its own
that gets the cores when nobody else wants them: it stands for other machines, whose work is not
the service's. What counts is the stream's p95 against its own p95 in peace,
from the same service a moment before.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.footage import panned_frames
from benchmarks.load import parse_mix, run_load
from benchmarks.load_client import LoadOptions
from benchmarks.service import running_service

__all__ = ["AbuseResult", "main", "measure_abuse"]

_HALF_OPEN = 200
_BAD_PER_S = 1_000
_KEPT_OPEN = 20  # connections of the flood
_START_S = 1.0
_ABUSER = ("127.0.0.2", 0)  # an address of its own, as it would have
_BAD = (
    b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
    b"DELETE /sharpen HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /sharpen HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nnot a jpg",
    b"POST /sharpen?quality=900 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
    b"GET /static/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
)
_CLOSING = (
    b"\x16\x03\x01 this is not HTTP\r\n\r\n",
    b"GET /stream HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
)
_CLOSING_EVERY = 10  # of ten bad requests, one is on a connection of its own


@dataclass(frozen=True, slots=True)
class AbuseResult:
    """One kind of abuse: p95 of the stream and its FPS, medians over the rounds, and what was sent.

    `best_ms` is the lowest p95 of the rounds: what a machine that does other things as well tells
    best.
    """

    name: str
    p95_ms: float
    ratio: float
    best_ms: float
    best_ratio: float
    fps: float
    told: str


def measure_abuse(mix: str, *, seconds: float, rounds: int, log_level: str) -> list[AbuseResult]:
    """Measures peace, slow-loris and flood in turn, `rounds` times."""
    seen: dict[str, list[tuple[float, float]]] = {"peace": [], "loris": [], "flood": []}
    told: dict[str, str] = {}
    plans = parse_mix(mix)
    with running_service(log_level=log_level) as service:

        def run() -> tuple[float, float]:
            report = run_load(
                service.url,
                plans,
                lambda plan: panned_frames(plan.height, plan.width),
                LoadOptions(seconds=seconds, settings={"still_regions": False}),
            )
            return report.latency_ms(95), report.fps_out

        run()
        for _ in range(rounds):
            for name, results in seen.items():
                with _abuser(name, service.port) as said:
                    results.append(run())
                told[name] = "".join(said).strip()
    peace_ms = statistics.median(p95_ms for p95_ms, _ in seen["peace"])
    least_ms = min(p95_ms for p95_ms, _ in seen["peace"])
    return [
        AbuseResult(
            name,
            p95_ms=(median := statistics.median(p95_ms for p95_ms, _ in results)),
            ratio=median / peace_ms,
            best_ms=(best := min(p95_ms for p95_ms, _ in results)),
            best_ratio=best / least_ms,
            fps=statistics.median(fps for _, fps in results),
            told=told[name],
        )
        for name, results in seen.items()
    ]


@contextmanager
def _abuser(name: str, port: int) -> Iterator[list[str]]:
    said: list[str] = []
    if name == "peace":
        yield said
        return
    command = [sys.executable, "-m", "benchmarks.abuse", "--be", name, "--port", str(port)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(_START_S)
        yield said
    finally:
        out, _ = process.communicate("")  # the end of its input ends it
        said.append(out)


async def _loris(port: int) -> str:
    closed = 0

    async def trickle() -> None:
        nonlocal closed
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, local_addr=_ABUSER
                )
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
                while not reader.at_eof() and not writer.is_closing():
                    writer.write(b"X-A: b\r\n")
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(1):
                            await reader.read(4096)
                            break
                closed += 1
                writer.close()

    await _until_told([trickle() for _ in range(_HALF_OPEN)])
    return f"{_HALF_OPEN} half-open, {closed} closed by the service"


async def _flood(port: int) -> str:
    sent = failed = 0
    started_s = time.perf_counter()

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port, local_addr=_ABUSER)

    async def send(number: int) -> None:
        nonlocal sent, failed
        reader, writer = await connect()
        due_s = time.perf_counter() + number / _BAD_PER_S
        for turn in range(number, sys.maxsize):
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            due_s += _KEPT_OPEN / _BAD_PER_S
            try:
                if turn % _CLOSING_EVERY == 0:
                    own_reader, own_writer = await connect()
                    own_writer.write(_CLOSING[turn // _CLOSING_EVERY % len(_CLOSING)])
                    await own_reader.read(4096)
                    own_writer.close()
                else:
                    writer.write(_BAD[turn % len(_BAD)])
                    if not await reader.read(65_536):
                        reader, writer = await connect()
                sent += 1
            except OSError:
                failed += 1
                reader, writer = await connect()

    await _until_told([send(number) for number in range(_KEPT_OPEN)])
    rate = sent / (time.perf_counter() - started_s)
    return f"{rate:.0f} bad requests a second, {failed} without an answer"


async def _until_told(works: Sequence[object]) -> None:
    tasks = [asyncio.ensure_future(work) for work in works]  # type: ignore[call-overload]
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(outcome, asyncio.CancelledError):
            raise RuntimeError("an abuser gave up") from outcome


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.abuse", description=__doc__)
    parser.add_argument("mix", nargs="?", default="1x640x360@15", help="as of benchmarks.load")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--log-level", default="warning", help="of the service")
    parser.add_argument("--be", choices=("loris", "flood"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.be:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        print(asyncio.run({"loris": _loris, "flood": _flood}[arguments.be](arguments.port)))
        return 0
    results = measure_abuse(
        arguments.mix,
        seconds=arguments.seconds,
        rounds=arguments.rounds,
        log_level=arguments.log_level,
    )
    print("| while | p95 | times peace | best round | times peace | FPS | |")
    print("|---|---|---|---|---|---|---|")
    for result in results:
        print(
            f"| {result.name} | {result.p95_ms:.1f} ms | {result.ratio:.2f} | "
            f"{result.best_ms:.1f} ms | {result.best_ratio:.2f} | {result.fps:.1f} | "
            f"{result.told} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
