"""A student as an ONNX file that needs nothing around it: image in, sharpened image out.

Input `images` and output `sharpened` are (batch, height, width, 3) uint8 RGB with every size
dynamic, 1x1 included. Padding to the network's size multiple, conversion to pixels, network with
its normalisation folded, unsharp mask, clamping, rounding and cropping are all in the graph: the
service's own `ImageGraph` between the padding and cropping of its `Sharpener`. There is one
departure from the `Sharpener`: very large pictures are not cut into tiles.

The file's metadata holds the checkpoint's facts with its scores (`clearcall`), `model_id` and
`strength`.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from service.errors import BackendUnavailable
from service.model.backends import ImageGraph, TorchBackend
from service.model.checkpoint import Checkpoint, load_checkpoint
from service.model.sharpener import STRENGTH_RANGE, Sharpener
from service.model.student import StudentNetEnhanced
from trainer.atomic import replacing
from trainer.export import (
    LARGEST_DIFFERENCE,
    Exported,
    ExportMismatchError,
    ImageArray,
    largest_difference,
    target_path,
    trial_images,
)

if TYPE_CHECKING:
    import onnx

__all__ = ["OPSETS", "export_onnx", "onnx_graph", "onnx_session"]

# torch's exporter writes 18 itself; what is newer is converted from it, and older cannot be.
OPSETS = range(18, 24)
_INPUT, _OUTPUT = "images", "sharpened"
_DIMENSIONS = ("batch", "height", "width")
_TRACED_SHAPE = (2, 37, 51, 3)  # of no special size, lest the exporter takes one for constant


class _EverySize(nn.Module):
    """`ImageGraph`, padded and cropped as by the `Sharpener`; the strength is fixed."""

    def __init__(self, network: StudentNetEnhanced, strength: float) -> None:
        super().__init__()
        # Not `graph`, which a traced module has already.
        self.image_graph = ImageGraph(network, is_masking=strength > 0)
        self.multiple = network.config.size_multiple
        self.strength = strength

    def forward(self, images: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB -> the same."""
        height, width = images.shape[1:3]
        below, right = -height % self.multiple, -width % self.multiple
        # A branch on sizes would be frozen into the graph; a choice between indices is not.
        is_reflected = (_tensor(height) > below) & (_tensor(width) > right)
        padded = images.index_select(1, _padding(height, below, is_reflected))
        padded = padded.index_select(2, _padding(width, right, is_reflected))
        sharpened: Tensor = self.image_graph(padded, torch.scalar_tensor(self.strength))
        return sharpened[:, :height, :width]


def _tensor(size: int) -> Tensor:
    return torch.scalar_tensor(size, dtype=torch.int64)


def _padding(length: int, extra: int, is_reflected: Tensor) -> Tensor:
    """Which of 0..length - 1 stands at each of 0..length + extra - 1."""
    places = torch.arange(length + extra)
    reflected = torch.where(places >= length, 2 * (length - 1) - places, places)
    return torch.where(is_reflected, reflected, places.clamp(max=length - 1))


def export_onnx(
    checkpoint: Path, output: Path, *, opset: int = 18, strength: float | None = None
) -> Exported:
    """Writes a checkpoint as ONNX, verified with ONNX Runtime against torch before it is kept.

    Args:
        checkpoint: a `.safetensors` checkpoint.
        output: the file to write, or a folder, which gets `<model id>.onnx`. What is there is
            replaced in one step.
        opset: of the ONNX standard, 18 to 23.
        strength: of the unsharp mask, 0 to 2, fixed in the file; None = the checkpoint's default.

    Raises:
        BackendUnavailable: onnx, onnxscript or onnxruntime is not installed.
        CheckpointError: the checkpoint cannot be read; the leaf says why.
        ExportMismatchError: ONNX Runtime's pictures are not torch's; what was at `output` stays.
        ValueError: opset or strength is out of range.
        OSError: the folder cannot be written, or the disk is full; what was at `output` stays.
    """
    student = load_checkpoint(checkpoint)
    if strength is None:
        strength = student.facts.default_strength
    low, high = STRENGTH_RANGE
    if not low <= strength <= high:
        raise ValueError(f"strength must be {low:g} to {high:g}, not {strength:g}")
    model = onnx_graph(student.network.folded(), strength=strength, opset=opset)
    facts = {
        "clearcall": student.facts.model_dump_json(),
        "model_id": student.model_id,
        "strength": f"{strength:g}",
    }
    for name, value in facts.items():
        model.metadata_props.add(key=name, value=value)
    path = target_path(output, student.model_id, ".onnx")
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
        difference = _verify(temporary.read_bytes(), student, strength)
    return Exported(path, student.model_id, difference)


def onnx_graph(
    network: StudentNetEnhanced, *, strength: float = 0.0, opset: int = 18
) -> onnx.ModelProto:
    """A network that is folded already as an ONNX model; not verified.

    Raises:
        BackendUnavailable: onnx or onnxscript is not installed.
        ValueError: the opset is out of range.
    """
    if opset not in OPSETS:
        raise ValueError(f"opset must be {OPSETS[0]} to {OPSETS[-1]}, not {opset}")
    try:
        import onnx
        import onnxscript  # noqa: F401  # used by torch's exporter
    except ImportError as exc:
        raise _missing(exc) from exc
    graph = _EverySize(network, strength).eval().requires_grad_(requires_grad=False)
    free = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings():
        # torch's exporter warns of its own use of what torch deprecates.
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            graph,
            (torch.zeros(_TRACED_SHAPE, dtype=torch.uint8),),
            dynamo=True,  # the older exporter is on its way out of torch
            opset_version=opset,
            input_names=[_INPUT],
            output_names=[_OUTPUT],
            dynamic_shapes={"images": {0: free, 1: free, 2: free}},
            verbose=False,
        )
    model: onnx.ModelProto = program.model_proto
    written = {entry.domain: entry.version for entry in model.opset_import}
    if written.get("") != opset:
        raise ValueError(f"torch's exporter wrote opset {written}, not {opset}. Choose opset 18.")
    _name_dimensions(model)
    _strip_traces(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def _name_dimensions(model: onnx.ModelProto) -> None:
    """The exporter's names for sizes are made up anew each time."""
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, _DIMENSIONS, strict=False):
            dimension.dim_param = name


def _strip_traces(model: onnx.ModelProto) -> None:
    """Takes out where in this machine's files each node came from: half of the file, and nobody's
    business.
    """
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def onnx_session(encoded: bytes, *, threads: int = 0) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU; 0 threads = all that it finds.

    Raises:
        BackendUnavailable: onnxruntime is not installed.
    """
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError as exc:
        raise _missing(exc) from exc
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(encoded, options, providers=["CPUExecutionProvider"])


def _verify(encoded: bytes, student: Checkpoint, strength: float) -> int:
    """The largest difference from the `Sharpener` in torch; each size by itself and as a batch."""
    session = onnx_session(encoded, threads=torch.get_num_threads())
    sharpener = Sharpener(student, TorchBackend(student.network.folded(), device="cpu"))
    largest = 0
    for image in trial_images():
        batch = np.stack((image, image[::-1], 255 - image))
        expected = np.stack([sharpener.sharpen(each, strength=strength) for each in batch])
        for first, last in ((0, 1), (0, 3)):
            found: ImageArray = session.run([_OUTPUT], {_INPUT: batch[first:last]})[0]
            wanted = expected[first:last]
            if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
                raise ExportMismatchError(
                    f"ONNX Runtime returned {found.shape} {found.dtype} where torch returns "
                    f"{wanted.shape} {wanted.dtype}. Nothing was written."
                )
            largest = max(largest, largest_difference(found, wanted))
            if largest > LARGEST_DIFFERENCE:
                raise ExportMismatchError(
                    f"ONNX Runtime's picture differs from torch's by {largest} levels of 255 at "
                    f"{image.shape[1]}x{image.shape[0]}; at most {LARGEST_DIFFERENCE} is rounding. "
                    "Nothing was written. Update onnxscript (before 0.7 it reorders unshuffled "
                    "channels) and torch."
                )
    return largest


def _missing(exc: ImportError) -> BackendUnavailable:
    return BackendUnavailable(
        f"ONNX needs {exc.name}, which is not installed: pip install onnx onnxscript onnxruntime."
    )
