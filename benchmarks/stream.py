"""Frames a second through a running service's WebSocket, beside what the model alone does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import httpx
import numpy as np
import psutil
from websockets.sync.client import connect

from service.frames import Frame, pack_frame, parse_result
from service.model.sharpener import Sharpener
from trainer.timing import PICTURES, time_calls

__all__ = ["Service", "StreamTiming", "running_service", "stream_timings"]

_DIFFERENT_FRAMES = 16
_PHOTOGRAPH = Path(__file__).parents[1] / "tests" / "samples" / "man-in-profile.jpg"


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: its address, how long it took to be ready, and its process."""

    port: int
    ready_s: float
    process: psutil.Process


@dataclass(frozen=True, slots=True)
class StreamTiming:
    """One stream of one size; `model_ms` is the Sharpener alone in a process of its own."""

    height: int
    width: int
    fps: float
    median_ms: float
    p95_ms: float
    model_ms: float

    @property
    def share_of_model(self) -> float:
        return self.fps * self.model_ms / 1000


@contextmanager
def running_service() -> Iterator[Service]:
    """`clearcall serve` in a process of its own, with the bundled student."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"CLEARCALL_PORT": str(port), "CLEARCALL_LOG_LEVEL": "warning"}
    started_s = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "serve"], env=environment, stdout=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                if process.poll() is not None or time.perf_counter() - started_s > 60:
                    raise
            time.sleep(0.05)
        ready_s = time.perf_counter() - started_s
        yield Service(port, ready_s, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait()


def _frames(height: int, width: int) -> list[bytes]:
    """JPEG frames that pan over a photograph, as a webcam sends them."""
    photograph = cv2.imread(str(_PHOTOGRAPH), cv2.IMREAD_COLOR)
    assert photograph is not None, f"{_PHOTOGRAPH} is part of the repository"
    margin = _DIFFERENT_FRAMES
    large = cv2.resize(photograph, (width + margin, height + margin), interpolation=cv2.INTER_AREA)
    frames = []
    for shift in range(_DIFFERENT_FRAMES):
        image = large[shift : shift + height, shift : shift + width]
        _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])
        frames.append(encoded.tobytes())
    return frames


def stream_timings(service: Service, *, seconds: float) -> list[StreamTiming]:
    """Each size for `seconds`, as many frames unanswered as the server's hello allows plus one."""
    timings = []
    for height, width in PICTURES:
        model_ms = _model_alone_ms(height, width, seconds=seconds)
        timings.append(_stream(service, height, width, seconds=seconds, model_ms=model_ms))
    return timings


def _model_alone_ms(height: int, width: int, *, seconds: float) -> float:
    sharpener = Sharpener.load()
    image = cv2.imdecode(np.frombuffer(_frames(height, width)[0], np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    rgb = np.ascontiguousarray(image[:, :, ::-1], dtype=np.uint8)
    return time_calls(lambda: sharpener.sharpen(rgb), seconds=seconds)[0]


def _stream(
    service: Service, height: int, width: int, *, seconds: float, model_ms: float
) -> StreamTiming:
    frames = _frames(height, width)
    arrivals_s: list[float] = []
    latencies_ms: list[float] = []
    with connect(
        f"ws://127.0.0.1:{service.port}/stream", max_size=None, compression=None
    ) as stream:
        outstanding = json.loads(stream.recv())["in_flight"] + 1
        sequence = 0

        def send() -> None:
            nonlocal sequence
            frame = Frame(sequence, time.perf_counter() * 1000, frames[sequence % len(frames)])
            stream.send(pack_frame(frame))
            sequence += 1

        for _ in range(outstanding):
            send()
        until_s = time.perf_counter() + seconds + 1
        while time.perf_counter() < until_s:
            message = stream.recv()
            assert isinstance(message, bytes)
            now_s = time.perf_counter()
            arrivals_s.append(now_s)
            latencies_ms.append(now_s * 1000 - parse_result(message).client_timestamp_ms)
            send()
    # The first second warms up.
    kept = [index for index, at_s in enumerate(arrivals_s) if at_s > arrivals_s[0] + 1]
    span_s = arrivals_s[kept[-1]] - arrivals_s[kept[0]]
    kept_ms = [latencies_ms[index] for index in kept]
    return StreamTiming(
        height,
        width,
        fps=(len(kept) - 1) / span_s,
        median_ms=float(np.median(kept_ms)),
        p95_ms=float(np.percentile(kept_ms, 95)),
        model_ms=model_ms,
    )
