"""The training loop: from a folder of sharp pictures to the weights of a student.

A step takes degraded crops, lets the student sharpen them and compares the result with the clean
crops. The teacher's terms join the same sum of `weighted_terms`; the student's features for them
come from `forward_with_features`.

All that a run needs to go on where it stopped is in one state file, written atomically: on a CPU a
resumed run ends with the very bits of an unbroken one.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from service.model.checkpoint import Checkpoint
from service.model.student import SIZES, StudentNetEnhanced, build_student
from trainer.config import DistillConfig
from trainer.data import CropDataset, PictureSet, crop_batches
from trainer.export import export_student
from trainer.losses import crop_importance, weighted_terms
from trainer.quality import psnr_db

__all__ = ["DivergedError", "RunOptions", "StateMismatchError", "distill", "learning_rate"]

_log = logging.getLogger(__name__)


class DivergedError(RuntimeError):
    """The loss is not finite; the message names the terms."""


class StateMismatchError(RuntimeError):
    """The output folder holds a run with another config or other pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a run is carried out; none of these change the weights that it ends with.

    Attributes:
        output: folder of the state, the log and the exported checkpoint.
        device: torch device; "auto" takes CUDA, then MPS, then the CPU.
        workers: loader processes; 0 makes the crops in the training process.
        threads: of torch on the CPU; 0 leaves torch's choice.
        max_minutes: stop, resumable, after this time; 0 = no limit.
        save_every: steps between saved states.
        log_every: steps between lines of the log.
    """

    output: Path
    device: str = "auto"
    workers: int = 1
    threads: int = 0
    max_minutes: float = 0.0
    save_every: int = 1000
    log_every: int = 50


def learning_rate(step: int, config: DistillConfig) -> float:
    """The rate of step `step` (from 0).

    A linear rise, then half a cosine down to `last_rate` of the largest.
    """
    if step < config.warmup:
        return config.rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    cosine = (1 + math.cos(math.pi * min(1.0, progress))) / 2
    return config.rate * (config.last_rate + (1 - config.last_rate) * cosine)


def distill(
    pictures: PictureSet,
    config: DistillConfig,
    options: RunOptions,
    *,
    init: Checkpoint | None = None,
) -> Path:
    """Trains until `config.steps` or until the time is up, resuming what is in the output folder.

    Args:
        init: the student whose weights are the start, of the size that `config` names; its id takes
            the place of `config.init`.

    Returns:
        The exported checkpoint (averaged weights), `<output>/student.safetensors`.

    Raises:
        DivergedError: a loss term became NaN or infinite; the last saved state is kept.
        StateMismatchError: the folder's state belongs to another config or other pictures.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    started = _now_s()
    if init is not None:
        config = replace(config, init=init.model_id)
    run = _Run.begin(pictures, config, options, init)
    dataset = CropDataset(
        pictures, crop_px=config.crop, seed=config.seed, clean_share=config.clean_share
    )
    loader = crop_batches(
        dataset,
        first_step=run.step,
        last_step=config.steps,
        batch_size=config.batch,
        workers=options.workers,
    )
    deadline = started + options.max_minutes * 60 if options.max_minutes else math.inf
    with _progress_bar() as bar, run.open_log() as log:
        task = bar.add_task("distil", total=config.steps, completed=run.step, report="")
        meter = _Meter(config.batch)
        for degraded, clean in loader:
            terms, psnr = run.train_step(degraded, clean)
            meter.add(terms, psnr)
            if run.step % options.log_every == 0 or run.step == config.steps:
                line = meter.report(run.step, learning_rate(run.step - 1, config))
                log(line)
                bar.update(
                    task,
                    report=f"loss {line['loss']:.4f}  PSNR {line['psnr_db']:.2f} dB  "
                    f"{line['images_per_s']:.0f} images/s",
                )
            bar.update(task, completed=run.step)
            if run.step % options.save_every == 0:
                run.save()
            if _now_s() > deadline:
                _log.info("stopped after %.1f minutes; run again to go on", options.max_minutes)
                break
    run.save()
    return run.export()


def _now_s() -> float:
    return time.monotonic()


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[report]}"),
        TimeRemainingColumn(),
    )


class _Meter:
    """Means since the last report, and images a second."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._clear()

    def _clear(self) -> None:
        self._since = _now_s()
        self._count = 0
        self._sums: dict[str, Tensor | int] = {}

    def add(self, terms: dict[str, Tensor], psnr: Tensor) -> None:
        self._count += 1
        for name, value in (*terms.items(), ("psnr_db", psnr), ("loss", sum(terms.values()))):
            self._sums[name] = self._sums.get(name, 0) + torch.as_tensor(value).detach()

    def report(self, step: int, rate: float) -> dict[str, Any]:
        seconds = _now_s() - self._since
        line: dict[str, Any] = {"step": step, "rate": rate}
        line |= {name: float(total) / self._count for name, total in self._sums.items()}
        line["images_per_s"] = self._count * self._batch_size / max(seconds, 1e-9)
        self._clear()
        return line


class _Run:
    """The state of a run: student, averaged weights, optimiser, step."""

    def __init__(
        self,
        pictures: PictureSet,
        config: DistillConfig,
        options: RunOptions,
        init: Checkpoint | None,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.options = config, options
        self.manifest_hash = pictures.manifest_hash
        self.device = _device(options.device)
        self.precision = _precision(config.precision, self.device)
        self.student: StudentNetEnhanced = _first_student(config.size, init).to(device=self.device)
        # Tensor cores want channels last; on a CPU the normalisation is ten times slower there.
        self.memory_format = (
            torch.channels_last if self.device.type == "cuda" else torch.contiguous_format
        )
        untyped: Any = self.student  # releases of torch differ in how they type `to`
        untyped.to(memory_format=self.memory_format)
        self.averaged = {
            name: tensor.detach().clone() for name, tensor in self.student.state_dict().items()
        }
        self.optimiser = torch.optim.AdamW(
            self.student.parameters(), lr=config.rate, weight_decay=config.weight_decay
        )
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.precision is torch.float16
        )
        self.step = 0

    @classmethod
    def begin(
        cls,
        pictures: PictureSet,
        config: DistillConfig,
        options: RunOptions,
        init: Checkpoint | None,
    ) -> _Run:
        run = cls(pictures, config, options, init)
        options.output.mkdir(parents=True, exist_ok=True)
        if run._state_path.exists():
            run._resume()
        return run

    @property
    def _state_path(self) -> Path:
        return self.options.output / "state.pt"

    @property
    def is_frozen(self) -> bool:
        return self.student.config.normalisation == "frozen" or (
            self.config.freeze_norm_at < 1
            and self.step >= self.config.freeze_norm_at * self.config.steps
        )

    def train_step(self, degraded: Tensor, clean: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """One step on a batch of crops (N, 3, H, W) uint8.

        The weighted loss terms and the mean PSNR.
        """
        if self.is_frozen:
            self.student.freeze_normalisation()
        self.student.train()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        degraded_pixels, clean_pixels = (self._pixels(crops) for crops in (degraded, clean))
        with torch.autocast(
            self.device.type, self.precision, enabled=self.precision is not torch.float32
        ):
            sharpened = self.student(degraded_pixels)
        importance = crop_importance(degraded_pixels, clean_pixels, balance=self.config.balance)
        terms = weighted_terms(sharpened, clean_pixels, self.config.loss_weights, importance)
        loss = torch.stack(list(terms.values())).sum()
        self._require_finite(loss, terms)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.student.parameters(), self.config.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step += 1
        self._average()
        with torch.no_grad():
            psnr = psnr_db(sharpened.detach().clamp(0, 1), clean_pixels).mean()
        return {name: term.detach() for name, term in terms.items()}, psnr

    def _pixels(self, crops: Tensor) -> Tensor:
        crops = crops.to(self.device, non_blocking=True)
        return (crops.float() / 255).contiguous(memory_format=self.memory_format)

    def _require_finite(self, loss: Tensor, terms: dict[str, Tensor]) -> None:
        if bool(torch.isfinite(loss)):
            return
        bad = [name for name, term in terms.items() if not bool(torch.isfinite(term))]
        raise DivergedError(
            f"step {self.step}: {', '.join(bad)} is not finite. Lower --rate; the last saved "
            f"state is {self._state_path}."
        )

    @torch.no_grad()
    def _average(self) -> None:
        """The decay grows with the step, so that early averages forget the random start."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, tensor in self.student.state_dict().items():
            self.averaged[name].lerp_(tensor, 1 - decay)

    def save(self) -> None:
        state = {
            "config": asdict(self.config),
            "manifest_hash": self.manifest_hash,
            "step": self.step,
            "student": self.student.state_dict(),
            "averaged": self.averaged,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": torch.get_rng_state(),
        }
        temporary = self._state_path.with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, self._state_path)

    def _resume(self) -> None:
        state = torch.load(self._state_path, map_location=self.device, weights_only=True)
        if state["config"] != asdict(self.config):
            changed = [k for k, v in asdict(self.config).items() if state["config"].get(k) != v]
            raise StateMismatchError(
                f"{self._state_path} was trained with other settings ({', '.join(changed)}). "
                "Use the same ones to go on, or another --out."
            )
        if state["manifest_hash"] != self.manifest_hash:
            raise StateMismatchError(
                f"{self._state_path} was trained on other pictures. "
                "Use the same folder to go on, or another --out."
            )
        self.step = state["step"]
        self.student.load_state_dict(state["student"])
        self.averaged = state["averaged"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"].cpu())

    def export(self) -> Path:
        path = self.options.output / "student.safetensors"
        export_student(
            path,
            weights=self.averaged,
            student=self.student.config,
            is_frozen=self.is_frozen,
            config=self.config,
            step=self.step,
            manifest_hash=self.manifest_hash,
        )
        return path

    def open_log(self) -> _JsonLines:
        return _JsonLines(self.options.output / "log.jsonl")


class _JsonLines:
    """Appends one JSON object a line; each is on disk before the next step."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Callable[[dict[str, Any]], None]:
        self._file = self._path.open("a", buffering=1)
        return lambda line: print(json.dumps(line), file=self._file)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _first_student(size: str, init: Checkpoint | None) -> StudentNetEnhanced:
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, not {size!r}")
    if init is None:
        return build_student(SIZES[size])
    shape = init.network.config
    if replace(shape, normalisation="instance") != SIZES[size]:
        raise ValueError(f"{init.model_id} is not of size {size}. Start from one that is.")
    student = build_student(shape)
    student.load_state_dict(init.network.state_dict())
    return student


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _precision(name: str, device: torch.device) -> torch.dtype:
    named = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if name in named:
        return named[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu" and _has_matrix_tiles():
        return torch.bfloat16
    return torch.float32


def _has_matrix_tiles() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware (AMX).

    Where bf16 is twice as fast and more.
    """
    with suppress(AttributeError, RuntimeError):
        return bool(torch.cpu._is_amx_tile_supported())
    return False
