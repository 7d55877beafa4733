"""Every setting of a distillation run.

One frozen dataclass, from which the command line is made too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["DistillConfig", "setting_help"]


def _setting(default: Any, description: str, low: float = 0, high: float = float("inf")) -> Any:
    return field(default=default, metadata={"description": description, "range": (low, high)})


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig:
    """What determines the weights that a run ends with, besides its pictures.

    Raises:
        ValueError: a value is out of its range.
    """

    size: str = field(
        default="small", metadata={"description": "named size of the student: nano, small, base"}
    )
    steps: int = _setting(24_000, "optimiser steps in all", 1)
    batch: int = _setting(8, "crops a step", 1, 4096)
    crop: int = _setting(256, "side of a crop, px", 32, 2048)
    rate: float = _setting(2e-3, "largest learning rate", 0, 1)
    warmup: int = _setting(500, "steps over which the rate rises from 0")
    last_rate: float = _setting(0.01, "last learning rate, as a share of the largest", 0, 1)
    weight_decay: float = _setting(1e-4, "AdamW's weight decay", 0, 1)
    clip: float = _setting(1.0, "largest norm of the gradient", 1e-6)
    ema: float = _setting(0.999, "decay of the averaged weights, per step", 0, 0.999999)
    clean_share: float = _setting(0.1, "share of crops left untouched", 0, 1)
    l1: float = _setting(1.0, "weight of the L1 term")
    ssim: float = _setting(0.05, "weight of the 1 - SSIM term")
    edge: float = _setting(0.1, "weight of the Sobel edge term")
    balance: float = _setting(
        0.0, "crops count 1 / (1 + L1 of their input / this); 0 = all crops count alike", 0, 1
    )
    freeze_norm_at: float = _setting(
        0.75,
        "share of the steps after which the normalisation's statistics are frozen; 1 = never",
        0,
        1,
    )
    precision: str = field(
        default="auto",
        metadata={"description": "auto, fp32, bf16 or fp16 (auto: what the device is fast at)"},
    )
    init: str = field(
        default="",
        metadata={"description": "checkpoint whose weights are the start; none = random"},
    )
    seed: int = _setting(0, "of weights, crops and degradations", 0, 2**31)

    def __post_init__(self) -> None:
        for setting in fields(self):
            if "range" not in setting.metadata:
                continue
            low, high = setting.metadata["range"]
            value = getattr(self, setting.name)
            if not low <= value <= high:
                raise ValueError(f"{setting.name} must be {low:g} to {high:g}, not {value}")
        if self.precision not in ("auto", "fp32", "bf16", "fp16"):
            raise ValueError(f"precision must be auto, fp32, bf16 or fp16, not {self.precision!r}")

        if not any(self.loss_weights.values()):
            raise ValueError("at least one loss term must have a weight above 0")

    @property
    def loss_weights(self) -> dict[str, float]:
        return {"l1": self.l1, "ssim": self.ssim, "edge": self.edge}


def setting_help(name: str) -> str:
    """The description of a setting of `DistillConfig`."""
    return str(next(f for f in fields(DistillConfig) if f.name == name).metadata["description"])
