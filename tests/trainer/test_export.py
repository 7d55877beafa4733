"""Export: facts rewritten without touching weights."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from service.model.checkpoint import Score, load_checkpoint
from tests.trainer.students import identity_checkpoint
from trainer.config import DistillConfig
from trainer.export import export_student, rewrite_facts, training_commit


def test_scores_and_strength_are_written_beside_the_same_weights(tmp_path: Path) -> None:
    path, student = tmp_path / "s.safetensors", identity_checkpoint()
    score = Score(pictures=1, input_psnr_db=30, psnr_db=31, input_ssim=0.8, ssim=0.9, worse_count=0)
    rewrite_facts(path, student, scores={"webcam": score}, default_strength=0.2)
    loaded = load_checkpoint(path)
    assert loaded.facts.scores == {"webcam": score}
    assert loaded.facts.default_strength == 0.2
    rewrite_facts(path, loaded, default_strength=0.1)
    again = load_checkpoint(path)
    assert again.facts.scores == {"webcam": score}
    for name, tensor in student.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor)


def test_a_student_that_trained_frozen_is_exported_frozen(tmp_path: Path) -> None:
    network = identity_checkpoint().network
    export_student(
        tmp_path / "s.safetensors",
        weights=network.state_dict(),
        student=network.config,
        is_frozen=True,
        config=DistillConfig(),
        step=3,
        manifest_hash="abc",
    )
    facts = load_checkpoint(tmp_path / "s.safetensors").facts
    assert (facts.normalisation, facts.training_steps) == ("frozen", 3)
    assert facts.data_manifest_hash == "abc"


def test_the_commit_is_a_hash_or_said_to_be_unknown() -> None:
    assert re.fullmatch(r"[0-9a-f]{12}\+?|unknown", training_commit())
