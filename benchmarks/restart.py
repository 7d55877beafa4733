"""The service killed with -9 and started again: `python -m benchmarks.restart`.

Clients stream meanwhile, as `clearcall.client` does by itself. Told are, from the start of the new
process, the time until it is ready and the time until the last client has its next result.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.footage import panned_frames, played
from benchmarks.service import free_port, running_service
from clearcall.blocking import BlockingClient

__all__ = ["Restart", "main", "measure_restart"]

_READY_LIMIT_S = 10.0
_RESULT_LIMIT_S = 60.0
_FRAME_PX = (360, 640)
_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Restart:
    """Seconds after the new process was started."""

    ready_s: float
    last_client_s: float


def measure_restart(student: str, *, clients: int) -> Restart:
    """Kills a service that `clients` stream through, and starts another one on its port."""
    port = free_port()
    streams = [_Stream(f"ws://127.0.0.1:{port}/stream") for _ in range(clients)]
    with contextlib.ExitStack() as stack:
        with running_service(student, port=port) as service:
            for stream in streams:
                stack.enter_context(stream)
                stream.wait_for_result()
            service.process.kill()
        begun_s = time.perf_counter()
        service = stack.enter_context(running_service(student, port=port))
        for stream in streams:
            stream.wait_for_result()
        return Restart(service.ready_s, time.perf_counter() - begun_s)


class _Stream:
    """A client in a thread of its own that sends and reads for as long as the block lasts."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._is_over = threading.Event()
        self._has_result = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def wait_for_result(self) -> None:
        """Waits for the next result.

        Raises:
            TimeoutError: There is none.
        """
        self._has_result.clear()
        if not self._has_result.wait(_RESULT_LIMIT_S):
            raise TimeoutError(f"no result within {_RESULT_LIMIT_S:g} s")

    def _run(self) -> None:
        frames = panned_frames(*_FRAME_PX)
        with BlockingClient(self._url) as client:
            number = 0
            while not self._is_over.is_set():
                client.offer(played(frames, number))
                number += 1
                with contextlib.suppress(TimeoutError):
                    client.displayed(client.result(timeout_s=_PAUSE_S))
                    self._has_result.set()
                time.sleep(_PAUSE_S)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints medians and the worst; the exit status says whether the bar is held."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restart", description=__doc__)
    parser.add_argument("--student", default="small", choices=("nano", "small", "base"))
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args(argv)
    found = [
        measure_restart(arguments.student, clients=arguments.clients)
        for _ in range(arguments.rounds)
    ]
    for name in ("ready_s", "last_client_s"):
        values = [getattr(each, name) for each in found]
        print(f"{name}: median {statistics.median(values):.1f}, worst {max(values):.1f}")
    return 0 if max(each.ready_s for each in found) <= _READY_LIMIT_S else 1


if __name__ == "__main__":
    sys.exit(main())
