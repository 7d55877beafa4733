"""How long a student takes for a frame, by picture size, device, precision and runtime.

Every figure is uint8 image in to uint8 image out with strength 1, copies to and from the device
included, in repeated calls after a warm-up. Beside them stands `reference`, the published network's
shape (32 channels at full resolution, each picture's own statistics), in torch eager in fp32 at
256x256 on the same device, called in turns with what is compared with it, see
`trainer.yardstick`: ratios against it hold across machines, milliseconds do not.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.errors import BackendUnavailable
from service.model.backends import (
    PRECISIONS,
    Backend,
    FloatArray,
    ImageBatch,
    OpenVinoBackend,
    Precision,
    TorchBackend,
    create_backend,
)
from service.model.checkpoint import load_checkpoint
from service.model.estimator import DESCRIPTION_LENGTH
from service.model.student import SIZES, StudentNetEnhanced, build_student
from trainer.device import runs_bf16
from trainer.onnx_export import onnx_graph, onnx_session
from trainer.timing import PICTURES, Timing, measure
from trainer.yardstick import yardstick

__all__ = [
    "BenchReport",
    "bench",
    "bench_json",
    "bench_table",
    "print_report",
    "processor",
    "served_network",
]

STUDENTS = ("nano", "small", "base")
RUNTIMES = ("torch", "openvino", "onnxruntime")


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What was measured, the reference first, and on which machine."""

    reference: Timing
    timings: tuple[Timing, ...]
    machine: dict[str, str | int]


def bench(
    students: Sequence[str] = STUDENTS,
    *,
    sizes: Sequence[tuple[int, int]] = PICTURES,
    device: str = "auto",
    precisions: Sequence[str] = (),
    runtimes: Sequence[str] = (),
    seconds: float = 2.0,
    threads: int = 0,
    batch: int = 1,
    on_timing: Callable[[Timing], None] = lambda _: None,
) -> BenchReport:
    """Times students, folded, on every combination that this machine has of what was asked.

    Args:
        students: named sizes (random weights: they take as long as trained ones) or paths of
            checkpoints.
        sizes: (height, width) of pictures in px, rounded up to the student's size multiple.
        device: auto (CUDA, then MPS, then the CPU), cpu, mps, cuda or cuda:N.
        precisions: of fp32, bf16, fp16; none = fp32, and bf16 on CPUs that compute in it, and fp16
            on a GPU. OpenVINO and ONNX Runtime run on the CPU only, the latter in fp32.
        runtimes: of torch, openvino, onnxruntime; none = those that are installed.
        seconds: for each figure, 0 or more; at least seven calls are timed.
        threads: of the CPU, the same for every runtime; 0 = as many as torch takes.
        batch: pictures in a call, 1 or more.
        on_timing: called with each figure as it is there.

    Raises:
        BackendUnavailable: the device, precision or runtime is not on this machine.
        CheckpointError: a checkpoint cannot be read; the leaf says why.
        ValueError: a word or number is not one of those above.
    """
    _require_sane(sizes, precisions, runtimes, seconds=seconds, threads=threads, batch=batch)
    # The service knows which devices there are, and has the words for those that there are not.
    any_network = build_student(SIZES["nano"]).eval()
    place = create_backend(any_network, device=device, backend="torch").device
    networks = {
        label: served_network(student)
        for label, student in zip(_labels(students), students, strict=True)
    }
    combinations = _combinations(place, precisions, runtimes)
    with (
        _torch_threads(threads) as used_threads,
        yardstick(device=place, threads=used_threads) as measured,
    ):
        reference = measured.timing()
        on_timing(reference)
        timings = []
        for runtime, precision in combinations:
            for name, network in networks.items():
                multiple = network.config.size_multiple
                backend = _backend(runtime, network, place, precision, used_threads)
                for height, width in sizes:
                    padded = (height + -height % multiple, width + -width % multiple)
                    timing = measure(
                        backend,
                        name,
                        padded,
                        seconds=seconds,
                        batch=batch,
                        reference_ms=measured.time_ms,
                    )
                    timings.append(replace(timing, height=height, width=width))
                    on_timing(timings[-1])
        machine = _machine(place)
    return BenchReport(reference, tuple(timings), machine)


class _OnnxBackend:
    """The exported file in ONNX Runtime on the CPU, which describes the pictures itself."""

    name = "onnxruntime"
    device = "cpu"
    precision = "fp32"
    lanes = max_batch = 1

    def __init__(self, network: StudentNetEnhanced, *, threads: int) -> None:
        self._session = onnx_session(onnx_graph(network).SerializeToString(), threads=threads)

    def describe(self, images: ImageBatch, *, lane: int | None = None) -> FloatArray:
        assert not lane
        return np.zeros((len(images), DESCRIPTION_LENGTH), np.float32)

    def run(
        self,
        images: ImageBatch,
        strength: float,
        description: FloatArray,  # noqa: ARG002
        *,
        lane: int | None = None,
    ) -> ImageBatch:
        assert not lane
        assert strength == 1, "the file's own"
        each = [self._session.run(None, {"images": image[None]})[0] for image in images]
        return np.concatenate(each)


def _backend(
    runtime: str, network: StudentNetEnhanced, device: str, precision: Precision, threads: int
) -> Backend:
    if runtime == "openvino":
        return OpenVinoBackend(network, threads=threads, precision=precision)
    if runtime == "onnxruntime":
        return _OnnxBackend(network, threads=threads)
    return TorchBackend(network, device=device, precision=precision)


def _combinations(
    device: str, precisions: Sequence[str], runtimes: Sequence[str]
) -> list[tuple[str, Precision]]:
    """(runtime, precision), as asked or all that there are."""
    on_cpu = device == "cpu"
    in_torch: list[Precision] = ["fp32"]
    if device.startswith("cuda"):
        in_torch.append("fp16")
    if runs_bf16() if on_cpu else device.startswith("cuda") and torch.cuda.is_bf16_supported():
        in_torch.append("bf16")
    available: list[tuple[str, Precision]] = [("torch", precision) for precision in in_torch]
    if on_cpu and _is_installed("openvino"):
        available += [("openvino", precision) for precision in in_torch]
    if on_cpu and _is_installed("onnxruntime"):
        available.append(("onnxruntime", "fp32"))
    chosen = [
        (runtime, precision)
        for runtime, precision in available
        if (not runtimes or runtime in runtimes) and (not precisions or precision in precisions)
    ]
    for kind, asked, place in (("runtime", runtimes, 0), ("precision", precisions, 1)):
        found = {combination[place] for combination in chosen}
        for word in asked:
            if word not in found:
                there = ", ".join(f"{runtime} in {p}" for runtime, p in available)
                raise BackendUnavailable(
                    f"The {kind} {word} cannot be timed on {device} with what else was asked. "
                    f"There are: {there}."
                )
    return chosen


def _is_installed(runtime: str) -> bool:
    needed = {"openvino": ("openvino",), "onnxruntime": ("onnxruntime", "onnx", "onnxscript")}
    return all(importlib.util.find_spec(module) for module in needed[runtime])


def _require_sane(
    sizes: Sequence[tuple[int, int]],
    precisions: Sequence[str],
    runtimes: Sequence[str],
    *,
    seconds: float,
    threads: int,
    batch: int,
) -> None:
    for kind, words, known in (
        ("precision", precisions, tuple(PRECISIONS)),
        ("runtime", runtimes, RUNTIMES),
    ):
        for word in words:
            if word not in known:
                raise ValueError(f"{kind} must be one of {', '.join(known)}, not {word!r}")
    for name, value, lowest in (
        ("seconds", seconds, 0),
        ("threads", threads, 0),
        ("batch", batch, 1),
        *(("a side in px", side, 1) for size in sizes for side in size),
    ):
        if not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, not {value}")
        if value < lowest:
            raise ValueError(f"{name} must be at least {lowest}, not {value:g}")


def served_network(student: str) -> StudentNetEnhanced:
    """A named size with random weights, or a checkpoint's student, folded as it is served.

    Raises:
        CheckpointError: the checkpoint cannot be read; the leaf says why.
        ValueError: neither a named size nor a checkpoint.
    """
    if student in SIZES:
        frozen = replace(SIZES[student], normalisation="frozen")
        return build_student(frozen).eval().requires_grad_(requires_grad=False).folded()
    if Path(student).suffix != ".safetensors":
        raise ValueError(
            f"student must be one of {', '.join(SIZES)} or a .safetensors checkpoint, "
            f"not {student!r}"
        )
    return load_checkpoint(Path(student)).network.folded()


def _labels(students: Sequence[str]) -> list[str]:
    """Sizes, and the names of files; with their folders where the names are alike."""
    names = [each if each in SIZES else Path(each).stem for each in students]
    return [
        name if names.count(name) == 1 else str(Path(each).with_suffix(""))
        for each, name in zip(students, names, strict=True)
    ]


@contextmanager
def _torch_threads(threads: int) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def _machine(device: str) -> dict[str, str | int]:
    facts: dict[str, str | int] = {
        "device": device,
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device.startswith("cuda"):
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def processor() -> str:
    """The CPU's name, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def bench_table(report: BenchReport) -> Table:
    """One row a figure, the reference first."""
    machine = report.machine
    table = Table(
        title=f"{machine.get('gpu', machine['processor'])}, torch {machine['torch']}, "
        f"{machine['threads']} threads"
    )
    for name in ("student", "backend", "precision", "picture"):
        table.add_column(name)
    for name in ("median ms", "p95 ms", "FPS", "times faster"):
        table.add_column(name, justify="right")
    for timing in (report.reference, *report.timings):
        table.add_row(
            escape(timing.what),
            timing.backend,
            timing.precision,
            f"{timing.width}x{timing.height}" + (f" x{timing.batch}" * (timing.batch > 1)),
            f"{timing.median_ms:.2f}",
            f"{timing.p95_ms:.2f}",
            f"{1000 / timing.median_ms:.1f}",
            f"{timing.times_faster:.2f}",
        )
    return table


def bench_json(report: BenchReport) -> dict[str, Any]:
    """The report for programs; `times_faster` is against `reference`, whatever the size."""
    rows = [
        {
            **asdict(timing),
            "median_ms": round(timing.median_ms, 4),
            "p95_ms": round(timing.p95_ms, 4),
            "fps": round(1000 / timing.median_ms, 2),
            "times_faster": round(timing.times_faster, 3),
        }
        for timing in (report.reference, *report.timings)
    ]
    return {"machine": report.machine, "reference": rows[0], "timings": rows[1:]}


def print_report(report: BenchReport) -> None:
    """The table, then the JSON as the last line of the standard output."""
    Console(width=max(100, Console().width)).print(bench_table(report))
    print(json.dumps(bench_json(report)))
