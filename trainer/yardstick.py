"""`reference`, what speeds are compared with, in a process of its own.

How fast it is in torch eager depends on what the process did before: once tensors of 32 MB were
freed, glibc keeps memory that it gave back to the kernel until then, and a call takes two thirds of
the time. In a process of its own it is always what it is for whoever runs nothing else.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import torch

from service.model.backends import TorchBackend
from service.model.student import SIZES, StudentConfig, build_student
from trainer.timing import PICTURES, Timing, backend_call, median_and_p95

__all__ = ["Yardstick", "yardstick"]

_CALLS = 15
_WARM_UPS = 3
_STOP_S = 10.0


class Yardstick:
    """The running process, see `yardstick`."""

    def __init__(self, connection: Connection, device: str) -> None:
        self._connection = connection
        self._device = device

    def time_ms(self) -> float:
        """How long one picture of 256x256 takes, after another one that does not count.

        Raises:
            RuntimeError: the process has ended.
        """
        try:
            self._connection.send(None)
            time_ms: float = self._connection.recv()
        except (EOFError, OSError) as exc:
            raise RuntimeError(
                "the process that times the reference has ended: out of memory?"
            ) from exc
        return time_ms

    def timing(self) -> Timing:
        """Of some calls."""
        took_ms = median_and_p95([self.time_ms() for _ in range(_CALLS)])
        return Timing("reference", f"torch {self._device}", *PICTURES[0], *took_ms)


@contextmanager
def yardstick(*, device: str, threads: int) -> Iterator[Yardstick]:
    """Starts the process and ends it: 32 channels at full resolution, torch eager, fp32.

    Args:
        device: of torch, such as cpu or cuda:0.
        threads: of the CPU, 1 or more.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (theirs, SIZES["reference"], device, threads)
    process = context.Process(target=_answer, args=arguments, daemon=True)
    process.start()
    theirs.close()
    try:
        yield Yardstick(ours, device)
    finally:
        ours.close()
        process.join(_STOP_S)
        process.kill()


def _answer(connection: Connection, config: StudentConfig, device: str, threads: int) -> None:
    """Times a call whenever it is asked, until the other side closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the other side's, which then closes
    torch.set_num_threads(threads)
    backend = TorchBackend(build_student(config).eval(), device=device, precision="fp32")
    call = backend_call(backend, PICTURES[0])
    call.warm_up(_WARM_UPS)
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        call.warm_up(1)
        connection.send(call.time_ms())
