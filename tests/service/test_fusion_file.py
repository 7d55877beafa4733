"""The file of fusion weights: what goes in comes out, and each way of being wrong has a name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from service.errors import (
    CheckpointArchitectureUnknown,
    CheckpointFactsInvalid,
    CheckpointForeign,
    CheckpointNotFinite,
    CheckpointNotFound,
    CheckpointVersionUnknown,
    CheckpointWeightsMismatch,
)
from service.model.checkpoint import load_checkpoint
from service.model.fusion_file import (
    FusionFacts,
    FusionScore,
    bundled_fusion,
    load_fusion,
    save_fusion,
)
from service.model.fusion_network import FusionConfig, FusionNetwork
from service.model.sharpener import bundled_checkpoint

CONFIG = FusionConfig(width=8, depth=2)
SCORE = FusionScore(crops=6, mean_gain_db=0.5, worst_gain_db=-0.1, worse_count=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    target = tmp_path / "fusion.safetensors"
    facts = FusionFacts(config=CONFIG.to_json(), training_steps=7, scores={"codec": SCORE})
    save_fusion(target, FusionNetwork(CONFIG), facts)
    return target


def rewrite(path: Path, **changes: Any) -> None:
    """The same weights under a changed header."""
    facts = load_fusion(path).facts.model_dump() | changes
    save_file(load_file(path), path, metadata={"clearcall-fusion": json.dumps(facts)})


def test_weights_and_facts_come_back(path: Path) -> None:
    loaded = load_fusion(path)
    assert loaded.facts.scores["codec"] == SCORE
    assert loaded.network.config == CONFIG
    assert not loaded.network.training
    for name, tensor in load_file(path).items():
        torch.testing.assert_close(loaded.network.state_dict()[name], tensor)
    assert loaded.fusion_id.startswith("fusion-")


def test_the_bundled_file_is_small_and_has_scores() -> None:
    loaded = load_fusion()
    assert bundled_fusion().stat().st_size < 500_000
    assert loaded.facts.scores["codec"].mean_gain_db > 0.1


def test_a_student_is_no_fusion_and_the_other_way_round(path: Path) -> None:
    with pytest.raises(CheckpointForeign, match="clearcall-fusion"):
        load_fusion(bundled_checkpoint("nano"))
    with pytest.raises(CheckpointForeign, match="'clearcall'"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"format_version": 1}, CheckpointVersionUnknown),
        ({"architecture": "Other"}, CheckpointArchitectureUnknown),
        ({"training_steps": 0}, CheckpointFactsInvalid),
        ({"config": {"width": 8, "height": 2}}, CheckpointFactsInvalid),
        ({"config": {"width": 100_000, "depth": 2}}, CheckpointFactsInvalid),
        ({"config": {"width": 8, "depth": 0}}, CheckpointFactsInvalid),
        ({"config": {"width": 16, "depth": 2}}, CheckpointWeightsMismatch),
    ],
)
def test_a_header_that_is_wrong_is_refused(
    path: Path, changes: dict[str, Any], error: type[Exception]
) -> None:
    rewrite(path, **changes)
    with pytest.raises(error):
        load_fusion(path)


def test_what_is_not_there_or_not_finite_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound, match="clearcall-train fusion"):
        load_fusion(tmp_path / "none.safetensors")
    loaded = load_fusion(path)
    loaded.network.last.weight[0] = torch.nan
    with pytest.raises(CheckpointNotFinite):
        save_fusion(tmp_path / "new.safetensors", loaded.network, loaded.facts)
    assert not (tmp_path / "new.safetensors").exists()
