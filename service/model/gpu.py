"""The network on a CUDA GPU, for streams: batches, copies beside computing, graphs.

Each lane has a CUDA stream and buffers of its own, so that one lane's copies go over the bus while
the other lane's pictures are computed; only uint8 crosses it, from and to pinned memory. For a size
that comes again and again the whole computation is captured as a CUDA graph, which takes the time
to launch some hundred kernels out. A lane's graphs share their memory, since they run one after the
other; they are kept for a few sizes, the least recently used goes first.

A picture in a batch is convolved with its own mixture of kernels, as it is alone; sums in another
order may turn a rounding, so that a level differs by one here and there.

Without CUDA the same code runs on the CPU, without streams, pinned memory and graphs: so that it
can be tested where no GPU is.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from service.model.backends import Precision, TorchBackend
from service.model.estimator import DESCRIPTION_LENGTH
from service.model.student import StudentNetEnhanced

__all__ = ["GpuBackend"]

_LOGGER = logging.getLogger(__name__)
_LANES = 2
_MAX_BATCH = 8
_CAPTURE_AT = 3  # the use of a size at which it is worth a graph
_MOST_SIZES = 12  # kept for each lane
_WARM_UPS = 2  # before a capture, so that libraries have chosen and allocated what they need

ImageBatch = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
_Key = tuple[tuple[int, ...], bool]  # the shape (N, H, W, 3), and whether strengths exceed 1


@dataclass(slots=True)
class _Buffers:
    """What one size needs on its way: pinned memory, device memory, perhaps a graph."""

    pinned_images: Tensor
    pinned_numbers: Tensor  # the strength, then the descriptions
    images: Tensor
    numbers: Tensor
    pinned_result: Tensor
    graph: Any = None
    result: Tensor | None = None  # what the graph writes


@dataclass(slots=True)
class _Lane:
    """One lane's CUDA stream, and its sizes, the least recently used first."""

    stream: Any
    pool: Any  # of the graphs
    sizes: OrderedDict[_Key, _Buffers] = field(default_factory=OrderedDict)
    uses: Counter[_Key] = field(default_factory=Counter)


class GpuBackend(TorchBackend):
    """`TorchBackend` for pictures of several streams at once."""

    lanes = _LANES
    max_batch = _MAX_BATCH

    def __init__(
        self,
        network: StudentNetEnhanced,
        *,
        device: str,
        threads: int = 0,
        precision: Precision = "auto",
    ) -> None:
        super().__init__(network, device=device, threads=threads, precision=precision)
        self._is_cuda = self._device.type == "cuda"
        self._captures = self._is_cuda
        # One more than there are lanes: the picture that has the machine to itself.
        self._lanes = {lane: self._new_lane() for lane in (None, *range(_LANES))}
        if self._is_cuda:
            torch.cuda.synchronize(self._device)  # the weights arrived in another stream

    def _new_lane(self) -> _Lane:
        if not self._is_cuda:
            return _Lane(None, None)
        stream: Any = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        return _Lane(stream, torch.cuda.graph_pool_handle())

    def _in_stream(self, stream: Any) -> AbstractContextManager[Any]:
        return torch.cuda.stream(stream) if self._is_cuda else nullcontext()

    def describe(self, images: ImageBatch, *, lane: int | None = None) -> FloatArray:
        at = self._lanes[lane]
        with torch.inference_mode(), self._in_stream(at.stream):
            # Some hundred KB: `cpu` waits for this stream alone.
            description: FloatArray = self._describe(self._on_device(images)).cpu().numpy()
            return description

    def run(
        self,
        images: ImageBatch,
        strength: float,
        description: FloatArray,
        *,
        lane: int | None = None,
    ) -> ImageBatch:
        at = self._lanes[lane]
        key: _Key = (images.shape, strength > 1)
        with torch.inference_mode(), self._in_stream(at.stream):
            buffers = self._buffers(at, key)
            buffers.pinned_images.numpy()[...] = images
            numbers = buffers.pinned_numbers.numpy()
            numbers[0, 0] = strength
            numbers[1:] = description
            buffers.images.copy_(buffers.pinned_images, non_blocking=True)
            buffers.numbers.copy_(buffers.pinned_numbers, non_blocking=True)
            if buffers.graph is None and self._captures and at.uses[key] >= _CAPTURE_AT:
                self._capture(at, buffers, key)
            if buffers.graph is None:
                result = self._compute(buffers, key)
            else:
                buffers.graph.replay()
                assert buffers.result is not None, "a graph has a result"
                result = buffers.result
            buffers.pinned_result.copy_(result, non_blocking=True)
            if self._is_cuda:
                at.stream.synchronize()
            sharpened: ImageBatch = buffers.pinned_result.numpy().copy()
            return sharpened

    def run_fine(
        self,
        levels: FloatArray,
        strength: float,
        description: FloatArray,
        *,
        lane: int | None = None,
    ) -> FloatArray:
        with self._in_stream(self._lanes[lane].stream):
            return super().run_fine(levels, strength, description, lane=lane)

    def _buffers(self, at: _Lane, key: _Key) -> _Buffers:
        """The lane's buffers for a size, which is now the most recently used one."""
        at.uses[key] += 1
        if (buffers := at.sizes.get(key)) is not None:
            at.sizes.move_to_end(key)
            return buffers
        while len(at.sizes) >= _MOST_SIZES:
            oldest, _ = at.sizes.popitem(last=False)
            del at.uses[oldest]
        shape = key[0]
        numbers = (1 + shape[0], DESCRIPTION_LENGTH)
        buffers = _Buffers(
            pinned_images=self._pinned(shape, torch.uint8),
            pinned_numbers=self._pinned(numbers, torch.float32),
            images=torch.empty(shape, dtype=torch.uint8, device=self._device),
            numbers=torch.empty(numbers, dtype=torch.float32, device=self._device),
            pinned_result=self._pinned(shape, torch.uint8),
        )
        at.sizes[key] = buffers
        return buffers

    def _pinned(self, shape: tuple[int, ...], number: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=number, pin_memory=self._is_cuda)

    def _compute(self, buffers: _Buffers, key: _Key) -> Tensor:
        graph = self._graphs[key[1]]
        # The strength is read on the device: a number of the host would be frozen by a capture.
        result: Tensor = graph(buffers.images, buffers.numbers[0, 0], buffers.numbers[1:])
        return result.contiguous()

    def _capture(self, at: _Lane, buffers: _Buffers, key: _Key) -> None:
        """Captures the computation of a size; where that fails, all go on without graphs."""
        try:
            for _ in range(_WARM_UPS):
                self._compute(buffers, key)
            at.stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            # Only this thread must not do what a capture forbids: other lanes go on meanwhile.
            with torch.cuda.graph(
                graph, pool=at.pool, stream=at.stream, capture_error_mode="thread_local"
            ):
                buffers.result = self._compute(buffers, key)
            buffers.graph = graph
        except RuntimeError:
            _LOGGER.exception("a CUDA graph cannot be captured; going on without graphs")
            self._captures = False
            buffers.graph = buffers.result = None
