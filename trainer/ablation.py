"""What each loss term, and the teacher, is worth: short runs with one of them switched off."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.table import Table

from service.model.checkpoint import load_checkpoint
from trainer.config import KIND_TERMS, DistillConfig, RunOptions
from trainer.deadline import deadline_s
from trainer.device import choose_device
from trainer.distillation import distill
from trainer.sources import Source
from trainer.validation import Gains, ValidationSet

__all__ = ["AblationRow", "ablate", "ablation_table", "variants"]

_TEACHER_TERMS = ("teacher_output", "teacher_features")
_LEAST_MINUTES = 1e-3  # 0 is no limit


@dataclass(frozen=True, slots=True)
class AblationRow:
    """One variant and what its student gains over the input."""

    variant: str
    gains: Gains


def variants(config: DistillConfig) -> dict[str, DistillConfig]:
    """The config itself, then with each of its terms switched off, then without the teacher.

    The last term that says what a picture is to look like is not switched off.
    """
    made = {"all terms": config}
    terms = [name for name, weight in config.loss_weights.items() if weight > 0]
    for term in terms:
        if config.target_terms == [term]:
            continue
        changes: dict[str, object] = {term: 0.0}
        for counted in KIND_TERMS:
            if term in (counted, "routing"):
                changes[f"{counted}_kinds"] = ""  # which needs both
        if term in _TEACHER_TERMS and not any(
            getattr(config, other) for other in _TEACHER_TERMS if other != term
        ):
            continue  # the same as without the teacher
        made[f"without {term}"] = replace(config, **changes)  # type: ignore[arg-type]
    if config.teacher and set(config.target_terms) - set(_TEACHER_TERMS):
        made["without the teacher"] = replace(
            config, teacher="", teacher_output=0.0, teacher_features=0.0
        )
    return made


def ablate(
    source: Source,
    config: DistillConfig,
    options: RunOptions,
    *,
    on_variant: Callable[[str, int, int], None] = lambda _name, _at, _count: None,
) -> list[AblationRow]:
    """Trains every variant with the same seed, crops and steps, each in a folder below `out`.

    Run again it goes on where it stopped. The gains are those of the averaged weights at the end.

    Raises:
        ValueError: there is no validation folder.
        TimeoutError: `options.max_minutes`, which is for all variants together, are over.
    """
    if options.validation is None:
        raise ValueError("an ablation needs pictures to measure on: pass --validation")
    validation = ValidationSet(
        options.validation, pictures=config.validation_pictures, crop_px=config.crop
    )
    device = choose_device(options.device)
    end_s = deadline_s(options.max_minutes, time.monotonic())
    rows = []
    made = variants(config)
    for at, (name, variant) in enumerate(made.items()):
        on_variant(name, at, len(made))
        left_minutes = max(_LEAST_MINUTES, (end_s - time.monotonic()) / 60)
        own = replace(
            options,
            out=options.out / name.replace(" ", "-"),
            max_minutes=left_minutes if options.max_minutes else 0.0,
        )
        checkpoint = distill(source, variant, own)
        if time.monotonic() > end_s:  # what is not trained to its end is not to be compared
            raise TimeoutError(
                f"the time is up with variant {at + 1} of {len(made)}, {name}: run again to go on"
            )
        rows.append(AblationRow(name, _gains(checkpoint, validation, device)))
    return rows


def _gains(path: Path, validation: ValidationSet, device: torch.device) -> Gains:
    network = load_checkpoint(path).network.folded().to(device)
    return validation.gains(network, device, torch.float32)


def ablation_table(rows: list[AblationRow]) -> Table:
    """Mean PSNR gain over the input in dB by protocol, the mean of all, and untouched pictures."""
    table = Table(title="Ablation: PSNR gain over the input, dB (SSIM gain)")
    table.add_column("variant")
    protocols = list(rows[0].gains.psnr_db)
    for name in (*protocols, "mean", "untouched PSNR dB"):
        table.add_column(name, justify="right")
    for row in rows:
        gains = row.gains
        cells = [f"{gains.psnr_db[name]:+.3f} ({gains.ssim[name]:+.4f})" for name in protocols]
        cells.append(f"{gains.metric('psnr'):+.3f} ({gains.metric('ssim'):+.4f})")
        table.add_row(row.variant, *cells, f"{gains.untouched_psnr_db:.2f}")
    return table
