"""ONNX: one file for every size, the same picture as torch, and nothing kept that is not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch

from service.errors import BackendUnavailable
from service.model.backends import TorchBackend
from service.model.checkpoint import Checkpoint, Facts, Score, load_checkpoint, save_checkpoint
from service.model.estimator import SQUARE_PX, sampled_places
from service.model.sharpener import Sharpener
from service.model.student import StudentConfig, build_student
from tests.service.pictures import sample
from trainer import onnx_export
from trainer.export import ExportMismatchError, ImageArray, largest_difference
from trainer.onnx_export import OPSETS, export_onnx, onnx_graph, onnx_session

SCORE = Score(pictures=1, input_psnr_db=30, psnr_db=31, input_ssim=0.8, ssim=0.9, worse_count=0)


CONFIGS = {
    "rgb": StudentConfig(channels=8, unshuffle=4, blocks=1, experts=3, normalisation="frozen"),
    "luma": StudentConfig(
        channels=8,
        unshuffle=2,
        blocks=1,
        experts=2,
        colour="luma",
        attention="channel",
        normalisation="frozen",
    ),
    "weighted": StudentConfig(
        channels=8, unshuffle=2, blocks=1, experts=3, normalisation="frozen", pooling="weighted"
    ),
}


def student_of(config: StudentConfig, folder: Path) -> Path:
    """A student whose corrections show and depend on the description."""
    torch.manual_seed(2)
    network = build_student(config).eval().requires_grad_(requires_grad=False)
    for tensor in network.state_dict().values():
        tensor.add_(torch.randn_like(tensor).abs() * 0.04)
    network.router.output.weight.mul_(20)
    facts = Facts(
        config=config.to_json(),
        name="tiny",
        size_multiple=config.size_multiple,
        normalisation="frozen",
        default_strength=0.8,
        training_steps=7,
        scores={"webcam": SCORE},
    )
    path = folder / "student.safetensors"
    save_checkpoint(path, network, facts)
    return path


@pytest.fixture(scope="module", params=CONFIGS)
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return student_of(CONFIGS[request.param], tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def exported(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(student, tmp_path_factory.mktemp("onnx")).path


@pytest.fixture(scope="module")
def session(exported: Path) -> Any:
    return onnx_session(exported.read_bytes(), threads=1)


def picture(height: int, width: int) -> ImageArray:
    """(height, width, 3), a photograph over and over where it is too small."""
    photograph = sample("colosseum")
    down, across = -(-height // photograph.shape[0]), -(-width // photograph.shape[1])
    return np.ascontiguousarray(np.tile(photograph, (down, across, 1))[:height, :width])


def by_torch(student: Path) -> Sharpener:
    checkpoint = load_checkpoint(student)
    return Sharpener(checkpoint, TorchBackend(checkpoint.network, device="cpu"))


@pytest.mark.parametrize(
    "size",
    [
        (700, 1000),
        (480, 640),
        (128, 127),
        (64, 64),
        (63, 97),
        (37, 51),
        (34, 2),
        (3, 3),
        (2, 50),
        (1, 9),
        (1, 1),
    ],
)
def test_every_size_gives_torchs_picture(
    session: Any, student: Path, size: tuple[int, int]
) -> None:
    image = picture(*size)
    (sharpened,) = session.run(None, {"images": image[None]})
    expected = by_torch(student).sharpen(image)
    assert (sharpened.shape, sharpened.dtype) == ((1, *size, 3), np.uint8)
    assert largest_difference(sharpened[0], expected) <= 1
    assert largest_difference(sharpened[0], image) > 2


def test_a_batch_of_pictures_is_refused(session: Any) -> None:
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument, match="images"):
        session.run(None, {"images": np.stack([picture(45, 70)] * 2)})


@pytest.mark.parametrize("length", [1, 63, 64, 65, 127, 128, 511, 512, 513, 1000, 4000])
def test_the_graph_looks_at_the_places_that_the_estimator_does(length: int) -> None:
    places, weights = onnx_export._places(length)
    expected = sampled_places(length)
    count = len(expected) // SQUARE_PX
    np.testing.assert_array_equal(places[: len(expected)].numpy(), expected)
    assert weights[:count].tolist() == pytest.approx([1 / count] * count)
    assert not weights[count:].any()
    assert 0 <= int(places.min()) <= int(places.max()) < length


def test_names_and_dimensions_are_as_documented(exported: Path) -> None:
    model = onnx.load(exported)
    for values, name in ((model.graph.input, "images"), (model.graph.output, "sharpened")):
        (value,) = values
        assert value.name == name
        dimensions = value.type.tensor_type.shape.dim
        assert [d.dim_param for d in dimensions] == ["", "height", "width", ""]
        assert dimensions[0].dim_value == 1
        assert dimensions[3].dim_value == 3
        assert value.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert {(entry.domain, entry.version) for entry in model.opset_import} == {("", 18)}


def test_the_file_tells_its_model_scores_and_strength_and_nothing_of_this_machine(
    exported: Path, student: Path
) -> None:
    metadata = onnxruntime.InferenceSession(exported).get_modelmeta().custom_metadata_map
    checkpoint = load_checkpoint(student)
    assert Facts.model_validate(json.loads(metadata["clearcall"])) == checkpoint.facts
    assert checkpoint.facts.scores == {"webcam": SCORE}
    assert metadata["model_id"] == checkpoint.model_id
    assert metadata["strength"] == "0.8"
    assert exported.name == f"{checkpoint.model_id}.onnx"
    assert str(Path(onnx_export.__file__).parent).encode() not in exported.read_bytes()
    assert b".py" not in exported.read_bytes()


@pytest.mark.parametrize("opset", [OPSETS[0], OPSETS[-1]])
def test_another_strength_and_a_picture_s_own_statistics_export_too(
    tmp_path: Path, opset: int
) -> None:
    torch.manual_seed(3)
    config = StudentConfig(channels=4, unshuffle=1, blocks=1, normalisation="instance")
    network = build_student(config).eval().requires_grad_(requires_grad=False)
    network.tail.kernel.normal_(std=0.1)
    facts = Facts(
        config=config.to_json(),
        name="own",
        size_multiple=1,
        normalisation="instance",
        default_strength=1.0,
        training_steps=1,
    )
    source = tmp_path / "own.safetensors"
    save_checkpoint(source, network, facts)
    path = export_onnx(source, tmp_path / "out" / "own.onnx", strength=1.7, opset=opset).path
    assert path == tmp_path / "out" / "own.onnx"
    image = picture(33, 41)
    (sharpened,) = onnx_session(path.read_bytes(), threads=1).run(None, {"images": image[None]})
    expected = by_torch(source).sharpen(image, strength=1.7)
    assert largest_difference(sharpened[0], expected) <= 1
    assert largest_difference(by_torch(source).sharpen(image), expected) > 2
    assert {entry.version for entry in onnx.load(path).opset_import} == {opset}


@pytest.mark.parametrize("student", ["rgb"], indirect=True)
@pytest.mark.parametrize("fault", ["weight", "order", "crop"])
def test_a_graph_that_does_something_else_is_not_kept(
    student: Path,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    """`order` is what exporters did to unshuffled channels (onnxscript issue 2891)."""
    model = onnx.load(exported)
    del model.metadata_props[:]
    if fault == "weight":
        (bias,) = [i for i in model.graph.initializer if i.name.endswith("tail.bias")]
        changed = onnx.numpy_helper.to_array(bias) + np.float32(12)  # levels
        bias.CopyFrom(onnx.numpy_helper.from_array(changed, bias.name))
    elif fault == "order":
        (shuffle,) = [node for node in model.graph.node if node.op_type == "DepthToSpace"]
        (mode,) = [a for a in shuffle.attribute if a.name == "mode"]
        mode.s = b"DCR"
    else:
        slices = [node for node in model.graph.node if node.op_type == "Slice"]
        slices[-1].op_type = "Identity"
        del slices[-1].input[1:]
    monkeypatch.setattr(onnx_export, "onnx_graph", lambda *_, **__: model)
    target = tmp_path / "served.onnx"
    target.write_bytes(b"the file of last week")
    with pytest.raises(ExportMismatchError, match=r"where torch returns|differs from torch's by"):
        export_onnx(student, target)
    assert target.read_bytes() == b"the file of last week"
    assert list(tmp_path.iterdir()) == [target]


def test_numbers_out_of_range_are_refused_with_the_range(student: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="opset must be 18 to 23, not 17"):
        export_onnx(student, tmp_path, opset=17)
    with pytest.raises(ValueError, match="strength must be 0 to 2, not 3"):
        export_onnx(student, tmp_path, strength=3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_a_missing_package_is_named_with_the_way_to_get_it(
    student: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    checkpoint: Checkpoint = load_checkpoint(student)
    with pytest.raises(BackendUnavailable, match=f"needs {missing}.*pip install onnx"):
        onnx_graph(checkpoint.network)
