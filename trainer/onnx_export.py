"""A student as an ONNX file that needs nothing around it: image in, sharpened image out.

Input `images` and output `sharpened` are (1, height, width, 3) uint8 RGB, every height and width,
1x1 included. One picture a call, since each has convolution kernels of its own. The picture's
description, padding to the network's size multiple, network with its normalisation folded,
clamping, rounding and cropping are all in the graph: the service's own `ImageGraph` between the
padding and cropping of its `Sharpener`. There is one departure from the `Sharpener`: very large
pictures are not cut into tiles.

The file's metadata holds the checkpoint's facts with its scores (`clearcall`), `model_id` and
`strength`.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from service.errors import BackendUnavailable
from service.model.atomic import replacing
from service.model.backends import ImageGraph, TorchBackend
from service.model.checkpoint import Checkpoint, load_checkpoint
from service.model.estimator import GRID_PX, SQUARE_PX, SQUARES_ACROSS
from service.model.sharpener import STRENGTH_RANGE, Sharpener
from service.model.student import StudentNetEnhanced
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
_TRACED_SHAPE = (1, 237, 351, 3)  # of no special size, lest the exporter takes one for constant


class _EverySize(nn.Module):
    """`ImageGraph`, padded and cropped as by the `Sharpener`; the strength is fixed."""

    def __init__(self, network: StudentNetEnhanced, strength: float) -> None:
        super().__init__()
        # Not `graph`, which a traced module has already.
        self.image_graph = ImageGraph(network, is_stronger=strength > 1)
        self.estimator = network.estimator
        self.multiple = network.config.size_multiple
        self.strength = strength

    def forward(self, images: Tensor) -> Tensor:
        """(1, H, W, 3) uint8 RGB -> the same."""
        height, width = images.shape[1:3]
        description = self._description(images)
        below, right = -height % self.multiple, -width % self.multiple
        # A branch on sizes would be frozen into the graph; a choice between indices is not.
        is_reflected = (_tensor(height) > below) & (_tensor(width) > right)
        padded = images.index_select(1, _padding(height, below, is_reflected))
        padded = padded.index_select(2, _padding(width, right, is_reflected))
        strength = torch.scalar_tensor(self.strength)
        sharpened: Tensor = self.image_graph(padded, strength, description)
        return sharpened[:, :height, :width]

    def _description(self, images: Tensor) -> Tensor:
        """As the `Sharpener` has it: from 6 x 6 squares, where a smaller picture's surplus ones
        weigh nothing.
        """
        rows, row_weights = _places(images.shape[1])
        columns, column_weights = _places(images.shape[2])
        squares = images[0].index_select(0, rows).index_select(1, columns)
        squares = squares.reshape(SQUARES_ACROSS, SQUARE_PX, SQUARES_ACROSS, SQUARE_PX, 3)
        pixels = squares.permute(0, 2, 4, 1, 3).flatten(0, 1).float() / 255
        weights = (row_weights[:, None] * column_weights[None, :]).reshape(-1, 1)
        return self.estimator.description_of(self.estimator.magnitudes(pixels)[None], weights)


def _places(length: int) -> tuple[Tensor, Tensor]:
    """`estimator.sampled_places` without a branch: always 6 runs, and the weight of each."""
    count = (_tensor(length) // SQUARE_PX).clamp(1, SQUARES_ACROSS)
    last = (_tensor(length) - SQUARE_PX).clamp(min=0)
    runs = torch.arange(SQUARES_ACROSS)
    starts = runs * last // (count - 1).clamp(min=1) // GRID_PX * GRID_PX
    places = (starts[:, None] + torch.arange(SQUARE_PX)).reshape(-1)
    return torch.minimum(places, _tensor(length) - 1), (runs < count).float() / count


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
        strength: 0 to 2, fixed in the file; None = the checkpoint's default.

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
    network: StudentNetEnhanced, *, strength: float = 1.0, opset: int = 18
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
            dynamic_shapes={"images": {1: free, 2: free}},
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
        for axis, name in enumerate(("height", "width"), start=1):
            value.type.tensor_type.shape.dim[axis].dim_param = name


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
    """The largest difference from the `Sharpener` in torch."""
    session = onnx_session(encoded, threads=torch.get_num_threads())
    sharpener = Sharpener(student, TorchBackend(student.network.folded(), device="cpu"))
    largest = 0
    for image in trial_images():
        for picture in (image, 255 - image):
            wanted = sharpener.sharpen(picture, strength=strength)[None]
            found: ImageArray = session.run([_OUTPUT], {_INPUT: picture[None]})[0]
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
