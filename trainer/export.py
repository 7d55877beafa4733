"""From trained weights to the checkpoint file that the service loads."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from torch import Tensor

from service.model.checkpoint import Checkpoint, Facts, Score, save_checkpoint
from service.model.student import StudentConfig, build_student
from trainer.config import DistillConfig

__all__ = ["export_student", "rewrite_facts", "training_commit"]


def export_student(
    path: Path,
    *,
    weights: Mapping[str, Tensor],
    student: StudentConfig,
    is_frozen: bool,
    config: DistillConfig,
    step: int,
    manifest_hash: str,
) -> None:
    """Writes `weights` (a student's state dict) with the facts of its training.

    Scores come from the evaluation.
    """
    if is_frozen and student.normalisation != "frozen":
        student = replace(student, normalisation="frozen")
    network = build_student(student)
    network.load_state_dict(dict(weights), strict=True)
    facts = Facts(
        config=student.to_json(),
        name=config.size,
        size_multiple=student.size_multiple,
        normalisation=student.normalisation,
        default_strength=0.0,
        training_commit=training_commit(),
        training_config=asdict(config),
        training_steps=step,
        data_manifest_hash=manifest_hash,
        created=datetime.now(UTC).date().isoformat(),
    )
    save_checkpoint(path, network, facts)


def rewrite_facts(
    path: Path,
    checkpoint: Checkpoint,
    *,
    scores: Mapping[str, Score] | None = None,
    default_strength: float | None = None,
) -> None:
    """Writes `checkpoint` to `path` again with measured scores or default strength."""
    changes: dict[str, object] = {}
    if scores is not None:
        changes["scores"] = dict(scores)
    if default_strength is not None:
        changes["default_strength"] = default_strength
    save_checkpoint(path, checkpoint.network, checkpoint.facts.model_copy(update=changes))


def training_commit() -> str:
    """The commit of the code that trains, `+` if it was changed since.

    "unknown" outside a checkout.
    """
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
        is_changed = subprocess.run(
            ["git", "diff", "--quiet", "HEAD"], cwd=here, check=False, timeout=10
        ).returncode
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}+" if is_changed else commit
