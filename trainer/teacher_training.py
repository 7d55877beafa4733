"""A teacher's run: a NAFNet on the same crops and degradations as the students."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor, nn

from service.model.checkpoint import Checkpoint, load_checkpoint
from service.model.sharpener import find_checkpoint
from trainer.config import RunOptions, TeacherConfig
from trainer.device import choose_precision
from trainer.distillation import perceptual_loss
from trainer.export import training_commit
from trainer.loop import train_task
from trainer.nafnet import TEACHERS, NAFNet, NAFNetConfig
from trainer.objective import Objective
from trainer.routed_crops import experts_of_run
from trainer.run import Task
from trainer.sources import Source
from trainer.teacher_file import (
    LoadedTeacher,
    TeacherFacts,
    find_teacher,
    load_teacher,
    save_teacher,
)

__all__ = ["teacher_task", "train_teacher"]

_FILE_NAME = "teacher.safetensors"


def train_teacher(source: Source, config: TeacherConfig, options: RunOptions) -> Path:
    """Trains or fine-tunes a teacher, resuming what is in the output folder; see `loop.train`.

    Returns:
        The exported weights, `<out>/teacher.safetensors`.
    """
    return train_task(
        lambda device: teacher_task(source, config, options, device=device), source, options
    )


def teacher_task(
    source: Source, config: TeacherConfig, options: RunOptions, *, device: torch.device
) -> tuple[Task, TeacherConfig]:
    """The teacher and its objective, and the config with the file's name replaced by its id."""
    torch.manual_seed(config.seed)
    if config.shape not in TEACHERS:
        raise ValueError(f"shape must be one of {', '.join(TEACHERS)}, not {config.shape!r}")
    shape = TEACHERS[config.shape]
    if config.crop % shape.size_multiple:
        raise ValueError(
            f"crop must be a multiple of {shape.size_multiple} px for this shape, not {config.crop}"
        )
    init = load_teacher(find_teacher(config.init), expected=shape) if config.init else None
    estimator = load_checkpoint(find_checkpoint(config.estimator)) if config.estimator else None
    named = replace(
        config,
        init=init.teacher_id if init else "",
        estimator=estimator.model_id if estimator else "",
    )
    experts = experts_of_run(config, source, experts=shape.kinds)
    weights = config.loss_weights
    if experts is None:
        weights["routing"] = 0.0

    def export(path: Path, weights: Mapping[str, Tensor], step: int) -> None:
        network = NAFNet(shape)
        network.load_state_dict(dict(weights))
        facts = TeacherFacts(
            config=shape.to_json(),
            name=config.shape,
            training_commit=training_commit(),
            training_config=asdict(named),
            training_steps=step,
            data_manifest_hash=source.manifest_hash,
            created=datetime.now(UTC).date().isoformat(),
        )
        save_teacher(path, network, facts)

    task = Task(
        title="teacher",
        objective=Objective(
            _first_teacher(shape, init, estimator),
            weights,
            balance=config.balance,
            kind_factors=config.kind_factors(),
            precision=choose_precision(config.precision, device),
            perceptual=perceptual_loss(config, options),
        ),
        before_step=_nothing,
        export=export,
        file_name=_FILE_NAME,
        experts=experts,
    )
    return task, named


def _first_teacher(
    shape: NAFNetConfig, init: LoadedTeacher | None, estimator: Checkpoint | None
) -> NAFNet:
    network = NAFNet(shape)
    if init is not None:
        network.load_state_dict(init.network.state_dict())
    if estimator is not None:
        network.take_estimator(estimator.network)
    return network


def _nothing(_network: nn.Module, _step: int) -> None:
    """A NAFNet is the same at every step."""
