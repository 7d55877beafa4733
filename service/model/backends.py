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
    "ImageGraph",
    "OpenVinoBackend",
    "TorchBackend",
    "create_backend",
    "unsharp_mask",
]

_TRACED_SIZE_PX = 64
_LANES = 2

ImageBatch = npt.NDArray[np.uint8]


class Backend(Protocol):
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

    def forward(self, images: Tensor, strength: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB and a scalar -> (N, H, W, 3) uint8 RGB."""
        pixels = images.permute(0, 3, 1, 2).float() / 255
        sharpened = pixels + self.network.correction(pixels.to(self.precision)).float()
        if self.is_masking:
            sharpened = unsharp_mask(sharpened, strength)
        levels = torch.round(sharpened.clamp(0, 1) * 255)
        return levels.to(torch.uint8).permute(0, 2, 3, 1)


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

    def run(self, images: ImageBatch, strength: float, *, lane: int | None = None) -> ImageBatch:
        assert not lane, "there is one lane"
        with torch.inference_mode():
            writable = np.require(images, requirements=["C", "W"])
            on_device = torch.from_numpy(writable).to(self._device)
            result = self._graphs[strength > 0](on_device, torch.tensor(strength))
            sharpened: ImageBatch = result.contiguous().cpu().numpy()
            return sharpened


class OpenVinoBackend:
    """OpenVINO on the CPU in fp32, for every picture size with one compiled graph.

    One graph that uses every core for one picture, and one whose lanes have half of the cores each.

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
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            # Two processes that pin their threads pin them to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        models = {
            is_masking: self._read(ImageGraph(network, is_masking=is_masking))
            for is_masking in (False, True)
        }
        self._whole = {
            is_masking: _openvino_core()
            .compile_model(model, "CPU", options | {"PERFORMANCE_HINT": "LATENCY"})
            .create_infer_request()
            for is_masking, model in models.items()
        }
        self.threads = int(
            self._whole[False].get_compiled_model().get_property("INFERENCE_NUM_THREADS")
        )
        self.lanes = _LANES if self.threads >= _LANES else 1
        self._shared = {
            is_masking: self._lane_requests(model, options) for is_masking, model in models.items()
        }

    def _lane_requests(self, model: Any, options: dict[str, Any]) -> list[Any]:
        if self.lanes == 1:
            return []
        compiled = _openvino_core().compile_model(
            model, "CPU", options | {"NUM_STREAMS": self.lanes}
        )
        return [compiled.create_infer_request() for _ in range(self.lanes)]

    @staticmethod
    def _read(graph: ImageGraph) -> Any:
        from openvino import PartialShape
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        example = (
            torch.zeros(1, _TRACED_SIZE_PX, _TRACED_SIZE_PX, 3, dtype=torch.uint8),
            torch.tensor(0.5),
        )
        with warnings.catch_warnings(), torch.no_grad():
            # Tracing warns about Python branches on the config, which are constant.
            warnings.simplefilter("ignore")
            decoder = TorchScriptPythonDecoder(graph.eval(), example_input=example)
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
        shapes = {model.inputs[0]: PartialShape([-1, -1, -1, 3])}
        if graph.is_masking:
            shapes[model.inputs[1]] = PartialShape([])
        model.reshape(shapes)
        return model

    def run(self, images: ImageBatch, strength: float, *, lane: int | None = None) -> ImageBatch:
        is_masking = strength > 0
        inputs: dict[int, Any] = {0: np.ascontiguousarray(images)}
        if is_masking:
            inputs[1] = np.float32(strength)
        if lane is None or self.lanes == 1:
            request = self._whole[is_masking]
        else:
            request = self._shared[is_masking][lane]
        results = request.infer(inputs, share_inputs=True)
        sharpened: ImageBatch = results[0]
        return sharpened


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
