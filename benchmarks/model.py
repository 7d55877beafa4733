"""How long the model takes, per size, backend and picture; `reference` in torch eager in turns."""

from __future__ import annotations

import torch

from service.model.backends import Backend, OpenVinoBackend, TorchBackend
from service.model.student import SIZES, build_student
from trainer.bench import served_network
from trainer.device import runs_bf16
from trainer.timing import PICTURES, Timing, backend_call, measure

__all__ = ["model_timings"]


def model_timings(*, seconds: float) -> list[Timing]:
    """The reference first, then every size on every backend of this machine; random weights."""
    reference = TorchBackend(build_student(SIZES["reference"]).eval(), device="cpu")
    timings = [measure(reference, "reference", PICTURES[0], seconds=seconds)]
    reference_call = backend_call(reference, PICTURES[0])
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
            measure(backend, name, size, seconds=seconds, reference=reference_call)
            for backend in backends
            for size in PICTURES
        ]
    return timings
