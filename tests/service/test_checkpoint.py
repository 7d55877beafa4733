"""The checkpoint file: what goes in comes out, and each way of being wrong has its own error."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

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
from service.model.checkpoint import Facts, load_checkpoint, save_checkpoint
from service.model.student import Colour, StudentConfig, StudentNetEnhanced, build_student

CONFIG = StudentConfig(channels=8, unshuffle=2, blocks=1, experts=2)


def facts(**changes: Any) -> Facts:
    values: dict[str, Any] = {
        "config": CONFIG.to_json(),
        "name": "tiny",
        "size_multiple": 2,
        "normalisation": "instance",
        "default_strength": 1.0,
        "training_config": {"rate": 0.001, "size": "tiny"},
        "training_steps": 12,
    }
    return Facts(**(values | changes))


def network() -> StudentNetEnhanced:
    torch.manual_seed(0)
    return build_student(CONFIG)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "student.safetensors"
    save_checkpoint(target, network(), facts())
    return target


def rewrite(
    path: Path,
    *,
    header: dict[str, str] | None = None,
    tensors: Mapping[str, torch.Tensor | None] | None = None,
) -> None:
    """Replaces the header or single tensors of a checkpoint; a tensor that is None is dropped."""
    weights = load_file(path)
    for name, tensor in (tensors or {}).items():
        weights.pop(name, None)
        if tensor is not None:
            weights[name] = tensor
    if header is None:
        header = {"clearcall": facts().model_dump_json()}
    save_file(weights, path, metadata=header)


def with_fact(**changes: Any) -> dict[str, str]:
    return {"clearcall": json.dumps(json.loads(facts().model_dump_json()) | changes)}


def test_weights_and_facts_come_back_as_they_were_saved(path: Path) -> None:
    loaded = load_checkpoint(path)
    assert loaded.facts == facts()
    for name, tensor in network().state_dict().items():
        stored = tensor.half().float() if tensor.dim() == 5 else tensor
        assert torch.equal(loaded.network.state_dict()[name], stored), name
    assert {tensor.dtype for tensor in loaded.network.state_dict().values()} == {torch.float32}
    assert not loaded.network.training
    assert not any(p.requires_grad for p in loaded.network.parameters())


def test_the_id_names_the_model_and_changes_with_the_content(path: Path, tmp_path: Path) -> None:
    first = load_checkpoint(path).model_id
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, network(), facts(training_steps=13))
    assert first.startswith("tiny-")
    assert load_checkpoint(path).model_id == first
    assert load_checkpoint(other).model_id != first


@pytest.mark.parametrize("colour", ["rgb", "luma"])
def test_a_students_shape_comes_back_whole(tmp_path: Path, colour: Colour) -> None:
    config = StudentConfig(8, 4, blocks=2, experts=3, colour=colour, attention="channel")
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, build_student(config), facts(config=config.to_json(), size_multiple=4))
    assert load_checkpoint(path).network.config == config


def test_expert_kernels_are_stored_in_fp16_and_all_else_in_fp32(path: Path) -> None:
    stored = {name: tensor.dtype for name, tensor in load_file(path).items()}
    in_half = {name for name, dtype in stored.items() if dtype == torch.float16}
    assert in_half == {"blocks.0.first.kernel", "blocks.0.second.kernel", "tail.kernel"}
    assert set(stored.values()) == {torch.float16, torch.float32}


def test_saving_replaces_the_old_file_and_leaves_no_temporary_one(path: Path) -> None:
    save_checkpoint(path, network(), facts(training_steps=99))
    assert load_checkpoint(path).facts.training_steps == 99
    assert os.listdir(path.parent) == [path.name]


def test_a_failed_save_keeps_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, network(), facts(training_steps=99))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    broken = network()
    with torch.no_grad():
        broken.head.weight[0, 0, 0, 0] = torch.inf
    with pytest.raises(CheckpointNotFinite, match=r"head\.weight holds NaN or infinity"):
        save_checkpoint(tmp_path / "x.safetensors", broken, facts())
    assert os.listdir(tmp_path) == []


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound, match="no such file"):
        load_checkpoint(tmp_path / "none.safetensors")


def test_a_folder_is_not_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound, match="not a file"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_says_so(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointCorrupt, match="truncated, or not a safetensors file"):
        load_checkpoint(path)


def test_a_pickle_is_refused_and_not_run(path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(CheckpointCorrupt):
        load_checkpoint(path)


def test_a_header_that_claims_gigabytes_is_refused(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**40) + b"{}")
    with pytest.raises(CheckpointCorrupt):
        load_checkpoint(path)


def test_a_huge_file_is_refused_before_it_is_read(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(600 * 1024 * 1024)
    with pytest.raises(CheckpointForeign, match="far larger than what"):
        load_checkpoint(path)


def test_foreign_safetensors_say_that_they_have_no_facts(path: Path) -> None:
    rewrite(path, header={"format": "pt"})
    with pytest.raises(CheckpointForeign, match="no 'clearcall' facts"):
        load_checkpoint(path)


@pytest.mark.parametrize(("version", "named"), [(1, "1"), (3, "3"), ("2", "'2'"), (None, "None")])
def test_another_format_version_names_both_versions(
    path: Path, version: object, named: str
) -> None:
    rewrite(path, header=with_fact(format_version=version))
    with pytest.raises(
        CheckpointVersionUnknown, match=f"format version {named}; this build reads version 2"
    ):
        load_checkpoint(path)


def test_another_architecture_is_named(path: Path) -> None:
    rewrite(path, header=with_fact(architecture="UNet"))
    with pytest.raises(CheckpointArchitectureUnknown, match="'UNet'"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"clearcall": "{"}, "not JSON"),
        ({"clearcall": "[" * 100_000}, "not JSON"),
        ({"clearcall": "[]"}, "facts: "),
        (with_fact(default_strength=3), "default_strength"),
        (with_fact(colour_order="BGR"), "colour_order"),
        (with_fact(surprise=1), "surprise"),
        (with_fact(training_steps=0), "training_steps"),
        (with_fact(name="../../etc"), "name"),
        (with_fact(config={"channels": 8}), "network config is wrong"),
        (with_fact(config=CONFIG.to_json() | {"channels": 100_000}), "channels must be 4 to 256"),
        (with_fact(size_multiple=4), "contradict"),
        (with_fact(normalisation="frozen"), "contradict"),
    ],
)
def test_wrong_facts_are_named(path: Path, header: dict[str, str], message: str) -> None:
    rewrite(path, header=header)
    with pytest.raises(CheckpointFactsInvalid, match=message):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"head.weight": None}, r"lacks head\.weight"),
        ({"extra": torch.zeros(1)}, "has unexpected extra"),
        ({"head.weight": torch.zeros(8, 12, 1, 1)}, r"head\.weight is \(8, 12, 1, 1\)"),
        ({"head.weight": torch.zeros(8, 12, 3, 3).half()}, r"torch\.float16, expected"),
        (
            {"tail.kernel": torch.zeros(1, 12, 8, 3, 3).half()},
            r"tail\.kernel is \(1, 12, 8, 3, 3\)",
        ),
        ({"tail.kernel": torch.zeros(2, 12, 8, 3, 3)}, r"torch\.float32, expected"),
    ],
)
def test_weights_that_do_not_fit_the_config_are_named(
    path: Path, tensors: dict[str, torch.Tensor | None], message: str
) -> None:
    rewrite(path, tensors=tensors)
    with pytest.raises(CheckpointWeightsMismatch, match=message):
        load_checkpoint(path)


def test_weights_that_are_not_finite_are_not_loaded(path: Path) -> None:
    rewrite(path, tensors={"head.bias": torch.full((8,), torch.nan)})
    with pytest.raises(CheckpointNotFinite, match=r"head\.bias holds NaN"):
        load_checkpoint(path)


def test_every_checkpoint_error_names_the_file() -> None:
    error = CheckpointError(Path("a/b.safetensors"), "the reason.")
    assert str(error) == "a/b.safetensors: the reason."
