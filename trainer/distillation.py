"""A student's run: what it learns from, how its normalisation ends, what is exported."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from service.model.checkpoint import Checkpoint, load_checkpoint
from service.model.sharpener import find_checkpoint
from service.model.student import SIZES, StudentNetEnhanced, build_student
from trainer.config import DistillConfig, RunOptions, TrainingConfig
from trainer.device import choose_precision
from trainer.export import export_student
from trainer.feature_distillation import FeatureAdapters
from trainer.growth import can_grow, grown, restart_expert
from trainer.lessons import CachedLessons, Lessons, LiveLessons
from trainer.loop import train_task
from trainer.nafnet import NAFNet
from trainer.objective import Objective
from trainer.perceptual import PerceptualLoss
from trainer.routed_crops import experts_of_run
from trainer.run import Task, open_fonts, open_pairs
from trainer.screen_page import font_facts
from trainer.sources import Source
from trainer.teacher_file import LoadedTeacher, find_teacher, load_teacher

__all__ = ["distill", "distill_task", "names_of", "perceptual_loss"]

_FILE_NAME = "student.safetensors"


def distill(source: Source, config: DistillConfig, options: RunOptions) -> Path:
    """Trains a student, resuming what is in the output folder; see `loop.train`.

    Returns:
        The exported checkpoint, `<out>/student.safetensors`.
    """
    return train_task(
        lambda device: distill_task(source, config, options, device=device), source, options
    )


def distill_task(
    source: Source, config: DistillConfig, options: RunOptions, *, device: torch.device
) -> tuple[Task, DistillConfig]:
    """The student and its objective, and the config with files' names replaced by their ids."""
    torch.manual_seed(config.seed)
    precision = choose_precision(config.precision, device)
    init = load_checkpoint(find_checkpoint(config.init)) if config.init else None
    student = _first_student(config.size, init)
    if config.restart:
        expert, like = config.restarted_experts()
        restart_expert(student, expert, like=like)
    teacher = load_teacher(find_teacher(config.teacher)) if config.teacher else None
    if teacher is not None:
        _require_fitting_crop(teacher.network, config.crop)
    weights = config.loss_weights
    experts = experts_of_run(config, source, experts=student.config.experts)
    if experts is None:
        weights["routing"] = 0.0
    objective = Objective(
        student,
        weights,
        balance=config.balance,
        kind_factors=config.kind_factors(),
        precision=precision,
        perceptual=perceptual_loss(config, options),
        adapters=_adapters(student, teacher, config),
    )
    named = replace(
        config, init=init.model_id if init else "", teacher=teacher.teacher_id if teacher else ""
    )
    lessons = (
        _lessons(teacher, source, named, options, device=device, precision=precision)
        if teacher
        else None
    )

    def before_step(network: nn.Module, step: int) -> None:
        assert isinstance(network, StudentNetEnhanced), "the task's network is a student"
        if _is_frozen(network, config, step):
            network.freeze_normalisation()

    def export(path: Path, weights: Mapping[str, Tensor], step: int) -> None:
        export_student(
            path,
            weights=weights,
            student=student.config,
            is_frozen=_is_frozen(student, config, step),
            config=named,
            step=step,
            manifest_hash=source.manifest_hash,
        )

    task = Task(
        title="distil",
        objective=objective,
        before_step=before_step,
        export=export,
        file_name=_FILE_NAME,
        lessons=lessons,
        experts=experts,
        settled_from=_frozen_from(student, config) or 0,
    )
    return task, named


def perceptual_loss(config: TrainingConfig, options: RunOptions) -> PerceptualLoss | None:
    """The perceptual term's network where its weight is above 0."""
    if not config.perceptual:
        return None
    return PerceptualLoss(
        network=config.perceptual_network,
        layers=names_of(config.perceptual_layers),
        weights_file=options.vgg_weights,
    )


def names_of(text: str) -> tuple[str, ...]:
    """The names in a comma-separated setting."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _frozen_from(student: StudentNetEnhanced, config: DistillConfig) -> int | None:
    """The first step with frozen normalisation; None where there is none."""
    if student.config.normalisation == "frozen":
        return 0
    return math.ceil(config.freeze_norm_at * config.steps) if config.freeze_norm_at < 1 else None


def _is_frozen(student: StudentNetEnhanced, config: DistillConfig, step: int) -> bool:
    first = _frozen_from(student, config)
    return first is not None and step >= first


def _first_student(size: str, init: Checkpoint | None) -> StudentNetEnhanced:
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, not {size!r}")
    if init is None:
        return build_student(SIZES[size])
    if not can_grow(init.network.config, replace(SIZES[size], normalisation="instance")):
        raise ValueError(
            f"{init.model_id} cannot be made into a student of size {size}. Start from one of that "
            "size, or of a smaller one that differs in channels, blocks, experts and pooling only."
        )
    return grown(init.network, SIZES[size])


def _adapters(
    student: StudentNetEnhanced, teacher: LoadedTeacher | None, config: DistillConfig
) -> FeatureAdapters | None:
    if teacher is None or not config.teacher_features:
        return None
    known = teacher.network.config.feature_channels
    layers = names_of(config.teacher_layers)
    unknown = [name for name in layers if name not in known]
    if unknown or not layers:
        raise ValueError(
            f"teacher_layers must be from {', '.join(known)}, not {config.teacher_layers!r}"
        )
    return FeatureAdapters(student.config.channels, {name: known[name] for name in layers})


def _lessons(
    teacher: LoadedTeacher,
    source: Source,
    config: DistillConfig,
    options: RunOptions,
    *,
    device: torch.device,
    precision: torch.dtype,
) -> Lessons:
    layers = names_of(config.teacher_layers) if config.teacher_features else ()
    live = LiveLessons(teacher.network, layers=layers, device=device, precision=precision)
    if options.teacher_cache is None:
        return live
    pairs = open_pairs(config, replace(options, cache_gb=0.0))  # for what is in them alone
    facts = {
        "teacher": config.teacher,
        "manifest_hash": source.manifest_hash,
        "seed": config.seed,
        "crop": config.crop,
        "clean_share": config.clean_share,
        "mixture": config.mixture,
        "soft_share": config.soft_share,
        "pair_share": config.pair_share,
        "pairs": pairs.manifest_hash if pairs is not None else "",
        "degrade_on": config.degrade_on,
        "precision": str(precision),
    }
    if config.overlay_share:
        facts["overlay_share"] = config.overlay_share
    if config.page_share:
        facts["page_share"] = config.page_share
        facts["fonts"] = font_facts(open_fonts(config, options))
    return CachedLessons(live, options.teacher_cache, crop_set=config.crop_set, facts=facts)


def _require_fitting_crop(teacher: NAFNet, crop_px: int) -> None:
    multiple = teacher.config.size_multiple
    if crop_px % multiple:
        raise ValueError(
            f"crop must be a multiple of {multiple} px for this teacher, not {crop_px}"
        )
