"""Bench: figures that are times of what they say, ratios against the reference, JSON at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
import torch

from service.errors import BackendUnavailable, CheckpointNotFound
from service.model.backends import FloatArray, ImageBatch, Precision
from service.model.checkpoint import save_checkpoint
from service.model.estimator import DESCRIPTION_LENGTH
from service.model.student import StudentNetEnhanced
from tests.trainer.students import identity_checkpoint
from trainer import bench as module
from trainer.bench import (
    BenchReport,
    bench,
    bench_json,
    bench_table,
    print_report,
)
from trainer.device import runs_bf16
from trainer.timing import Timing


class Measured:
    """Stands for the process that times the reference, which is another test's."""

    def time_ms(self) -> float:
        return 50.0

    def timing(self) -> Timing:
        return Timing("reference", "torch cpu", 256, 256, 50.0, 55.0)


@contextmanager
def yardstick(*, device: str, threads: int) -> Iterator[Measured]:
    assert device == "cpu" or device.startswith("cuda")
    assert threads > 0
    yield Measured()


@pytest.fixture(autouse=True)
def _no_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "yardstick", yardstick)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that needs even sides."""
    student = identity_checkpoint()
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    save_checkpoint(path, student.network, student.facts)
    return path


class CountedBackend:
    """Stands for OpenVINO, whose threads have no business in the process that tests training."""

    name, device, lanes, max_batch = "openvino", "cpu", 1, 1
    made: ClassVar[list[tuple[int, str]]] = []

    def __init__(self, network: StudentNetEnhanced, *, threads: int, precision: Precision) -> None:
        assert not any("running" in name for name in network.state_dict()), "it is folded"
        self.precision: str = precision
        self.made.append((threads, precision))

    def describe(self, images: ImageBatch, *, lane: int | None = None) -> FloatArray:
        assert lane is None
        return np.zeros((len(images), DESCRIPTION_LENGTH), np.float32)

    def run(
        self,
        images: ImageBatch,
        strength: float,
        description: FloatArray,
        *,
        lane: int | None = None,
    ) -> ImageBatch:
        assert (strength, len(description), lane) == (1, len(images), None)
        return images


def copying_model(_: StudentNetEnhanced) -> onnx.ModelProto:
    """Stands for an exported student; the export is another test's, and takes seconds."""
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, [1, None, None, 3])
        for name in ("images", "sharpened")
    ]
    node = onnx.helper.make_node("Identity", ["images"], ["sharpened"])
    graph = onnx.helper.make_graph([node], "copy", values[:1], values[1:])
    opsets = [onnx.helper.make_opsetid("", 18)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)


def test_every_runtime_is_timed_in_what_this_cpu_has_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OpenVinoBackend", CountedBackend)
    monkeypatch.setattr(module, "onnx_graph", copying_model)
    told: list[Timing] = []
    report = bench(
        ["nano"],
        sizes=((16, 24), (15, 21)),
        device="cpu",
        runtimes=("torch", "openvino", "onnxruntime"),
        seconds=0,
        threads=1,
        on_timing=told.append,
    )
    precisions = ["fp32", "bf16"] if runs_bf16() else ["fp32"]
    combinations = [
        *(("torch cpu", precision) for precision in precisions),
        *(("openvino cpu", precision) for precision in precisions),
        ("onnxruntime cpu", "fp32"),
    ]
    assert [(t.what, t.backend, t.precision, t.height, t.width) for t in report.timings] == [
        ("nano", *combination, *size)
        for combination in combinations
        for size in ((16, 24), (15, 21))
    ]
    assert told == [report.reference, *report.timings]
    assert (report.reference.height, report.reference.width) == (256, 256)
    assert all(0 < timing.median_ms <= timing.p95_ms for timing in told)
    assert all(
        timing.times_faster == pytest.approx(50 / timing.median_ms, rel=0.9)
        for timing in report.timings
    )
    assert report.reference.times_faster == 1
    assert report.machine["threads"] == 1
    assert CountedBackend.made == [(1, precision) for precision in precisions]


def test_named_sizes_are_timed_beside_checkpoints(tiny: Path) -> None:
    report = bench(
        ["nano", str(tiny)],
        sizes=((9, 9),),
        device="cpu",
        precisions=["fp32"],
        runtimes=["torch"],
        seconds=0,
    )
    assert [timing.what for timing in report.timings] == ["nano", "tiny"]


def test_files_of_one_name_are_told_apart_by_their_folders(tiny: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / tiny.name
    other.parent.mkdir()
    other.write_bytes(tiny.read_bytes())
    report = bench(
        [str(tiny), str(other)],
        sizes=((9, 9),),
        device="cpu",
        precisions=["fp32"],
        runtimes=["torch"],
        seconds=0,
    )
    assert [timing.what for timing in report.timings] == [
        str(each.with_suffix("")) for each in (tiny, other)
    ]


def test_pictures_in_onnx_runtime_go_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "onnx_graph", copying_model)
    backend = module._OnnxBackend(identity_checkpoint().network, threads=1)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 6, 3), np.uint8)
    np.testing.assert_array_equal(backend.run(images, 1.0, backend.describe(images)), images)


REPORT = BenchReport(
    reference=Timing("reference", "torch cpu", 256, 256, 200.0, 210.0),
    timings=(Timing("nano", "openvino cpu", 720, 1280, 25.0, 26.5, "fp32", 4, 8.5),),
    machine={"device": "cpu", "processor": "Abacus 3", "threads": 2, "torch": "2.6"},
)


def test_ratios_are_against_the_reference() -> None:
    content = bench_json(REPORT)
    assert content["reference"]["times_faster"] == 1
    (row,) = content["timings"]
    assert (row["times_faster"], row["fps"], row["median_ms"], row["p95_ms"]) == (8.5, 40, 25, 26.5)
    assert content["machine"]["processor"] == "Abacus 3"


def test_the_table_has_a_row_a_figure() -> None:
    assert bench_table(REPORT).row_count == 2


def test_the_last_line_of_the_output_is_the_report_as_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_report(REPORT)
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1]) == bench_json(REPORT)
    assert "1280x720 x4" in "\n".join(lines[:-1])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"students": ["huge"]}, "student must be one of nano.*, not 'huge'"),
        ({"precisions": ["int8"]}, "precision must be one of fp32, bf16, fp16, not 'int8'"),
        ({"runtimes": ["tensorrt"]}, "runtime must be one of torch, openvino, onnxruntime"),
        ({"batch": 0}, "batch must be at least 1, not 0"),
        ({"seconds": float("nan")}, "seconds must be a finite number, not nan"),
        ({"threads": -1}, "threads must be at least 0, not -1"),
        ({"sizes": ((0, 5),)}, "a side in px must be at least 1, not 0"),
    ],
)
def test_a_wrong_word_or_number_is_refused_with_what_is_allowed(
    asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bench(**{"device": "cpu", **asked})


def test_what_this_machine_lacks_is_refused_with_what_it_has() -> None:
    with pytest.raises(BackendUnavailable, match="precision fp16 cannot be timed on cpu"):
        bench(["nano"], device="cpu", precisions=["fp16"])
    with pytest.raises(BackendUnavailable, match="There are: torch in fp32"):
        bench(["nano"], device="cpu", precisions=["bf16"], runtimes=["onnxruntime"])
    if not torch.cuda.is_available():
        with pytest.raises(BackendUnavailable, match="No CUDA GPU"):
            bench(["nano"], device="cuda")
    with pytest.raises(CheckpointNotFound):
        bench(["missing.safetensors"], device="cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_is_timed_in_fp32_and_fp16(tiny: Path) -> None:
    report = bench([str(tiny)], sizes=((16, 16),), device="cuda", seconds=0)
    assert {"fp32", "fp16"} <= {timing.precision for timing in report.timings}
    assert {timing.backend for timing in report.timings} == {"torch cuda:0"}


def test_the_number_of_threads_is_given_back() -> None:
    before = torch.get_num_threads()
    with module._torch_threads(before + 1) as taken:
        assert taken == torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with module._torch_threads(0) as taken:
        assert taken == before
