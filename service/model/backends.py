"""The network as a callable on uint8 images.

PyTorch on CUDA, MPS or the CPU, or OpenVINO on the CPU.

A backend takes (N, H, W, 3) uint8 RGB, H and W multiples of the network's `size_multiple`, and a
strength, and returns the same shape and type. Conversion to pixels, network, unsharp mask, clamping
and rounding are one graph (`ImageGraph`), which every backend runs whole: nothing is left to be
done differently by one of them. The correction is added to the input in fp32 whatever the network
runs in.
"""

from __future__ import annotations

import copy
import functools
import importlib.util
import threading
import warnings
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from service.errors import BackendUnavailable
from service.model.student import StudentNetEnhanced

__all__ = [
    "Backend",
    "FeatureGraph",
    "ImageGraph",
    "OpenVinoBackend",
    "Runner",
    "TorchBackend",
    "create_backend",
    "unsharp_mask",
]

_TRACED_POSITIONS = 32
_LANES = 2

ImageBatch = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]


class Runner(Protocol):
    """One loaded network.

    `lanes` calls may be in progress at once, each with another lane, on its share of the machine.
    A call without a lane has the whole machine; two of those must not overlap.
    """

    name: str
    device: str
    lanes: int

    def run(self, images: ImageBatch, strength: float, *, lane: int | None = None) -> ImageBatch:
        """(N, H, W, 3) uint8 RGB -> the same; H and W multiples of the network's size multiple."""
        ...


class Backend(Runner, Protocol):
    """A runner that can also do its work in tiles."""

    def features(self, images: ImageBatch) -> FloatArray:
        """The student's features (N, C, H / r, W / r) of such images."""
        ...

    def run_tile(self, images: ImageBatch, strength: float, pooled: FloatArray) -> ImageBatch:
        """As `run`, for tiles of pictures whose features have the mean `pooled` (N, C, 1, 1)."""
        ...


def unsharp_mask(pixels: Tensor, strength: Tensor | float) -> Tensor:
    """pixels + strength * (pixels - blurred), not clamped.

    Args:
        pixels: (N, 3, H, W), any range.
        strength: 0 to 2; the blur is the 3x3 binomial Gaussian (1 2 1)/4, sigma 0.7 px, borders
            replicated.
    """
    line = torch.tensor([0.25, 0.5, 0.25], dtype=pixels.dtype, device=pixels.device)
    kernel = torch.outer(line, line).expand(3, 1, 3, 3)
    blurred = F.conv2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)
    return pixels + strength * (pixels - blurred)


class ImageGraph(nn.Module):
    """From uint8 images to uint8 images through a network, as one traceable module.

    `is_masking` is fixed when the graph is made, so that a strength of 0 costs nothing.
    """

    def __init__(
        self,
        network: StudentNetEnhanced,
        *,
        is_masking: bool,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.network = network
        self.is_masking = is_masking
        self.precision = precision

    def forward(self, images: Tensor, strength: Tensor, pooled: Tensor | None = None) -> Tensor:
        """(N, H, W, 3) uint8 RGB and a scalar -> (N, H, W, 3) uint8 RGB.

        `pooled` (N, C, 1, 1) comes with tiles, see `StudentNetEnhanced.correction`.
        """
        pixels = images.permute(0, 3, 1, 2).float() / 255
        if pooled is not None:
            pooled = pooled.to(self.precision)
        correction = self.network.correction(pixels.to(self.precision), pooled)
        sharpened = pixels + correction.float()
        if self.is_masking:
            sharpened = unsharp_mask(sharpened, strength)
        levels = torch.round(sharpened.clamp(0, 1) * 255)
        return levels.to(torch.uint8).permute(0, 2, 3, 1)


class FeatureGraph(nn.Module):
    """From uint8 images to the student's features, for what a picture's tiles share."""

    def __init__(
        self, network: StudentNetEnhanced, *, precision: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.network = network
        self.precision = precision

    def forward(self, images: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB -> (N, C, H / r, W / r) fp32."""
        pixels = images.permute(0, 3, 1, 2).float() / 255
        return self.network.features(pixels.to(self.precision)).float()


class TorchBackend:
    """PyTorch in eager mode: fp16 and channels_last on CUDA, fp32 elsewhere."""

    name = "torch"
    lanes = 1

    def __init__(self, network: StudentNetEnhanced, *, device: str, threads: int = 0) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.device = device
        self._device = torch.device(device)
        precision = torch.float16 if self._device.type == "cuda" else torch.float32
        # Any: releases of torch differ in how they type `to`.
        deployed: Any = copy.deepcopy(network).to(device=self._device, dtype=precision)
        deployed.to(memory_format=torch.channels_last)
        self._graphs = {
            is_masking: ImageGraph(deployed, is_masking=is_masking, precision=precision)
            for is_masking in (False, True)
        }
        self._features = FeatureGraph(deployed, precision=precision)

    def run(self, images: ImageBatch, strength: float, *, lane: int | None = None) -> ImageBatch:
        assert not lane, "there is one lane"
        return self._run(images, strength, None)

    def run_tile(self, images: ImageBatch, strength: float, pooled: FloatArray) -> ImageBatch:
        return self._run(images, strength, torch.from_numpy(pooled).to(self._device))

    def features(self, images: ImageBatch) -> FloatArray:
        with torch.inference_mode():
            features: FloatArray = self._features(self._on_device(images)).cpu().numpy()
            return features

    def _run(self, images: ImageBatch, strength: float, pooled: Tensor | None) -> ImageBatch:
        with torch.inference_mode():
            graph = self._graphs[strength > 0]
            result = graph(self._on_device(images), torch.tensor(strength), pooled)
            sharpened: ImageBatch = result.contiguous().cpu().numpy()
            return sharpened

    def _on_device(self, images: ImageBatch) -> Tensor:
        writable = np.require(images, requirements=["C", "W"])
        return torch.from_numpy(writable).to(self._device)


class OpenVinoBackend:
    """OpenVINO on the CPU in fp32, for every picture size with one compiled graph.

    One graph that uses every core for one picture, and one whose lanes have half of the cores each.
    Tiles have graphs of their own, made when the first large picture comes.

    The graph is handed to OpenVINO's PyTorch frontend itself: its `convert_model` reports each use
    to its vendor unless the user opted out, and Clearcall tells nobody anything.
    """

    name = "openvino"
    device = "cpu"

    def __init__(self, network: StudentNetEnhanced, *, threads: int = 0) -> None:
        if importlib.util.find_spec("openvino") is None:
            raise BackendUnavailable(
                "OpenVINO is not installed. Install it (pip install openvino) or choose "
                "the torch backend."
            )
        self._network = network
        self._options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            # Two processes that pin their threads pin them to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        if threads:
            self._options["INFERENCE_NUM_THREADS"] = threads
        models = {
            is_masking: self._read(ImageGraph(network, is_masking=is_masking))
            for is_masking in (False, True)
        }
        self._whole = {is_masking: self._request(model) for is_masking, model in models.items()}
        self.threads = int(
            self._whole[False].get_compiled_model().get_property("INFERENCE_NUM_THREADS")
        )
        self.lanes = _LANES if self.threads >= _LANES else 1
        self._shared = {
            is_masking: self._lane_requests(model) for is_masking, model in models.items()
        }
        self._tiled: dict[str, Any] = {}
        self._tiling = threading.Lock()

    def _request(self, model: Any) -> Any:
        options = self._options | {"PERFORMANCE_HINT": "LATENCY"}
        return _openvino_core().compile_model(model, "CPU", options).create_infer_request()

    def _lane_requests(self, model: Any) -> list[Any]:
        if self.lanes == 1:
            return []
        options = self._options | {"NUM_STREAMS": self.lanes}
        compiled = _openvino_core().compile_model(model, "CPU", options)
        return [compiled.create_infer_request() for _ in range(self.lanes)]

    def _read(self, graph: ImageGraph | FeatureGraph, *, is_tile: bool = False) -> Any:
        from openvino import PartialShape
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        side_px = _TRACED_POSITIONS * self._network.config.unshuffle
        images = torch.zeros(1, side_px, side_px, 3, dtype=torch.uint8)
        example: tuple[Tensor, ...] = (images,)
        shapes = [PartialShape([-1, -1, -1, 3])]
        if isinstance(graph, ImageGraph):
            example += (torch.tensor(0.5),)
            shapes.append(PartialShape([]))
        if is_tile:
            channels = self._network.config.channels
            example += (torch.zeros(1, channels, 1, 1),)
            shapes.append(PartialShape([-1, channels, 1, 1]))
        with warnings.catch_warnings(), torch.no_grad():
            # Tracing warns about Python branches on the config, which are constant.
            warnings.simplefilter("ignore")
            decoder = TorchScriptPythonDecoder(graph.eval(), example_input=example)
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
        model.reshape(dict(zip(model.inputs, shapes, strict=True)))
        return model

    def run(self, images: ImageBatch, strength: float, *, lane: int | None = None) -> ImageBatch:
        is_masking = strength > 0
        if lane is None or self.lanes == 1:
            request = self._whole[is_masking]
        else:
            request = self._shared[is_masking][lane]
        sharpened: ImageBatch = _infer(request, images, np.float32(strength))
        return sharpened

    def run_tile(self, images: ImageBatch, strength: float, pooled: FloatArray) -> ImageBatch:
        is_masking = strength > 0
        name = "masked tile" if is_masking else "tile"
        with self._tiling:
            if name not in self._tiled:
                graph = ImageGraph(self._network, is_masking=is_masking)
                self._tiled[name] = self._request(self._read(graph, is_tile=True))
            request = self._tiled[name]
            sharpened: ImageBatch = _infer(request, images, np.float32(strength), pooled)
            return sharpened

    def features(self, images: ImageBatch) -> FloatArray:
        with self._tiling:
            if "features" not in self._tiled:
                self._tiled["features"] = self._request(self._read(FeatureGraph(self._network)))
            features: FloatArray = _infer(self._tiled["features"], images)
            return features


def _infer(request: Any, images: ImageBatch, *more: Any) -> Any:
    """The only output, an array of its own."""
    inputs = (np.ascontiguousarray(images), *more)
    return request.infer(dict(enumerate(inputs)), share_inputs=True)[0]


@functools.cache
def _openvino_core() -> Any:
    """OpenVINO's entrance, one for the process and kept for good.

    Its CPU plugin gives the thread that loads it a signal stack, and frees it when the Core goes
    but may leave it in use: with two of them, the next signal could end the process.
    """
    import openvino

    return openvino.Core()


def create_backend(
    network: StudentNetEnhanced, *, device: str = "auto", backend: str = "auto", threads: int = 0
) -> Backend:
    """The best backend for what was asked.

    Args:
        network: in evaluation mode; it is copied with its frozen normalisations folded.
        device: auto (CUDA, then MPS, then the CPU), cpu, mps, cuda or cuda:N.
        backend: auto (OpenVINO on the CPU where it is installed, torch elsewhere), torch or
            openvino.
        threads: CPU threads; 0 = all that the runtime finds.

    Raises:
        BackendUnavailable: it is not on this machine, or the two do not go together.
    """
    chosen = _choose_device(device)
    if backend not in ("auto", "torch", "openvino"):
        raise BackendUnavailable(f"backend is {backend!r}; it must be auto, torch or openvino.")
    if backend == "openvino" and chosen != "cpu":
        if device != "auto":
            raise BackendUnavailable(
                f"OpenVINO runs on the CPU here, not on {chosen}. Choose the torch backend, "
                "or device cpu."
            )
        chosen = "cpu"
    network = network.folded()
    has_openvino = importlib.util.find_spec("openvino") is not None
    if backend == "openvino" or (backend == "auto" and chosen == "cpu" and has_openvino):
        return OpenVinoBackend(network, threads=threads)
    return TorchBackend(network, device=chosen, threads=threads)


def _choose_device(device: str) -> str:
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return "cuda:0" if has_cuda else "mps" if has_mps else "cpu"
    try:
        asked = torch.device(device)
    except RuntimeError as exc:
        raise BackendUnavailable(
            f"device is {device!r}; it must be auto, cpu, cuda, cuda:N or mps."
        ) from exc
    if asked.type == "cuda":
        index = asked.index or 0
        if not has_cuda or index >= torch.cuda.device_count():
            raise BackendUnavailable(
                f"No CUDA GPU {index} is usable by PyTorch here. Choose device cpu, or install a "
                "CUDA build of torch and the driver."
            )
        return f"cuda:{index}"
    if asked.type == "mps" and not has_mps:
        raise BackendUnavailable("PyTorch finds no Apple GPU (MPS) here. Choose device cpu.")
    if asked.type not in ("cpu", "mps"):
        raise BackendUnavailable(f"device {device!r} is not supported; use cpu, cuda or mps.")
    return asked.type
