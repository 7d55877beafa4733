"""A service in a process of its own, and what it tells of itself on /metrics."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from service.exposition import REPLICA_LABEL

__all__ = ["Scrape", "Service", "free_port", "running_service", "scrape"]

_START_LIMIT_S = 120


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: its address, how long it took to be ready, and its process."""

    port: int
    ready_s: float
    process: psutil.Process

    @property
    def url(self) -> str:
        """Of its HTTP side."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class Scrape:
    """What /metrics said at one moment."""

    received: int
    sent: int
    dropped: dict[str, int]
    streams: int
    cpu_s: float
    memory_mb: float
    reloads: dict[str, int]

    @property
    def is_balanced(self) -> bool:
        """Whether every frame that came in went out or was dropped for a reason."""
        return self.received == self.sent + sum(self.dropped.values())


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running_service(student: str = "small", **settings: object) -> Iterator[Service]:
    """`clearcall serve` with a bundled student; further settings by name, as in `max_streams=300`.

    Raises:
        RuntimeError: It ended, or was not ready in time.
    """
    given = {"checkpoint": student, "port": free_port(), "log_level": "warning"} | settings
    port = int(str(given["port"]))
    environment = {f"CLEARCALL_{name.upper()}": str(value) for name, value in given.items()}
    started_s = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "serve"],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        while not _is_ready(port):
            if process.poll() is not None or time.perf_counter() - started_s > _START_LIMIT_S:
                raise RuntimeError("The service did not start; what it printed above says why.")
            time.sleep(0.05)
        yield Service(port, time.perf_counter() - started_s, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait()


def scrape(url: str) -> Scrape:
    """Reads /metrics of the service at an HTTP URL; of a cluster, the sums over its replicas.

    Raises:
        httpx.HTTPError: It does not answer.
    """
    text = httpx.get(f"{url}/metrics", timeout=30).raise_for_status().text
    values: defaultdict[str, float] = defaultdict(float)
    dropped: Counter[str] = Counter()
    reloads: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "clearcall_frames_dropped_total":
                dropped[sample.labels["reason"]] += int(sample.value)
            elif sample.name == "clearcall_checkpoint_reloads_total":
                reloads[sample.labels["result"]] += int(sample.value)
            elif not sample.labels.keys() - {REPLICA_LABEL}:
                values[sample.name] += sample.value
    return Scrape(
        received=int(values["clearcall_frames_received_total"]),
        sent=int(values["clearcall_frames_sent_total"]),
        dropped=dict(dropped),
        streams=int(values["clearcall_streams_active"]),
        cpu_s=values["process_cpu_seconds_total"],
        memory_mb=values["process_resident_memory_bytes"] / 1e6,
        reloads=dict(reloads),
    )


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
    except httpx.TransportError:
        return False
