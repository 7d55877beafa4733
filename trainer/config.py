"""Every setting of a run.

One flat, frozen dataclass per kind of run holds what determines the weights that it ends with,
besides its pictures; `RunOptions` holds how it is carried out. The settings file, `--set` and the
command line are made from them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from trainer.mixture import Mixture
from trainer.named_numbers import named_numbers, require_known
from trainer.routing import EXPERT_KINDS

__all__ = [
    "KIND_TERMS",
    "DistillConfig",
    "RunOptions",
    "TeacherConfig",
    "TrainingConfig",
    "setting_help",
]

_PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_PLACES = ("loader", "device")
_TERMS = (
    "l1",
    "charbonnier",
    "psnr",
    "ssim",
    "edge",
    "perceptual",
    "harm",
    "teacher_output",
    "teacher_features",
    "routing",
)

# These have a list of factors by kind, `<term>_kinds`.
KIND_TERMS = ("ssim", "harm")

# These do not say what a sharpened picture is to look like, and cannot train alone.
_SIDE_TERMS = ("harm", "routing")


def _number(default: float, description: str, low: float = 0, high: float = float("inf")) -> Any:
    return field(default=default, metadata={"description": description, "range": (low, high)})


def _word(default: str, description: str, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"description": description, "choices": choices})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """What teacher and student have in common.

    Raises:
        ValueError: a value is out of its range.
    """

    steps: int = _number(24_000, "optimiser steps in all", 1)
    batch: int = _number(8, "crops a step, over all processes", 1, 65_536)
    accumulate: int = _number(1, "parts that a batch is computed in, to save memory", 1, 1024)
    crop: int = _number(256, "side of a crop, px", 32, 2048)
    crop_set: int = _number(0, "distinct crops, used again and again; 0 = endlessly new ones")
    clean_share: float = _number(0.1, "share of crops that are not degraded", 0, 1)
    mixture: str = _word("", "kind=share,... of the degraded crops; none = the default mixture")
    soft_share: float = _number(
        0.0,
        "share of the pictures made soft first, where that can be told from blur",
        0,
        1,
    )
    overlay_share: float = _number(
        0.0, "share of the crops with text, or another picture, drawn on them", 0, 1
    )
    page_share: float = _number(
        0.0, "share of the crops without a partner that are of drawn pages of text", 0, 1
    )
    pair_share: float = _number(0.0, "share of the crops that are taken from --pairs", 0, 1)
    degrade_on: str = _word("loader", "who degrades the crops", _PLACES)
    rate: float = _number(2e-3, "largest learning rate", 0, 1)
    warmup: int = _number(500, "steps over which the rate rises from 0")
    last_rate: float = _number(0.01, "last learning rate, as a share of the largest", 0, 1)
    weight_decay: float = _number(1e-4, "AdamW's weight decay", 0, 1)
    clip: float = _number(1.0, "largest norm of the gradient", 1e-6)
    ema: float = _number(0.999, "decay of the averaged weights, per step", 0, 0.999999)
    l1: float = _number(0.0, "weight of the L1 term")
    charbonnier: float = _number(0.0, "weight of the Charbonnier term")
    psnr: float = _number(0.02, "weight of the term of log10 of the squared error")
    ssim: float = _number(0.05, "weight of the 1 - SSIM term")
    edge: float = _number(0.0, "weight of the Sobel edge term")
    ssim_kinds: str = _word(
        "", "kind=factor,...: how much crops of a kind count in the ssim term; others 1"
    )
    harm: float = _number(0.0, "weight of the term against crops that come out worse")
    harm_kinds: str = _word(
        "", "kind=factor,...: how much crops of a kind count in the harm term; others 1"
    )
    routing: float = _number(
        0.01,
        "weight of the term that tells kinds of degradation apart; without effect on blurred/sharp "
        "pairs and on networks whose experts or kinds are no multiple of 10",
    )
    pair_kind: str = _word(
        "", "what degraded the pairs, for the routing term; none = unknown", ("", *EXPERT_KINDS)
    )
    perceptual: float = _number(0.0, "weight of the VGG perceptual term")
    perceptual_layers: str = _word("relu2_2,relu3_3", "VGG layers, comma-separated")
    perceptual_network: str = _word("vgg16", "its network", ("vgg16", "vgg19"))
    balance: float = _number(
        0.0, "crops count 1 / (1 + L1 of their input / this); 0 = all crops count alike", 0, 1
    )
    validate_every: int = _number(0, "steps between validations; 0 = never")
    validation_pictures: int = _number(24, "pictures of the validation folder in use", 1, 10_000)
    metric: str = _word("psnr", "mean gain that decides which weights are best", ("psnr", "ssim"))
    patience: int = _number(0, "validations without a better metric before it stops; 0 = no stop")
    precision: str = _word("auto", "auto = what the device is fast at", _PRECISIONS)
    init: str = _word("", "bundled weights or a file to start from; none = random")
    seed: int = _number(0, "of weights, crops and degradations", 0, 2**31)

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if "range" in setting.metadata:
                low, high = setting.metadata["range"]
                if not low <= value <= high:
                    raise ValueError(f"{setting.name} must be {low:g} to {high:g}, not {value}")
            choices = setting.metadata.get("choices")
            if choices and value not in choices:
                raise ValueError(
                    f"{setting.name} must be {', '.join(choices[:-1])} or {choices[-1]}, "
                    f"not {value!r}"
                )
        for name, weight in self.loss_weights.items():
            if not math.isfinite(weight):
                raise ValueError(f"{name} must be a finite number, not {weight}")
        if self.batch % self.accumulate:
            raise ValueError(f"batch ({self.batch}) must be a multiple of accumulate")
        if self.crop_set % self.batch:
            raise ValueError(f"crop_set ({self.crop_set}) must be a multiple of batch")
        Mixture.parse(self.mixture)
        if self.overlay_share and self.degrade_on == "device":
            raise ValueError("overlay_share needs the loader to degrade (degrade_on = loader)")
        self.kind_factors()
        if self.patience and not self.validate_every:
            raise ValueError("patience needs validate_every above 0")
        if not self.target_terms:
            known = ", ".join(name for name in self.loss_weights if name not in _SIDE_TERMS)
            raise ValueError(f"at least one loss term must have a weight above 0: {known}")

    def kind_factors(self) -> dict[str, dict[str, float]]:
        """How much crops of the named kinds count, by the terms that have such a list.

        Raises:
            ValueError: a list that is none, or of a term without weight or routing.
        """
        made = {}
        for term in KIND_TERMS:
            text = getattr(self, f"{term}_kinds")
            factors = named_numbers(text, form="kind=factor", example="aliased large=3")
            require_known(factors, EXPERT_KINDS, kind="kind", number="factor")
            if not factors:
                continue
            if not (getattr(self, term) and self.routing):
                raise ValueError(f"{term}_kinds needs {term} and routing above 0")
            made[term] = factors
        return made

    @property
    def loss_weights(self) -> dict[str, float]:
        """Of every term that this kind of run has."""
        names = {setting.name for setting in fields(self)}
        return {name: getattr(self, name) for name in _TERMS if name in names}

    @property
    def target_terms(self) -> list[str]:
        """The terms in use that say what a sharpened picture is to look like."""
        weights = self.loss_weights
        return [name for name in weights if weights[name] > 0 and name not in _SIDE_TERMS]


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig(TrainingConfig):
    """A student's run.

    Raises:
        ValueError: a value is out of its range.
    """

    size: str = _word("small", "named size of the student: nano, small, base")
    teacher: str = _word("", "compact (bundled) or a file; none = the clean crops alone teach")
    teacher_output: float = _number(0.0, "weight of the output distillation term")
    teacher_features: float = _number(0.0, "weight of the feature distillation term")
    teacher_layers: str = _word("middle_blks", "layers whose features count, comma-separated")
    restart: str = _word(
        "", "expert=other: an expert of init that begins with another one's kernels; none = as init"
    )
    freeze_norm_at: float = _number(
        0.75,
        "share of the steps after which the normalisation's statistics are frozen; 1 = never",
        0,
        1,
    )

    def __post_init__(self) -> None:
        TrainingConfig.__post_init__(self)
        if self.restart:
            self.restarted_experts()
        has_terms = bool(self.teacher_output or self.teacher_features)
        if has_terms != bool(self.teacher):
            raise ValueError(
                "teacher, and teacher_output or teacher_features above 0, come together, such as "
                "teacher=compact with teacher_output=0.5"
            )

    def restarted_experts(self) -> tuple[int, int]:
        """The numbers of the two experts that `restart` names."""
        names = [name.strip() for name in self.restart.split("=")]
        if len(names) != 2 or not set(names) <= set(EXPERT_KINDS) or not self.init:
            raise ValueError(
                f"restart is expert=other, two of {', '.join(EXPERT_KINDS)}, with init, "
                f"not {self.restart!r}"
            )
        return EXPERT_KINDS.index(names[0]), EXPERT_KINDS.index(names[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherConfig(TrainingConfig):
    """A teacher's run.

    It starts with L1 and few untouched crops: a NAFNet that does not tell degradations apart yet is
    drawn to doing nothing by terms to which slight degradations count as much as coarse ones.

    Raises:
        ValueError: a value is out of its range.
    """

    clean_share: float = _number(0.01, "share of crops left untouched", 0, 1)
    l1: float = _number(1.0, "weight of the L1 term")
    psnr: float = _number(0.0, "weight of the term of log10 of the squared error")
    ssim: float = _number(0.0, "weight of the 1 - SSIM term")
    shape: str = _word("width16", "named shape of the NAFNet: see trainer.nafnet.TEACHERS")
    rate: float = _number(1e-3, "largest learning rate", 0, 1)
    estimator: str = _word(
        "", "bundled student or file whose estimator is the start; none = random, or that of init"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Where a run finds what it learns from, and how it is carried out.

    But for the former, and `validation` where the config stops early or keeps the best weights by
    it, none of these change the weights that it ends with.

    Attributes:
        data: folder of sharp pictures, of pairs or of videos, a video file, or a pack.
        out: folder of the state, the log and the exported checkpoint.
        pairs: blurred/sharp pairs, or a pack of them, that `pair_share` of the crops come from.
        fonts: folder of the fonts of drawn pages (`page_share`); none = Pillow's own.
        validation: folder of sharp pictures that are not trained on.
        teacher_cache: folder where the teacher's output is kept.
        vgg_weights: file of the perceptual term's network; none = torchvision's download.
        device: torch device; "auto" takes CUDA, then MPS, then the CPU.
        workers: loader processes; 0 makes the crops in the training process.
        threads: of torch on the CPU; 0 leaves torch's choice.
        max_minutes: stop, resumable, after this time; 0 = no limit.
        save_every: steps between saved states.
        log_every: steps between lines of the log.
        cache_gb: decoded pictures are held in memory up to this.
        tensorboard: also write scalars and pictures for TensorBoard.
    """

    data: Path
    out: Path
    pairs: Path | None = None
    fonts: Path | None = None
    validation: Path | None = None
    teacher_cache: Path | None = None
    vgg_weights: Path | None = None
    device: str = "auto"
    workers: int = 1
    threads: int = 0
    max_minutes: float = 0.0
    save_every: int = 1000
    log_every: int = 50
    cache_gb: float = 4.0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name, low in (
            ("workers", 0),
            ("threads", 0),
            ("max_minutes", 0),
            ("save_every", 1),
            ("log_every", 1),
            ("cache_gb", 0),
        ):
            value = getattr(self, name)
            if not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, not {value}")
            if value < low:
                raise ValueError(f"{name} must be {low} or more, not {value}")


def setting_help(name: str, kind: type[TrainingConfig] = DistillConfig) -> str:
    """The description of a setting, with its choices."""
    metadata = next(f for f in fields(kind) if f.name == name).metadata
    choices = metadata.get("choices")
    named = ", ".join(choice for choice in choices or () if choice)
    return f"{metadata['description']}{f' ({named})' if named else ''}"
