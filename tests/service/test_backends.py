"""Backends: one graph, the same picture from each, and clear words where one is missing."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from service.errors import BackendUnavailable
from service.model import backends
from service.model.backends import (
    Backend,
    OpenVinoBackend,
    Precision,
    TorchBackend,
    create_backend,
)
from service.model.estimator import DESCRIPTION_LENGTH, sample_image
from service.model.openvino_cpu import cpu_precision, openvino_abilities
from service.model.student import (
    Attention,
    Colour,
    Normalisation,
    StudentConfig,
    StudentNetEnhanced,
    build_student,
)
from tests.service.pictures import sample

SIZES = [(256, 256), (2, 2), (38, 66), (480, 640)]

ImageBatch = npt.NDArray[np.uint8]
Description = npt.NDArray[np.float32]

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
each_colour = pytest.mark.parametrize("colour", ["rgb", "luma"])


def network(
    colour: Colour = "rgb",
    normalisation: Normalisation = "frozen",
    attention: Attention = "channel+spatial",
) -> StudentNetEnhanced:
    """A student of three experts whose corrections are as large as a trained one's."""
    torch.manual_seed(0)
    config = StudentConfig(
        16, 2, experts=3, colour=colour, attention=attention, normalisation=normalisation
    )
    made = build_student(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.007)
    return made


def in_torch(
    colour: Colour = "rgb", normalisation: Normalisation = "frozen", precision: Precision = "fp32"
) -> Backend:
    return loaded("torch", colour, normalisation, precision)


def in_openvino(
    colour: Colour = "rgb", normalisation: Normalisation = "frozen", precision: Precision = "fp32"
) -> Backend:
    return loaded("openvino", colour, normalisation, precision)


@functools.cache
def loaded(
    backend: str, colour: Colour, normalisation: Normalisation, precision: Precision
) -> Backend:
    """Kept for all tests: OpenVINO takes seconds to read a network."""
    made = network(colour, normalisation)
    if backend == "torch":
        return TorchBackend(made, device="cpu", precision=precision)
    return OpenVinoBackend(made, precision=precision)


def has_bf16() -> bool:
    return "BF16" in openvino_abilities()


def cut(height: int, width: int) -> ImageBatch:
    return np.ascontiguousarray(sample("colosseum")[None, :height, :width])


def described(image: ImageBatch, colour: Colour = "rgb") -> Description:
    return in_torch(colour).describe(sample_image(image[0])[None])


def largest_difference(one: ImageBatch, other: ImageBatch) -> int:
    assert one.shape == other.shape
    assert one.dtype == other.dtype == np.uint8
    return int(np.abs(one.astype(int) - other).max())


@pytest.mark.parametrize(
    ("colour", "normalisation"), [("rgb", "frozen"), ("luma", "frozen"), ("rgb", "instance")]
)
@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_openvino_and_torch_differ_by_one_level_at_most(
    height: int, width: int, strength: float, colour: Colour, normalisation: Normalisation
) -> None:
    image = cut(height, width)
    description = described(image, colour)
    from_torch = in_torch(colour, normalisation).run(image, strength, description)
    from_openvino = in_openvino(colour, normalisation).run(image, strength, description)
    assert from_torch.shape == image.shape
    assert largest_difference(from_torch, from_openvino) <= 1
    assert height < 38 or largest_difference(from_torch, image) > 8


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_openvino_and_torch_agree_on_a_student_without_spatial_attention(strength: float) -> None:
    made = network("luma", attention="channel")
    image = cut(38, 66)
    description = described(image, "luma")
    from_torch, from_openvino = (
        create_backend(made, device="cpu", backend=name, precision="fp32").run(
            image, strength, description
        )
        for name in ("torch", "openvino")
    )
    assert largest_difference(from_torch, from_openvino) <= 1
    assert largest_difference(from_torch, image) > 8


@pytest.mark.parametrize("backend", ["torch", "openvino"])
@pytest.mark.parametrize(("levels", "added"), [(90, 90), (-90, -90), (300, 127), (-300, -128)])
def test_a_luma_correction_saturates_and_is_at_most_half_of_the_range(
    backend: str, levels: int, added: int
) -> None:
    made = network("luma")
    with torch.no_grad():
        for layer in (made.tail, made.refinement):
            for parameter in layer.parameters():
                parameter.zero_()
        made.tail.bias.fill_(levels / 255)
    image = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    image[..., 1] = 255 - image[..., 1]
    given = create_backend(made, device="cpu", backend=backend)
    sharpened = given.run(image, 1.0, described(image, "luma"))
    np.testing.assert_array_equal(sharpened, np.clip(image.astype(int) + added, 0, 255))


@each_colour
def test_openvino_and_torch_describe_alike(colour: Colour) -> None:
    squares = sample_image(cut(480, 640)[0])[None]
    both = np.concatenate((squares, 255 - squares))
    from_torch, from_openvino = in_torch(colour).describe(both), in_openvino(colour).describe(both)
    assert from_openvino.shape == (2, DESCRIPTION_LENGTH)
    assert from_openvino.dtype == from_torch.dtype == np.float32
    np.testing.assert_allclose(from_openvino, from_torch, atol=1e-4)


@each_colour
@pytest.mark.parametrize("strength", [1.0, 2.0])
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_bf16_and_fp32_differ_by_two_levels_at_most(
    backend: str, strength: float, colour: Colour
) -> None:
    if backend == "openvino" and not has_bf16():
        pytest.skip("this CPU has no bf16")
    image = cut(480, 640)
    description = described(image, colour)
    make = in_openvino if backend == "openvino" else in_torch
    precise = make(colour).run(image, strength, description)
    coarse = make(colour, precision="bf16").run(image, strength, description)
    assert largest_difference(coarse, precise) <= 2


@needs_gpu
@each_colour
def test_cuda_in_fp16_and_the_cpu_differ_by_one_level_at_most(colour: Colour) -> None:
    image = cut(480, 640)
    description = described(image, colour)
    on_cuda = TorchBackend(network(colour), device="cuda:0")
    assert on_cuda.precision == "fp16"
    for strength in (0.5, 1.0, 2.0):
        from_cpu = in_torch(colour).run(image, strength, description)
        assert largest_difference(from_cpu, on_cuda.run(image, strength, description)) <= 1


@each_colour
@pytest.mark.parametrize("make", [in_torch, in_openvino])
def test_a_strength_of_zero_gives_back_the_very_image(
    make: Callable[[Colour], Backend], colour: Colour
) -> None:
    image = cut(130, 200)
    assert np.array_equal(make(colour).run(image, 0.0, described(image, colour)), image)


@each_colour
@pytest.mark.parametrize("make", [in_torch, in_openvino])
def test_a_strength_of_a_half_adds_half_of_the_correction(
    make: Callable[[Colour], Backend], colour: Colour
) -> None:
    image = np.clip(cut(130, 200), 70, 185)  # no correction is cut off at 0 or 255
    description = described(image, colour)
    half, whole = (
        make(colour).run(image, strength, description).astype(int) - image
        for strength in (0.5, 1.0)
    )
    assert np.abs(half - whole / 2).max() <= 1


@each_colour
@pytest.mark.parametrize("make", [in_torch, in_openvino])
def test_a_strength_of_two_changes_more_but_goes_beyond_no_extreme_of_the_neighbours(
    make: Callable[[Colour], Backend], colour: Colour
) -> None:
    # A picture without colour: what a luma student limits is the luma.
    image = np.repeat(cut(130, 200)[..., 1:2], 3, axis=3)
    description = described(image, colour)
    trained, stronger = (
        make(colour).run(image, strength, description)[0] for strength in (1.0, 2.0)
    )
    square = np.ones((3, 3), np.uint8)
    assert (stronger <= cv2.dilate(trained, square)).all()
    assert (stronger >= cv2.erode(trained, square)).all()
    by_one, by_two = (np.abs(made.astype(int) - image[0]).mean() for made in (trained, stronger))
    assert by_two > 1.2 * by_one


@each_colour
@pytest.mark.parametrize("make", [in_torch, in_openvino])
def test_the_description_that_is_given_decides_which_experts_are_mixed(
    make: Callable[[Colour], Backend], colour: Colour
) -> None:
    image = cut(130, 200)
    own = described(image, colour)
    by_own, by_other = (make(colour).run(image, 1.0, given) for given in (own, -own))
    assert largest_difference(by_own, by_other) > 1
    assert np.array_equal(make(colour).run(image, 1.0, own.copy()), by_own)


@pytest.mark.parametrize("make", [in_torch, in_openvino])
def test_pictures_of_a_batch_go_each_by_its_own_description(make: Callable[[], Backend]) -> None:
    images = np.concatenate((cut(64, 96), 255 - cut(64, 96)))
    descriptions = np.concatenate([described(image[None]) for image in images])
    together = make().run(images, 1.0, descriptions)
    for n in range(2):
        alone = make().run(images[n : n + 1], 1.0, descriptions[n : n + 1])
        assert largest_difference(together[n : n + 1], alone) <= 1


@each_colour
def test_a_result_does_not_change_when_the_next_picture_is_run(colour: Colour) -> None:
    backend, image = in_openvino(colour), cut(64, 64)
    description = described(image, colour)
    first, first_description = backend.run(image, 1.0, description), backend.describe(image)
    before = first.copy(), first_description.copy()
    backend.run(255 - image, 1.0, description)
    backend.describe(255 - image)
    assert np.array_equal(first, before[0])
    assert np.array_equal(first_description, before[1])


def test_the_number_of_threads_reaches_openvino() -> None:
    assert OpenVinoBackend(network(), threads=1).threads == 1


def test_one_thread_is_not_shared_among_lanes() -> None:
    assert OpenVinoBackend(network(), threads=1).lanes == 1


@each_colour
def test_lanes_at_work_together_give_the_picture_that_the_whole_machine_gives(
    colour: Colour,
) -> None:
    backend = OpenVinoBackend(network(colour), threads=2, precision="fp32")
    images = [cut(256, 256), cut(130, 200)][: backend.lanes]

    def sharpen(image: ImageBatch, lane: int | None) -> ImageBatch:
        description = backend.describe(sample_image(image[0])[None], lane=lane)
        return backend.run(image, 1.5, description, lane=lane)

    alone = [sharpen(image, None) for image in images]
    with ThreadPoolExecutor(backend.lanes) as pool:
        together = list(pool.map(sharpen, images, range(backend.lanes)))
    for one, other in zip(alone, together, strict=True):
        assert largest_difference(one, other) <= 1


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


def test_auto_takes_openvino_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    chosen = create_backend(network())
    assert (chosen.name, chosen.device) == ("openvino", "cpu")
    assert chosen.precision == cpu_precision("auto")


def test_auto_takes_torch_where_openvino_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    chosen = create_backend(network(), device="cpu")
    assert (chosen.name, chosen.precision) == ("torch", "fp32")


@pytest.mark.parametrize(
    ("backend", "precision"),
    [("openvino", "fp32"), ("torch", "fp32"), ("torch", "bf16"), ("torch", "fp16")],
)
def test_a_precision_that_is_asked_for_is_taken(backend: str, precision: Precision) -> None:
    chosen = create_backend(network(), device="cpu", backend=backend, precision=precision)
    assert (chosen.name, chosen.precision) == (backend, precision)


@pytest.mark.parametrize("backend", ["auto", "openvino"])
def test_openvino_refuses_fp16_and_says_what_to_choose(backend: str) -> None:
    with pytest.raises(BackendUnavailable, match="in fp32 or bf16 here, not in fp16"):
        create_backend(network(), device="cpu", backend=backend, precision="fp16")


def test_bf16_on_a_cpu_without_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "openvino_abilities", lambda: ("FP32", "INT8"))
    with pytest.raises(BackendUnavailable, match=r"does not multiply in bf16.*auto or fp32"):
        create_backend(network(), device="cpu", backend="openvino", precision="bf16")


def test_openvino_asked_for_but_not_installed_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BackendUnavailable, match="pip install openvino"):
        create_backend(network(), device="cpu", backend="openvino", precision="bf16")


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


@each_colour
def test_students_of_one_kind_are_traced_once_and_each_has_its_own_weights(
    colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = in_openvino(colour)  # traces

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("traced again")

    monkeypatch.setattr(torch.jit, "trace", refuse)
    other = network(colour)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.9)
    image = cut(64, 96)
    description = described(image, colour)
    expected = TorchBackend(other, device="cpu", precision="fp32").run(image, 1.5, description)
    made = OpenVinoBackend(other, precision="fp32").run(image, 1.5, description)
    assert largest_difference(made, expected) <= 1
    assert largest_difference(made, first.run(image, 1.5, description)) > 1


def test_ctrl_c_while_openvino_reads_a_graph_is_ctrl_c() -> None:
    script = (
        "import os, signal, sys; from unittest.mock import Mock; from desktop.cli import main;"
        "from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder as Decoder;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "Decoder.get_op_type = Mock(side_effect=lambda *_: os.kill(os.getpid(), signal.SIGINT));"
        "sys.exit(main(['doctor']))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (130, b"")
