"""How long the model takes, per size, backend and picture; `reference` in turns with it."""

from __future__ import annotations

import torch

from service.model.backends import Backend, OpenVinoBackend, TorchBackend
from trainer.bench import served_network
from trainer.device import runs_bf16
from trainer.timing import PICTURES, Timing, measure
from trainer.yardstick import yardstick

__all__ = ["model_timings"]


def model_timings(*, seconds: float) -> list[Timing]:
    """The reference first, then every size on every backend of this machine; random weights."""
    with yardstick(device="cpu", threads=torch.get_num_threads()) as reference:
        timings = [reference.timing()]
        for name in ("nano", "small", "base"):
            network = served_network(name)
            backends: list[Backend] = [
                TorchBackend(network, device="cpu"),
                OpenVinoBackend(network, precision="fp32"),
            ]
            if runs_bf16():
                backends.append(OpenVinoBackend(network, precision="bf16"))
            if torch.cuda.is_available():
                backends.append(TorchBackend(network, device="cuda:0"))
            timings += [
                measure(backend, name, size, seconds=seconds, reference_ms=reference.time_ms)
                for backend in backends
                for size in PICTURES
            ]
    return timings
