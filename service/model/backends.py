"""The network as a callable on uint8 images.

PyTorch on CUDA, MPS or the CPU, or OpenVINO on the CPU.

A backend takes (N, H, W, 3) uint8 RGB, H and W multiples of the network's `size_multiple`, and a
strength and the pictures' descriptions, and returns the same shape and type. All arithmetic from
levels to levels is in one graph that every backend runs whole: nothing is left to be done
differently by one of them. The correction is rounded to whole levels before it is added, so that a
level that needs none stays what it is in half precision too.
"""

from __future__ import annotations

import copy
import importlib.util
import threading
import warnings
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from service.errors import BackendUnavailable
from service.model.cpus import limited_threads
from service.model.estimator import DESCRIPTION_LENGTH, SQUARE_PX, luma_of, luma_squares
from service.model.openvino_cpu import (
    cpu_precision,
    openvino_abilities,
    openvino_core,
    precision_hint,
    request_for,
)
from service.model.student import StudentNetEnhanced, use_channels_last

__all__ = [
    "PRECISIONS",
    "Backend",
    "DescriptionGraph",
    "ImageGraph",
    "LumaDescriptionGraph",
    "LumaGraph",
    "OpenVinoBackend",
    "Precision",
    "TorchBackend",
    "create_backend",
    "picture_graph",
    "read_graph",
    "traced_model",
    "usable_device",
]

_TRACED_POSITIONS = 32
_LANES = 2
_STRONGER = (False, True)
_MAX_TEMPLATES = 16
_BAND_PX = 64
_SIGNED_BYTE = (-128, 127)
_SIGN_BIT = 0x80

# The only state of this module, see `read_graph`.
_kept_templates: dict[Hashable, Any] = {}
_tracing = threading.Lock()

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Precision = Literal["auto", "fp32", "bf16", "fp16"]

ImageBatch = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]


class Backend(Protocol):
    """One loaded network.

    `lanes` calls may be in progress at once, each with another lane, on its share of the machine.
    A call without a lane has the whole machine; two of those must not overlap. `max_batch` pictures
    of one size go through the network together faster than one after the other; 1 = they do not.
    """

    name: str
    device: str
    precision: str
    lanes: int
    max_batch: int

    def describe(self, images: ImageBatch, *, lane: int | None = None) -> FloatArray:
        """(N, 64 m, 64 n, 3) uint8 RGB, see `estimator.sample_image` -> descriptions (N, D)."""
        ...

    def run(
        self,
        images: ImageBatch,
        strength: float,
        description: FloatArray,
        *,
        lane: int | None = None,
    ) -> ImageBatch:
        """(N, H, W, 3) uint8 RGB -> the same; H and W multiples of the network's size multiple."""
        ...


class ImageGraph(nn.Module):
    """From uint8 images to uint8 images through a network, as one traceable module.

    `is_stronger` is fixed when the graph is made: only strengths above 1 pay for their limit.
    """

    def __init__(
        self,
        network: StudentNetEnhanced,
        *,
        is_stronger: bool,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.correction = _Correction(network, is_stronger=is_stronger, precision=precision)

    def forward(self, images: Tensor, strength: Tensor, description: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB, a scalar and (N, D) -> (N, H, W, 3) uint8 RGB."""
        levels = images.permute(0, 3, 1, 2).float()
        seen = levels
        if self.correction.network.config.colour == "luma":
            seen = torch.round(luma_of(levels))
        sharpened: Tensor = levels + self.correction(seen, strength, description)
        return sharpened.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


class LumaGraph(nn.Module):
    """What a luma student makes of a picture's luma, as one traceable module."""

    def __init__(self, network: StudentNetEnhanced, *, is_stronger: bool) -> None:
        super().__init__()
        self.correction = _Correction(network, is_stronger=is_stronger, precision=torch.float32)

    def forward(self, luma: Tensor, strength: Tensor, description: Tensor) -> Tensor:
        """(N, H, W) uint8, a scalar and (N, D) -> the correction, (N, H, W) int8."""
        correction: Tensor = self.correction(luma[:, None].float(), strength, description)
        return correction.reshape(luma.shape).to(torch.int8)


class DescriptionGraph(nn.Module):
    """From an image's sampled squares to its description."""

    def __init__(self, network: StudentNetEnhanced) -> None:
        super().__init__()
        self.estimator = network.estimator

    def forward(self, images: Tensor) -> Tensor:
        """(N, 64 m, 64 n, 3) uint8 RGB, see `estimator.sample_image` -> (N, D) fp32."""
        description: Tensor = self.estimator.describe_squares(
            images.permute(0, 3, 1, 2).float() / 255
        )
        return description


class LumaDescriptionGraph(nn.Module):
    """From the luma of an image's sampled squares to its description."""

    def __init__(self, network: StudentNetEnhanced) -> None:
        super().__init__()
        self.estimator = network.estimator

    def forward(self, squares: Tensor) -> Tensor:
        """(B, 1, 66, 66) fp32, see `estimator.luma_squares` -> (1, D) fp32."""
        description: Tensor = self.estimator.describe_luma(squares)
        return description


class _Correction(nn.Module):
    """The network's correction in whole levels, by a strength.

    A strength of 1 is the correction as trained, less is a part of it. More of it may take no
    position beyond the brightest and darkest of its 3x3 neighbours as trained: contours become
    steeper, and get no halos.

    A luma student's correction is at most half of the range, so that it fits a signed byte.
    """

    def __init__(
        self, network: StudentNetEnhanced, *, is_stronger: bool, precision: torch.dtype
    ) -> None:
        super().__init__()
        self.network = network.in_levels()
        self.is_stronger = is_stronger
        self.precision = precision

    def forward(self, seen: Tensor, strength: Tensor, description: Tensor) -> Tensor:
        """(N, planes, H, W) in levels -> the same, whole numbers; the sum may be out of range."""
        correction = torch.round(self._exact(seen, strength, description))
        if self.network.config.colour == "luma":
            correction = correction.clamp(*_SIGNED_BYTE)
        return correction

    def _exact(self, seen: Tensor, strength: Tensor, description: Tensor) -> Tensor:
        correction = self.network.correction(
            seen.to(self.precision), description.to(self.precision)
        ).float()
        if not self.is_stronger:
            return correction * strength
        trained = (seen + correction).clamp(0, 255)
        highest = F.max_pool2d(trained, 3, stride=1, padding=1)
        lowest = -F.max_pool2d(-trained, 3, stride=1, padding=1)
        stronger = seen + correction * strength
        return torch.minimum(torch.maximum(stronger, lowest), highest) - seen


class TorchBackend:
    """PyTorch in eager mode and channels_last; `auto` is fp16 on CUDA, fp32 elsewhere."""

    name = "torch"
    lanes = 1
    max_batch = 1

    def __init__(
        self,
        network: StudentNetEnhanced,
        *,
        device: str,
        threads: int = 0,
        precision: Precision = "auto",
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.device = device
        self._device = torch.device(device)
        if precision == "auto":
            precision = "fp16" if self._device.type == "cuda" else "fp32"
        self.precision: str = precision
        number = PRECISIONS[precision]
        self._describe = copy.deepcopy(DescriptionGraph(network)).to(self._device)
        self._graphs = {
            is_stronger: ImageGraph(network, is_stronger=is_stronger, precision=number)
            for is_stronger in _STRONGER
        }
        for graph in self._graphs.values():
            graph.to(device=self._device, dtype=number)
            use_channels_last(graph)

    def describe(self, images: ImageBatch, *, lane: int | None = None) -> FloatArray:
        assert not lane, "there is one lane"
        with torch.inference_mode():
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
        assert not lane, "there is one lane"
        with torch.inference_mode():
            described = torch.from_numpy(description).to(self._device)
            graph = self._graphs[strength > 1]
            result = graph(self._on_device(images), torch.tensor(strength), described)
            sharpened: ImageBatch = result.contiguous().cpu().numpy()
            return sharpened

    def _on_device(self, images: ImageBatch) -> Tensor:
        writable = np.require(images, requirements=["C", "W"])
        return torch.from_numpy(writable).to(self._device)


class OpenVinoBackend:
    """OpenVINO on the CPU, for every picture size with one compiled graph.

    In bf16 where that is faster, else in fp32. One graph that uses every core for one picture, and
    one whose lanes have half of the cores each.

    A luma student's correction is spread over red, green and blue outside of the graph: OpenVINO
    takes a third of the time of the whole network for it.

    The graph is handed to OpenVINO's PyTorch frontend itself: its `convert_model` reports each use
    to its vendor unless the user opted out, and Clearcall tells nobody anything.
    """

    name = "openvino"
    device = "cpu"
    max_batch = 1

    def __init__(
        self,
        network: StudentNetEnhanced,
        *,
        threads: int = 0,
        precision: Precision = "auto",
    ) -> None:
        if importlib.util.find_spec("openvino") is None:
            raise BackendUnavailable(
                "OpenVINO is not installed. Install it (pip install openvino) or choose "
                "the torch backend."
            )
        self._config = network.config
        self.precision = cpu_precision(precision)
        self._options: dict[str, Any] = {
            # Two processes that pin their threads pin them to the same cores.
            "ENABLE_CPU_PINNING": False,
            # For each size of picture it keeps what it has prepared: by default gigabytes.
            "CPU_RUNTIME_CACHE_CAPACITY": "1000",
        }
        if threads:
            self._options["INFERENCE_NUM_THREADS"] = threads
        description = read_graph(
            LumaDescriptionGraph(network),
            [torch.zeros(2, 1, SQUARE_PX + 2, SQUARE_PX + 2)],
            [[-1, 1, SQUARE_PX + 2, SQUARE_PX + 2]],
            kind=("description", network.config),
        )
        self._whole_description = request_for(description, options=self._options)
        models = {is_stronger: _read_network(network, is_stronger) for is_stronger in _STRONGER}
        self._whole = {
            is_stronger: request_for(model, precision=self.precision, options=self._options)
            for is_stronger, model in models.items()
        }
        compiled = self._whole[False].get_compiled_model()
        self.threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        self.lanes = _LANES if self.threads >= _LANES else 1
        self._shared_description = self._lane_requests(description, precision="fp32")
        self._shared = {
            is_stronger: self._lane_requests(model, precision=self.precision)
            for is_stronger, model in models.items()
        }

    def _lane_requests(self, model: Any, *, precision: str) -> list[Any]:
        if self.lanes == 1:
            return []
        options = self._options | {"NUM_STREAMS": self.lanes} | precision_hint(precision)
        compiled = openvino_core().compile_model(model, "CPU", options)
        return [compiled.create_infer_request() for _ in range(self.lanes)]

    def _at(self, lane: int | None, whole: Any, shared: list[Any]) -> Any:
        """The request for one lane, or for the whole machine."""
        return whole if lane is None or self.lanes == 1 else shared[lane]

    def describe(self, images: ImageBatch, *, lane: int | None = None) -> FloatArray:
        request = self._at(lane, self._whole_description, self._shared_description)
        return np.concatenate([_infer(request, luma_squares(image))[0] for image in images])

    def run(
        self,
        images: ImageBatch,
        strength: float,
        description: FloatArray,
        *,
        lane: int | None = None,
    ) -> ImageBatch:
        is_stronger = strength > 1
        request = self._at(lane, self._whole[is_stronger], self._shared[is_stronger])
        run_one = _run_luma if self._config.colour == "luma" else _run_rgb
        scalar = np.float32(strength)
        each = [
            run_one(request, image, scalar, description[n : n + 1])
            for n, image in enumerate(images)
        ]
        return each[0][None] if len(each) == 1 else np.stack(each)


def _read_network(network: StudentNetEnhanced, is_stronger: bool) -> Any:
    graph, example, shapes = picture_graph(network, is_stronger=is_stronger)
    kind = (type(graph), network.config, is_stronger)
    return read_graph(graph, example, shapes, kind=kind)


def picture_graph(
    network: StudentNetEnhanced, *, is_stronger: bool
) -> tuple[nn.Module, list[Tensor], list[list[int]]]:
    """What OpenVINO is given of a student, with an example and the shapes of its inputs.

    The graph, fp32; see `read_graph` for the others.
    """
    side_px = _TRACED_POSITIONS * network.config.unshuffle
    graph: nn.Module
    if network.config.colour == "luma":
        graph = LumaGraph(network, is_stronger=is_stronger)
        images = torch.zeros(1, side_px, side_px, dtype=torch.uint8)
        shape = [1, -1, -1]
    else:
        graph = ImageGraph(network, is_stronger=is_stronger)
        images = torch.zeros(1, side_px, side_px, 3, dtype=torch.uint8)
        shape = [1, -1, -1, 3]
    example = [images, torch.tensor(1.0), torch.zeros(1, DESCRIPTION_LENGTH)]
    return graph, example, [shape, [], [1, DESCRIPTION_LENGTH]]


def read_graph(
    graph: nn.Module, example: list[Tensor], shapes: list[list[int]], *, kind: Hashable
) -> Any:
    """A module as an OpenVINO model, -1 in the inputs' shapes for what varies.

    A module is traced once for each kind, its weights as inputs, and gets them as constants
    afterwards: a trace takes long, and PyTorch never frees all of it.

    Args:
        graph: All its weights are used.
        example: Inputs to trace it with.
        shapes: Of its inputs.
        kind: Modules of an equal kind differ in nothing but their weights.
    """
    from openvino import op

    weights = dict(graph.state_dict())
    kind = (kind, *((name, tensor.shape) for name, tensor in weights.items()))
    with _tracing:
        template = _kept_templates.get(kind)
        if template is None:
            template = _template(graph, weights, example, shapes)
            _kept_templates[kind] = template
            if len(_kept_templates) > _MAX_TEMPLATES:
                _kept_templates.pop(next(iter(_kept_templates)))
    model = template.clone()
    parameters = model.get_parameters()[len(example) :]
    for parameter, tensor in zip(parameters, weights.values(), strict=True):
        constant = op.Constant(tensor.detach().contiguous().numpy(), shared_memory=False)
        parameter.output(0).replace(constant.output(0))
        model.remove_parameter(parameter)
    model.validate_nodes_and_infer_types()
    return model


class _Weightless(nn.Module):
    """A copy of a module whose weights are its last inputs."""

    def __init__(self, graph: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        graph = copy.deepcopy(graph).eval()
        self._graph = (graph,)  # in a tuple it is no part of this module
        places = (name.rpartition(".") for name in names)
        self._places = [(graph.get_submodule(owner), name) for owner, _, name in places]
        for owner, name in self._places:
            delattr(owner, name)

    def forward(self, *inputs: Tensor) -> Any:
        first = len(inputs) - len(self._places)
        for (owner, name), weight in zip(self._places, inputs[first:], strict=True):
            setattr(owner, name, weight)
        return self._graph[0](*inputs[:first])


def _template(
    graph: nn.Module, weights: dict[str, Tensor], example: list[Tensor], shapes: list[list[int]]
) -> Any:
    inputs = [*example, *weights.values()]
    shapes = [*shapes, *(list(tensor.shape) for tensor in weights.values())]
    return traced_model(_Weightless(graph, list(weights)), inputs, shapes)


def traced_model(module: nn.Module, example: list[Tensor], shapes: list[list[int]]) -> Any:
    """A module as an OpenVINO model; its nodes are named by the parts of the module.

    Each call traces it anew, see `read_graph`, as which `example` and `shapes` are.
    """
    from openvino import PartialShape
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings(), torch.no_grad():
        # Tracing warns about Python branches on the config, which are constant.
        warnings.simplefilter("ignore")
        # Its check would trace once more. Tests hold the graphs against PyTorch.
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            module.eval(), tuple(example), check_trace=False
        )
        decoder = TorchScriptPythonDecoder(traced)
    frontend = FrontEndManager().load_by_framework("pytorch")
    # It calls back into Python, where an interrupt of the main thread would be lost or misnamed.
    with ThreadPoolExecutor(1) as aside:
        model = aside.submit(lambda: frontend.convert(frontend.load(decoder))).result()
    assert len(model.inputs) == len(example), "all inputs are used"
    model.reshape(dict(zip(model.inputs, map(PartialShape, shapes), strict=True)))
    return model


def _run_rgb(
    request: Any, image: ImageBatch, strength: np.float32, description: FloatArray
) -> ImageBatch:
    sharpened: ImageBatch = _infer(request, image[None], strength, description)[0][0]
    return sharpened


def _run_luma(
    request: Any, image: ImageBatch, strength: np.float32, description: FloatArray
) -> ImageBatch:
    """Adds the correction to each colour, in saturating arithmetic on signed bytes.

    In bands, so that what lies between stays in the cache: whole pictures of it would be new memory
    for every frame, and to be given that by the kernel takes half as long as the network.
    """
    image = np.ascontiguousarray(image)
    luma: Any = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    outputs = _infer(request, luma[None], strength, description, is_shared=True)
    correction = outputs[0][0].view(np.uint8)
    sharpened = np.empty_like(image)
    signed: Any = sharpened.view(np.int8)
    for top in range(0, len(image), _BAND_PX):
        band = slice(top, top + _BAND_PX)
        added: Any = cv2.cvtColor(correction[band], cv2.COLOR_GRAY2RGB).view(np.int8)
        np.bitwise_xor(image[band], _SIGN_BIT, out=sharpened[band])  # less 128
        cv2.add(signed[band], added, dst=signed[band])
        np.bitwise_xor(sharpened[band], _SIGN_BIT, out=sharpened[band])
    return sharpened


def _infer(
    request: Any, images: ImageBatch | FloatArray, *more: Any, is_shared: bool = False
) -> list[Any]:
    """The outputs: arrays of their own, or the request's, which its next call overwrites."""
    inputs = dict(enumerate((np.ascontiguousarray(images), *more)))
    return list(request.infer(inputs, share_inputs=True, share_outputs=is_shared).values())


def create_backend(
    network: StudentNetEnhanced,
    *,
    device: str = "auto",
    backend: str = "auto",
    threads: int = 0,
    precision: Precision = "auto",
) -> Backend:
    """The best backend for what was asked.

    Args:
        network: in evaluation mode; it is copied with its frozen normalisations folded.
        device: auto (CUDA, then MPS, then the CPU), cpu, mps, cuda or cuda:N.
        backend: auto (OpenVINO on the CPU where it is installed, torch elsewhere), torch or
            openvino.
        threads: CPU threads; 0 = all cores that the process may use.
        precision: auto (fp16 on CUDA; with OpenVINO bf16 where that is faster; else fp32), fp32,
            bf16 or fp16.

    Raises:
        BackendUnavailable: it is not on this machine, or what was asked does not go together.
    """
    chosen = usable_device(device)
    threads = limited_threads(threads)
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
        if precision == "fp16":
            raise BackendUnavailable(
                "OpenVINO runs in fp32 or bf16 here, not in fp16. Choose precision auto, or the "
                "torch backend."
            )
        if precision == "bf16" and has_openvino and "BF16" not in openvino_abilities():
            raise BackendUnavailable(
                "This CPU does not multiply in bf16, so OpenVINO cannot. Choose precision auto or "
                "fp32."
            )
        return OpenVinoBackend(network, threads=threads, precision=precision)
    if chosen.startswith("cuda"):
        from service.model.gpu import GpuBackend  # it is made of what is here

        return GpuBackend(network, device=chosen, threads=threads, precision=precision)
    return TorchBackend(network, device=chosen, threads=threads, precision=precision)


def usable_device(device: str) -> str:
    """The device of that name, cpu, mps or cuda:N; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        BackendUnavailable: there is no such device here.
    """
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
