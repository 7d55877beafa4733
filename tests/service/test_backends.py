"""Backends: one graph, the same picture from each, and clear words where one is missing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
import torch

from service.errors import BackendUnavailable
from service.model.backends import (
    OpenVinoBackend,
    TorchBackend,
    create_backend,
    unsharp_mask,
)
from service.model.student import Normalisation, StudentConfig, StudentNetEnhanced, build_student
from tests.service.pictures import sample

SIZES = [(256, 256), (2, 2), (38, 66), (480, 640)]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def network(normalisation: Normalisation = "frozen") -> StudentNetEnhanced:
    """A student whose corrections are as large as a trained one's."""
    torch.manual_seed(0)
    made = build_student(StudentConfig(16, 2, normalisation=normalisation)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    return made


def cut(height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(sample("colosseum")[None, :height, :width])


@pytest.mark.parametrize("normalisation", ["frozen", "instance"])
@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_openvino_and_torch_differ_by_one_level_at_most(
    height: int, width: int, strength: float, normalisation: Normalisation
) -> None:
    made, image = network(normalisation), cut(height, width)
    from_torch = TorchBackend(made, device="cpu").run(image, strength)
    from_openvino = OpenVinoBackend(made).run(image, strength)
    assert from_openvino.shape == from_torch.shape == image.shape
    assert from_openvino.dtype == np.uint8
    assert np.abs(from_torch.astype(int) - from_openvino).max() <= 1
    assert height < 38 or not np.array_equal(from_torch, image)


@needs_gpu
def test_cuda_in_fp16_and_the_cpu_differ_by_one_level_at_most() -> None:
    made, image = network(), cut(480, 640)
    from_cpu = TorchBackend(made, device="cpu").run(image, 0.5)
    from_cuda = TorchBackend(made, device="cuda:0").run(image, 0.5)
    assert np.abs(from_cpu.astype(int) - from_cuda).max() <= 1


def test_a_result_does_not_change_when_the_next_picture_is_run() -> None:
    backend = OpenVinoBackend(network())
    first = backend.run(cut(64, 64), 0.0)
    before = first.copy()
    backend.run(255 - cut(64, 64), 0.0)
    assert np.array_equal(first, before)


def test_the_number_of_threads_reaches_openvino() -> None:
    assert OpenVinoBackend(network(), threads=1).threads == 1


def test_one_thread_is_not_shared_among_lanes() -> None:
    assert OpenVinoBackend(network(), threads=1).lanes == 1


def test_lanes_at_work_together_give_the_picture_that_the_whole_machine_gives() -> None:
    backend = OpenVinoBackend(network(), threads=2)
    images = [cut(256, 256), cut(130, 200)]
    alone = [backend.run(image, 0.5) for image in images]
    with ThreadPoolExecutor(backend.lanes) as pool:
        runs = [
            pool.submit(backend.run, image, 0.5, lane=lane) for lane, image in enumerate(images)
        ]
        together = [run.result() for run in runs]
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


_SIGNAL_AFTER_BACKENDS = """
import os, signal, warnings
from service.model.backends import OpenVinoBackend
from tests.service.test_backends import network

backends = [OpenVinoBackend(network(), threads=1) for _ in range(2)]
backends.pop(0)
backends.clear()
signal.signal(signal.SIGUSR1, lambda *_: print("felt"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_signals_are_felt_after_backends_have_come_and_gone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SIGNAL_AFTER_BACKENDS], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "felt\n"), done.stderr


def test_unsharp_mask_by_hand() -> None:
    pixels = torch.zeros(1, 3, 3, 3)
    pixels[:, :, 1, 1] = 1
    # The blur keeps 1/4 of the centre, 1/8 goes to each side and 1/16 to each corner.
    masked = unsharp_mask(pixels, 2.0)
    expected = torch.tensor([[-0.125, -0.25, -0.125], [-0.25, 2.5, -0.25], [-0.125, -0.25, -0.125]])
    torch.testing.assert_close(masked, expected.expand(1, 3, 3, 3))


def test_unsharp_mask_leaves_flat_pictures_alone_up_to_their_borders() -> None:
    flat = torch.full((1, 3, 5, 7), 0.3)
    torch.testing.assert_close(unsharp_mask(flat, 2.0), flat)


def test_auto_takes_openvino_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    chosen = create_backend(network())
    assert (chosen.name, chosen.device) == ("openvino", "cpu")


def test_auto_takes_torch_where_openvino_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert create_backend(network(), device="cpu").name == "torch"


def test_openvino_asked_for_but_not_installed_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BackendUnavailable, match="pip install openvino"):
        create_backend(network(), device="cpu", backend="openvino")


@pytest.mark.parametrize(
    ("device", "backend", "message"),
    [
        ("cpu", "tensorrt", "must be auto, torch or openvino"),
        ("gpu", "auto", "must be auto, cpu, cuda, cuda:N or mps"),
        ("meta", "auto", "not supported"),
        ("cuda:77", "torch", "No CUDA GPU 77"),
    ],
)
def test_what_is_not_there_is_named(device: str, backend: str, message: str) -> None:
    with pytest.raises(BackendUnavailable, match=message):
        create_backend(network(), device=device, backend=backend)


def test_openvino_does_not_go_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(BackendUnavailable, match="OpenVINO runs on the CPU here, not on cuda:0"):
        create_backend(network(), device="cuda", backend="openvino")


def test_loading_openvino_does_not_use_the_conversion_that_reports_to_its_vendor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import openvino_telemetry

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("telemetry was started")

    monkeypatch.setattr(openvino_telemetry.Telemetry, "init", refuse)
    OpenVinoBackend(network())
