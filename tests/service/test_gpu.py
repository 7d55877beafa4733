"""service.model.gpu: the same pictures as alone; streams and graphs where there is a GPU."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from service.model import gpu as module
from service.model.backends import TorchBackend
from service.model.estimator import sample_image
from service.model.gpu import GpuBackend
from service.model.student import StudentConfig, StudentNetEnhanced, build_student
from tests.service.pictures import sample

ImageBatch = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@functools.cache
def network() -> StudentNetEnhanced:
    torch.manual_seed(0)
    made = build_student(StudentConfig(8, 2, blocks=2, experts=3, normalisation="frozen")).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return made


@pytest.fixture
def backend() -> GpuBackend:
    return GpuBackend(network(), device="cpu")


@functools.cache
def plain() -> TorchBackend:
    return TorchBackend(network(), device="cpu")


def batch(count: int, height: int = 96, width: int = 128) -> tuple[ImageBatch, FloatArray]:
    """Different pictures of one size, and their descriptions."""
    names = ("colosseum", "museum", "man-in-profile")
    images = np.stack(
        [sample(names[n % 3])[9 * n : 9 * n + height, 7 * n : 7 * n + width] for n in range(count)]
    )
    return images, np.concatenate([plain().describe(sample_image(each)[None]) for each in images])


def levels_apart(one: ImageBatch, other: ImageBatch) -> int:
    return int(np.abs(one.astype(int) - other).max())


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_it_sharpens_as_the_plain_backend_does(backend: GpuBackend, strength: float) -> None:
    images, descriptions = batch(1)
    for _ in range(5):
        sharpened = backend.run(images, strength, descriptions)
        assert np.array_equal(sharpened, plain().run(images, strength, descriptions))
    assert levels_apart(sharpened, images) > 8
    squares = sample_image(images[0])[None]
    assert np.array_equal(backend.describe(squares), plain().describe(squares))


@pytest.mark.parametrize("strength", [1.0, 2.0])
def test_a_picture_in_a_batch_is_as_it_is_alone(backend: GpuBackend, strength: float) -> None:
    """But for sums in another order, which turn a rounding here and there."""
    images, descriptions = batch(5)
    together = backend.run(images, strength, descriptions)
    for n in range(5):
        alone = backend.run(images[n : n + 1], strength, descriptions[n : n + 1])
        assert levels_apart(together[n : n + 1], alone) <= 1
        assert (together[n] != alone[0]).mean() < 0.001


def test_a_result_stays_when_the_next_picture_is_run(backend: GpuBackend) -> None:
    images, descriptions = batch(2)
    first = backend.run(images[:1], 1.0, descriptions[:1])
    kept = first.copy()
    backend.run(images[1:], 1.0, descriptions[1:])
    assert np.array_equal(first, kept)


def test_lanes_have_buffers_of_their_own(backend: GpuBackend) -> None:
    images, descriptions = batch(8)
    expected = [plain().run(images[n : n + 1], 1.0, descriptions[n : n + 1]) for n in range(8)]

    def run_all(lane: int | None) -> list[ImageBatch]:
        return [
            backend.run(images[n : n + 1], 1.0, descriptions[n : n + 1], lane=lane)
            for n in range(8)
        ]

    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(run_all, (None, 0, 1)):
            assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


def test_only_a_few_sizes_are_kept(backend: GpuBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_SIZES", 2)
    for side in (32, 34, 32, 36):
        images, descriptions = batch(1, side, side)
        backend.run(images, 1.0, descriptions)
    kept = [shape[1] for shape, _ in backend._lanes[None].sizes]
    assert kept == [32, 36]
    assert set(backend._lanes[None].uses) == set(backend._lanes[None].sizes)


@pytest.fixture
def with_streams(backend: GpuBackend) -> GpuBackend:
    """A backend that takes itself for one on a GPU, as far as captures go."""
    backend._captures = True
    for lane in backend._lanes.values():
        lane.stream = SimpleNamespace(synchronize=lambda: None)
    return backend


def test_a_size_that_comes_again_is_captured_once_and_replayed(
    with_streams: GpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    replays: list[int] = []
    modes: list[str] = []

    @contextlib.contextmanager
    def capture(_: Any, *, capture_error_mode: str, **__: Any) -> Iterator[None]:
        modes.append(capture_error_mode)
        yield

    monkeypatch.setattr(
        torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: replays.append(1))
    )
    monkeypatch.setattr(torch.cuda, "graph", capture)
    images, descriptions = batch(1)
    for _ in range(6):
        sharpened = with_streams.run(images, 1.0, descriptions)
        assert np.array_equal(sharpened, plain().run(images, 1.0, descriptions))
    assert modes == ["thread_local"]
    assert len(replays) == 4


def test_where_no_graph_can_be_captured_pictures_go_on_without(
    with_streams: GpuBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", fail)
    images, descriptions = batch(1)
    with caplog.at_level(logging.ERROR):
        for _ in range(6):
            sharpened = with_streams.run(images, 1.0, descriptions)
            assert np.array_equal(sharpened, plain().run(images, 1.0, descriptions))
    assert caplog.text.count("cannot be captured") == 1


@needs_gpu
@pytest.mark.parametrize("strength", [1.0, 2.0])
def test_on_a_gpu_batches_lanes_and_graphs_agree_with_the_cpu_within_one_level(
    strength: float,
) -> None:
    on_gpu = GpuBackend(network(), device="cuda:0")
    images, descriptions = batch(4, 360, 640)
    expected = plain().run(images, strength, descriptions)

    def run_all(lane: int | None) -> list[ImageBatch]:
        return [on_gpu.run(images, strength, descriptions, lane=lane) for _ in range(10)]

    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(run_all, (None, 0, 1)):
            assert max(levels_apart(each, expected) for each in found) <= 1
    assert on_gpu._captures, "a graph could not be captured"
    for n in range(4):
        alone = on_gpu.run(images[n : n + 1], strength, descriptions[n : n + 1])
        assert levels_apart(alone, expected[n : n + 1]) <= 1
