"""Teacher files: published and our own come back whole, every damage has its own error."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from service.errors import (
    CheckpointArchitectureUnknown,
    CheckpointCorrupt,
    CheckpointError,
    CheckpointFactsInvalid,
    CheckpointForeign,
    CheckpointNotFinite,
    CheckpointNotFound,
    CheckpointVersionUnknown,
    CheckpointWeightsMismatch,
)
from service.model.checkpoint import Score, load_checkpoint, save_checkpoint
from tests.trainer.students import identity_checkpoint
from trainer.nafnet import TEACHERS, NAFNet, NAFNetConfig
from trainer.teacher_file import (
    BUNDLED_TEACHERS,
    TeacherFacts,
    find_teacher,
    load_teacher,
    save_teacher,
    teach,
)

CONFIG = NAFNetConfig(4, (1, 2), 1, (2, 1))


def network() -> NAFNet:
    torch.manual_seed(0)
    net = NAFNet(CONFIG)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape))
    return net


def facts(**changes: Any) -> TeacherFacts:
    score = Score(pictures=1, input_psnr_db=30, psnr_db=31, input_ssim=0.8, ssim=0.9, worse_count=0)
    values: dict[str, Any] = {
        "config": CONFIG.to_json(),
        "name": "tiny",
        "training_config": {"rate": 0.001, "sources": ["a", "b"], "is_balanced": True},
        "training_steps": 12,
        "data_manifest_hash": "abc",
        "scores": {"webcam": score},
        "training_commit": "0123456789ab",
    }
    return TeacherFacts(**(values | changes))


def assert_weights_equal(actual: NAFNet, expected: NAFNet) -> None:
    state = actual.state_dict()
    assert state.keys() == expected.state_dict().keys()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(state[name], tensor), name


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "NAFNet GoPro-width4.pth"
    torch.save({"params": network().state_dict()}, path)
    return path


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    path = tmp_path / "teacher.safetensors"
    save_teacher(path, network(), facts())
    return path


def rewrite_published(path: Path, changes: Mapping[str, Tensor | None]) -> None:
    """Replaces single tensors; one that is None is dropped."""
    state: dict[str, Tensor] = dict(network().state_dict())
    for name, tensor in changes.items():
        state.pop(name, None)
        if tensor is not None:
            state[name] = tensor
    torch.save({"params": state}, path)


def test_a_published_file_gives_shape_and_weights(published: Path) -> None:
    loaded = load_teacher(published, expected=CONFIG)
    assert loaded.network.config == CONFIG
    assert_weights_equal(loaded.network, network())
    assert loaded.facts.config == CONFIG.to_json()
    assert loaded.facts.name == "NAFNet-GoPro-width4"
    assert loaded.facts.training_steps == 0
    assert loaded.teacher_id.startswith("NAFNet-GoPro-width4-")
    assert not loaded.network.training
    assert not any(p.requires_grad for p in loaded.network.parameters())


@pytest.mark.parametrize("is_legacy", [False, True])
def test_tensors_may_be_at_the_top_level_in_fp16_or_in_the_old_format(
    tmp_path: Path, is_legacy: bool
) -> None:
    path = tmp_path / "a.pt"
    halves = {name: tensor.half() for name, tensor in network().state_dict().items()}
    torch.save(halves, path, _use_new_zipfile_serialization=not is_legacy)
    state = load_teacher(path).network.state_dict()
    for name, tensor in halves.items():
        assert state[name].dtype == torch.float32
        assert torch.equal(state[name], tensor.float())


def test_weights_and_facts_come_back_as_they_were_saved(ours: Path) -> None:
    loaded = load_teacher(ours, expected=CONFIG)
    assert loaded.facts == facts()
    assert_weights_equal(loaded.network, network())
    assert not loaded.network.training
    assert os.listdir(ours.parent) == [ours.name]


def test_the_id_changes_with_the_content(ours: Path) -> None:
    before = load_teacher(ours).teacher_id
    assert load_teacher(ours).teacher_id == before
    save_teacher(ours, network(), facts(training_steps=13))
    assert load_teacher(ours).teacher_id != before


@pytest.mark.parametrize("name", BUNDLED_TEACHERS)
def test_a_name_is_a_bundled_teacher_and_all_else_a_file(name: str) -> None:
    loaded = load_teacher(find_teacher(name), expected=TEACHERS[name])
    assert loaded.facts.name == name
    assert loaded.facts.training_steps > 0
    assert find_teacher(f"./{name}.safetensors") == Path(f"{name}.safetensors")


@pytest.mark.parametrize("kind", ["published", "ours"])
def test_a_teacher_of_another_width_names_both_shapes(
    kind: str, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(kind)
    with pytest.raises(
        CheckpointWeightsMismatch,
        match=r"width 4, blocks 1-2/1/2-1; asked for was a NAFNet of width 8, blocks 1-2/1/2-1",
    ):
        load_teacher(path, expected=replace(CONFIG, width=8))


@pytest.mark.parametrize("is_legacy", [False, True])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_published_file_is_refused(
    tmp_path: Path, kept: float, is_legacy: bool
) -> None:
    path = tmp_path / "a.pth"
    torch.save(network().state_dict(), path, _use_new_zipfile_serialization=not is_legacy)
    encoded = path.read_bytes()
    path.write_bytes(encoded[: int(kept * len(encoded))])
    with pytest.raises(
        (CheckpointCorrupt, CheckpointForeign), match=r"a\.pth: (truncated|.*damaged)"
    ):
        load_teacher(path)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_of_ours_says_so(ours: Path, kept: int) -> None:
    ours.write_bytes(ours.read_bytes()[:kept])
    with pytest.raises(CheckpointCorrupt, match="truncated, or not a safetensors file"):
        load_teacher(ours)


class Intruder:
    """Would make a file if it were unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (self.target,)  # type: ignore[return-value]


@pytest.mark.parametrize("is_torch_file", [True, False])
def test_code_in_a_file_is_not_run(tmp_path: Path, is_torch_file: bool) -> None:
    path, target = tmp_path / "evil.pth", tmp_path / "touched"
    content = {"params": Intruder(target)}
    if is_torch_file:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(CheckpointForeign, match="holding Python objects, which are not loaded"):
        load_teacher(path)
    assert not target.exists()


@pytest.mark.parametrize("content", [{"params": {}}, {"params": 3}, {"step": 1}, [1], {}])
def test_a_file_without_tensors_is_no_teacher(tmp_path: Path, content: object) -> None:
    path = tmp_path / "a.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointForeign, match="holds no tensors"):
        load_teacher(path)


@pytest.mark.parametrize(
    "tensors",
    [
        {"conv.weight": torch.zeros(3)},
        {"intro.weight": torch.zeros(4, 3, 3, 3)},
        {"encoders.0.0.beta": torch.zeros(1), "decoders.0.0.beta": torch.zeros(1)},
    ],
)
def test_weights_of_another_network_are_not_a_nafnet(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    path = tmp_path / "a.pth"
    torch.save({"params": tensors}, path)
    with pytest.raises(CheckpointArchitectureUnknown, match="not a NAFNet's"):
        load_teacher(path)


def test_a_level_without_blocks_is_refused(published: Path) -> None:
    names = [name for name in network().state_dict() if name.startswith("encoders.1.")]
    rewrite_published(
        published, {**dict.fromkeys(names), "encoders.2.0.beta": torch.zeros(1, 16, 1, 1)}
    )
    with pytest.raises(CheckpointArchitectureUnknown, match="not a NAFNet that can be built"):
        load_teacher(published)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ending.bias": None}, r"lacks ending\.bias"),
        ({"encoders.1.0.sca.1.weight": None}, r"lacks encoders\.1\.0\.sca\.1\.weight"),
        ({"extra": torch.zeros(1)}, "has unexpected extra"),
        ({"intro.weight": torch.zeros(8, 3, 3, 3)}, r"is \(\d+.*expected"),
        ({"middle_blks.0.conv2.weight": torch.zeros(32, 2, 3, 3)}, r"conv2\.weight is \(32, 2"),
    ],
)
def test_published_weights_must_fit_to_the_last_tensor(
    published: Path, changes: dict[str, Tensor | None], message: str
) -> None:
    rewrite_published(published, changes)
    with pytest.raises(CheckpointWeightsMismatch, match=message):
        load_teacher(published)


def test_weights_that_are_not_finite_are_neither_loaded_nor_saved(
    published: Path, tmp_path: Path
) -> None:
    rewrite_published(published, {"intro.bias": torch.full((4,), torch.nan)})
    with pytest.raises(CheckpointNotFinite, match=r"intro\.bias holds NaN"):
        load_teacher(published)
    broken = network().requires_grad_(requires_grad=False)
    broken.intro.weight[0] = torch.inf
    with pytest.raises(CheckpointNotFinite, match=r"intro\.weight"):
        save_teacher(tmp_path / "broken.safetensors", broken, facts())
    assert not (tmp_path / "broken.safetensors").exists()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"format_version": 2}, CheckpointVersionUnknown, "version 2; this build reads version 1"),
        ({"architecture": "UNet"}, CheckpointArchitectureUnknown, "this build has only NAFNet"),
        ({"training_steps": -1}, CheckpointFactsInvalid, "training_steps"),
        ({"surprise": 1}, CheckpointFactsInvalid, "surprise"),
        ({"config": {"width": 4}}, CheckpointFactsInvalid, "network config is wrong"),
        ({"config": {**CONFIG.to_json(), "width": 4000}}, CheckpointFactsInvalid, "width must be"),
        ({"config": {**CONFIG.to_json(), "encoder_blocks": 3}}, CheckpointFactsInvalid, "config"),
        ({"config": {**CONFIG.to_json(), "width": 8}}, CheckpointWeightsMismatch, "expected"),
    ],
)
def test_wrong_facts_are_named(
    ours: Path, changes: dict[str, Any], error: type[CheckpointError], message: str
) -> None:
    changed = json.loads(facts().model_dump_json()) | changes
    save_file(load_file(ours), ours, metadata={"clearcall-teacher": json.dumps(changed)})
    with pytest.raises(error, match=message):
        load_teacher(ours)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[]", "3"])
def test_facts_that_are_no_json_object_are_refused(ours: Path, text: str) -> None:
    save_file(load_file(ours), ours, metadata={"clearcall-teacher": text})
    with pytest.raises(CheckpointFactsInvalid, match=r"not JSON|facts: "):
        load_teacher(ours)


def test_student_and_teacher_files_are_not_taken_for_each_other(ours: Path, tmp_path: Path) -> None:
    student = identity_checkpoint()
    path = tmp_path / "student.safetensors"
    save_checkpoint(path, student.network, student.facts)
    with pytest.raises(CheckpointForeign, match="has 'clearcall' facts and no 'c"):
        load_teacher(path)
    with pytest.raises(CheckpointForeign, match="facts and no 'clearcall' facts"):
        load_checkpoint(ours)


def test_foreign_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"intro.weight": torch.zeros(4, 3, 3, 3)}, path)
    with pytest.raises(CheckpointForeign, match="no 'clearcall-teacher' facts"):
        load_teacher(path)


def test_what_is_no_file_or_of_another_kind_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound, match="no such file"):
        load_teacher(tmp_path / "none.pth")
    with pytest.raises(CheckpointForeign, match=r"a teacher is a \.pth"):
        load_teacher(tmp_path)
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(CheckpointForeign, match=r"a teacher is a \.pth"):
        load_teacher(tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("name", "gigabytes", "error", "message"),
    [
        ("a.pth", 3, CheckpointForeign, "far larger than any teacher"),
        ("a.safetensors", 3, CheckpointForeign, "far larger than what clearcall-train teacher"),
        ("a.safetensors", 0.6, CheckpointCorrupt, "not a safetensors file"),
    ],
)
def test_only_a_huge_file_is_refused_before_it_is_read(
    tmp_path: Path, name: str, gigabytes: float, error: type[CheckpointError], message: str
) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(int(gigabytes * 1024**3))
    with pytest.raises(error, match=message):
        load_teacher(path)


def test_a_failed_save_keeps_the_old_file(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    before = ours.read_bytes()
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_teacher(ours, network(), facts(training_steps=99))
    assert ours.read_bytes() == before
    assert os.listdir(ours.parent) == [ours.name]


def test_a_save_under_a_wrong_name_or_with_foreign_facts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"saved as \.safetensors, not as a\.pth"):
        save_teacher(tmp_path / "a.pth", network(), facts())
    foreign = facts(config=replace(CONFIG, width=8).to_json())
    with pytest.raises(ValueError, match="describe another network"):
        save_teacher(tmp_path / "a.safetensors", network(), foreign)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("size", [(8, 12), (7, 5), (1, 1), (2, 9), (9, 2), (13, 16)])
def test_pixels_of_any_size_are_taught(size: tuple[int, int]) -> None:
    pixels = torch.rand(2, 3, *size)
    taught = teach(network(), pixels)
    assert taught.shape == pixels.shape
    assert not taught.requires_grad
    assert 0 <= float(taught.min()) <= float(taught.max()) <= 1


def test_padding_is_the_reflection_right_and_below() -> None:
    net = network().eval()
    pixels = torch.rand(1, 3, 6, 7)
    padded = torch.cat((pixels, pixels[:, :, [4, 3]]), dim=2)
    padded = torch.cat((padded, padded[:, :, :, [5]]), dim=3)
    with torch.no_grad():
        expected = net(padded)[:, :, :6, :7].clamp(0, 1)
    assert torch.equal(teach(net, pixels), expected)


def test_teaching_leaves_the_network_and_the_type_as_they_were() -> None:
    net = network().train()
    pixels = torch.rand(1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert teach(net, pixels).dtype == torch.float32
    assert net.training
    assert teach(net.double(), pixels.double()).dtype == torch.float64
