"""Clients that connect, send, stall and vanish at random: `python -m benchmarks.soak --minutes 30`.

Uploads, good and bad ones, come and go in between, some of them cut off, and the served checkpoint
is replaced every few seconds. No request may fail but by policy (what is no picture, more than is
admitted), no stream of a client that behaves may be cut. Afterwards the service must be what it
was: no stream, thread or file descriptor more, every frame accounted for, memory within 2 %. It is
looked at from outside, through /proc and /metrics, once after a first round in which it makes its
threads and buffers, and once at the end. The exit status says whether all held.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from benchmarks.checkpoints import CheckpointMaker
from benchmarks.footage import panned_frames, played
from benchmarks.service import Scrape, Service, running_service, scrape

__all__ = ["SoakReport", "main", "soak"]

_FRAME_PX = (96, 160)
_LIFE_S = (0.2, 6.0)
_SETTLE_LIMIT_S = 40.0  # two pings of the server, which find out who is gone
_MAX_GROWTH = 0.02
_FIRST_ROUND_S = 180.0  # at most
_STUDENT = "nano"
_RELOAD_S = 10.0
_BY_POLICY = {"queue-full", "engine-busy", "streams-full"}
_HEADER = struct.Struct(">2sBBId")


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds."""

    threads: int
    descriptors: int
    memory_mb: float
    streams: int


@dataclass(frozen=True, slots=True)
class SoakReport:
    """Before and after, what was done meanwhile, and the frames' account."""

    clients: int
    seconds: float
    lives: dict[str, int]
    failures: dict[str, int]
    reloads: dict[str, int]
    received: int
    answered: int
    dropped: dict[str, int]
    before: Footprint
    after: Footprint
    is_balanced: bool

    def faults(self) -> list[str]:
        """What failed and what is not as before, in words; nothing if all is well."""
        found = [f"{what}: {count} times" for what, count in self.failures.items()]
        found += [
            f"{name}: {getattr(self.before, name)} before, {getattr(self.after, name)} after"
            for name in ("threads", "descriptors", "streams")
            if getattr(self.after, name) > getattr(self.before, name)
        ]
        if self.after.memory_mb > self.before.memory_mb * (1 + _MAX_GROWTH):
            found.append(
                f"memory: {self.before.memory_mb:.0f} MB before, {self.after.memory_mb:.0f} after"
            )
        if not self.reloads["activated"]:
            found.append("no checkpoint was taken up")
        found += [
            f"checkpoints {result}: {count}"
            for result, count in self.reloads.items()
            if count and result != "activated"
        ]
        if not self.is_balanced:
            found.append("not every frame is accounted for")
        return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--clients", type=int, default=100, help="at a time (default: 100)")
    parser.add_argument("--minutes", type=float, default=1.0, help="of it (default: 1)")
    parser.add_argument("--max-streams", type=int, default=80, help="more are refused")
    parser.add_argument("--seed", type=int, default=0, help="of the clients' lives")
    arguments = parser.parse_args(argv)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(
            _STUDENT,
            max_streams=arguments.max_streams,
            max_bad_requests_per_minute=0,  # else all clients, of one address, would be shut out
            checkpoints=folder,
            checkpoint_max_slowdown=0,  # the machine is never quiet enough to measure it
        ) as service,
    ):
        report = soak(
            service,
            CheckpointMaker(Path(folder), _STUDENT),
            clients=arguments.clients,
            seconds=arguments.minutes * 60,
            seed=arguments.seed,
        )
    print(json.dumps(asdict(report), indent=2))
    faults = report.faults()
    print("\n".join(faults) or "Nothing failed, nothing leaked.")
    return 1 if faults else 0


def soak(
    service: Service, maker: CheckpointMaker, *, clients: int, seconds: float, seed: int = 0
) -> SoakReport:
    """Lets clients loose on a service.

    Args:
        service: That nobody else uses.
        maker: Of checkpoints in the folder that it watches.
        clients: At a time; each lives some seconds and is followed by another one.
        seconds: For how long, after a first round of a quarter of that, or three minutes.
        seed: Of what the clients do.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        first = _Crowd(service.url, maker, seed=seed + 1)
        runner.run(first.live(clients, min(seconds / 4, _FIRST_ROUND_S)))
        before, scraped_before = _settled(service)
        crowd = _Crowd(service.url, maker, seed=seed)
        runner.run(crowd.live(clients, seconds))
        after, scraped_after = _settled(service, like=before)
    return SoakReport(
        clients=clients,
        seconds=seconds,
        lives=dict(crowd.lives),
        failures=dict(first.failures + crowd.failures),
        reloads=scraped_after.reloads,
        received=scraped_after.received - scraped_before.received,
        answered=scraped_after.sent - scraped_before.sent,
        dropped={
            reason: count - scraped_before.dropped[reason]
            for reason, count in scraped_after.dropped.items()
        },
        before=before,
        after=after,
        is_balanced=scraped_after.is_balanced,
    )


def _settled(service: Service, like: Footprint | None = None) -> tuple[Footprint, Scrape]:
    """The footprint once no stream is open and, with `like`, it is no larger; or after a limit."""
    limit_s = time.monotonic() + _SETTLE_LIMIT_S
    last: tuple[int, int] | None = None
    while True:
        scraped = scrape(service.url)
        process = service.process
        now = Footprint(
            process.num_threads(), process.num_fds(), scraped.memory_mb, scraped.streams
        )
        held = now.threads, now.descriptors
        is_quiet = held == last if like is None else held <= (like.threads, like.descriptors)
        if (not scraped.streams and is_quiet) or time.monotonic() > limit_s:
            return now, scraped
        last = held
        time.sleep(0.5)


class _Crowd:
    """Clients, each one life after the other.

    `lives` counts them by kind, `failures` what should not have happened to them.
    """

    def __init__(self, url: str, maker: CheckpointMaker, *, seed: int) -> None:
        self._url = url
        self._maker = maker
        self._socket_url = f"ws{url.removeprefix('http')}/stream"
        self._random = random.Random(seed)
        self._frames = panned_frames(*_FRAME_PX)
        self.lives: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    async def live(self, clients: int, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._one_after_the_other(end_s))
            group.create_task(self._replace_checkpoints(end_s))

    async def _replace_checkpoints(self, end_s: float) -> None:
        for number in itertools.count():
            if time.monotonic() >= end_s:
                return
            await asyncio.to_thread(self._maker.make, self._random.randrange(2**60) + number)
            await asyncio.sleep(_RELOAD_S)

    async def _one_after_the_other(self, end_s: float) -> None:
        streams: tuple[Callable[[ClientConnection, float], Awaitable[None]], ...] = (
            self._polite,
            self._polite,
            self._polite,
            self._greedy,
            self._stalled,
            self._vanishing,
            self._silent,
            self._talking_nonsense,
        )
        others = (
            self._half_handshake,
            self._upload,
            self._upload,
            self._upload_garbage,
            self._upload_cut_off,
        )
        await asyncio.sleep(self._random.uniform(0, 1))
        while (now_s := time.monotonic()) < end_s:
            until_s = min(now_s + self._random.uniform(*_LIFE_S), end_s)
            if self._random.random() < 0.1:
                other = self._random.choice(others)
                self.lives[other.__name__.strip("_")] += 1
                try:
                    await other()
                except (OSError, httpx.HTTPError) as exc:
                    self.failures[f"{other.__name__.strip('_')}: {exc!r}"] += 1
                continue
            kind = self._random.choice(streams)
            name = kind.__name__.strip("_")
            try:
                async with connect(
                    self._socket_url, max_size=None, compression=None, open_timeout=30
                ) as socket:
                    hello = json.loads(await socket.recv())
                    if hello["type"] != "hello":
                        name = "refused"
                        self._check_policy("stream", hello["code"])
                    else:
                        await kind(socket, until_s)
            except (WebSocketException, OSError) as exc:
                name += f" ({type(exc).__name__})"
                if kind == self._polite:
                    self.failures[f"{name}: {exc}"] += 1
            self.lives[name] += 1
            await asyncio.sleep(self._random.uniform(0, 0.3))

    def _frame(self, number: int) -> bytes:
        header = _HEADER.pack(b"CC", 1, 1, number, time.time() * 1000)
        return header + played(self._frames, number)

    async def _polite(self, socket: ClientConnection, until_s: float) -> None:
        number = 0
        while time.monotonic() < until_s:
            await socket.send(self._frame(number))
            number += 1
            with contextlib.suppress(TimeoutError):
                answer = await asyncio.wait_for(socket.recv(), 2)
                if isinstance(answer, str) and (told := json.loads(answer))["type"] == "error":
                    self._check_policy("frame", told["code"])
            await asyncio.sleep(self._random.uniform(0, 0.2))

    async def _greedy(self, socket: ClientConnection, until_s: float) -> None:
        number = 0
        while time.monotonic() < until_s:
            await socket.send(self._frame(number))
            number += 1
            await asyncio.sleep(0.02)
        if self._random.random() < 0.5:
            socket.transport.abort()

    async def _stalled(self, socket: ClientConnection, until_s: float) -> None:
        """Never reads what comes, and leaves in the middle of it."""
        socket.transport.pause_reading()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(until_s - time.monotonic(), 0)):
                for number in range(1_000_000):
                    await socket.send(self._frame(number))
                    await asyncio.sleep(0.05)
        socket.transport.abort()

    async def _vanishing(self, socket: ClientConnection, _: float) -> None:
        """Gone while its frames are being worked on."""
        for number in range(self._random.randint(1, 5)):
            await socket.send(self._frame(number))
        await asyncio.sleep(self._random.uniform(0, 0.05))
        socket.transport.abort()

    async def _silent(self, _: ClientConnection, until_s: float) -> None:
        await asyncio.sleep(max(until_s - time.monotonic(), 0))

    async def _talking_nonsense(self, socket: ClientConnection, until_s: float) -> None:
        whole = self._frame(0)
        nonsense = (b"", b"CC", whole[:60], whole[: len(whole) // 2], "{", '{"type": "settings"}')
        while time.monotonic() < until_s:
            await socket.send(self._random.choice(nonsense))
            await asyncio.sleep(0.05)

    async def _half_handshake(self) -> None:
        address = urlsplit(self._url)
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(b"GET /stream HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n")
        await asyncio.sleep(self._random.uniform(0, 0.5))
        writer.transport.abort()

    async def _upload(self) -> None:
        await self._post(self._frames[0], expected=200)

    async def _upload_garbage(self) -> None:
        whole = self._frames[0]
        await self._post(self._random.randbytes(2_000), expected=415)
        await self._post(whole[: len(whole) // 2], expected=422)

    async def _post(self, content: bytes, *, expected: int) -> None:
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await client.post(f"{self._url}/sharpen", content=content)
        if answer.status_code != expected:
            code = answer.json()["code"] if answer.status_code >= 400 else answer.status_code
            self._check_policy("upload", code)

    async def _upload_cut_off(self) -> None:
        """Gives the answer up while it is being made, or the upload itself."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._upload(), self._random.uniform(0.001, 0.2))

    def _check_policy(self, what: str, code: object) -> None:
        if code not in _BY_POLICY:
            self.failures[f"{what}: {code}"] += 1


if __name__ == "__main__":
    sys.exit(main())
