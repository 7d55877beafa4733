"""The state of a run and its step, of students and teachers alike.

All that a run needs to go on where it stopped is in one state file, written atomically: on a CPU a
resumed run ends with the very bits of an unbroken one, wherever it was stopped.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from service.model.student import NORM_MOMENTUM, StudentNetEnhanced, use_channels_last
from trainer.config import RunOptions, TrainingConfig
from trainer.data import CropDataset, crop_batches
from trainer.device_degradation import degrade_batch
from trainer.lessons import Lesson, Lessons
from trainer.mixture import Mixture
from trainer.objective import Objective
from trainer.processes import ALONE, Processes
from trainer.quality import psnr_db
from trainer.run_log import RunLog
from trainer.run_state import save_state
from trainer.screen_page import find_fonts, font_facts
from trainer.sources import Source, open_source
from trainer.validation import Gains, ValidationSet

__all__ = [
    "DivergedError",
    "Run",
    "StateDamagedError",
    "StateMismatchError",
    "Task",
    "learning_rate",
    "open_fonts",
    "open_pairs",
    "scheduled_rate",
]

_EXAMPLES = 4


class DivergedError(RuntimeError):
    """The loss is not finite; the message names the terms."""


class StateMismatchError(RuntimeError):
    """The output folder holds a run with another config, other pictures or other fonts."""


class StateDamagedError(RuntimeError):
    """The output folder's state cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is trained.

    Attributes:
        title: for people.
        objective: holds the network; all of its parameters that want a gradient are trained.
        before_step: prepares the network for a step, such as freezing its statistics.
        export: writes a network's averaged weights to a file: path, weights, step.
        file_name: of the exported checkpoint.
        lessons: where the objective asks the teacher.
        experts: from crops' numbers to the experts that they belong to, where the objective asks.
        settled_from: the first step whose weights are of the kind that is to come out, such as with
            frozen statistics: no validation before it is the best any longer.
    """

    title: str
    objective: Objective
    before_step: Callable[[nn.Module, int], None]
    export: Callable[[Path, Mapping[str, Tensor], int], None]
    file_name: str
    lessons: Lessons | None = None
    experts: Callable[[Sequence[int]], Tensor] | None = None
    settled_from: int = 0


def learning_rate(step: int, config: TrainingConfig) -> float:
    """The rate of step `step` (from 0) of a run; see `scheduled_rate`."""
    return scheduled_rate(
        step,
        rate=config.rate,
        warmup=config.warmup,
        steps=config.steps,
        last_rate=config.last_rate,
    )


def scheduled_rate(
    step: int, *, rate: float, warmup: int, steps: int, last_rate: float = 0.0
) -> float:
    """A linear rise to `rate`, then half a cosine down to `last_rate` of it; from step 0."""
    if step < warmup:
        return rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    cosine = (1 + math.cos(math.pi * min(1.0, progress))) / 2
    return rate * (last_rate + (1 - last_rate) * cosine)


class Run:
    """The state of a run: network, averaged weights, optimiser, step, best metric."""

    def __init__(
        self,
        task: Task,
        source: Source,
        config: TrainingConfig,
        options: RunOptions,
        *,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> None:
        if config.batch % (processes.count * config.accumulate):
            raise ValueError("batch must be a multiple of the number of processes x accumulate")
        self.task, self.source, self.config, self.options = task, source, config, options
        self.device = device
        self.processes = processes
        self._pairs = open_pairs(config, options)
        self._fonts = open_fonts(config, options)
        self._crops = CropDataset(
            source,
            crop_px=config.crop,
            seed=config.seed,
            clean_share=config.clean_share,
            mixture=Mixture.parse(config.mixture),
            degrade_on_device=config.degrade_on == "device",
            pairs=self._pairs,
            pair_share=config.pair_share,
            soft_share=config.soft_share,
            overlay_share=config.overlay_share,
            page_share=config.page_share,
            fonts=self._fonts,
        )
        self.network = task.objective.network
        task.objective.to(device)
        if device.type == "cuda":  # tensor cores want channels last
            use_channels_last(task.objective)
        self._objective = self.processes.wrap(task.objective, device)
        self.averaged = {
            name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()
        }
        trained = [p for p in task.objective.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            trained, lr=config.rate, weight_decay=config.weight_decay
        )
        self._scaler = torch.amp.GradScaler(
            device.type, enabled=task.objective.precision is torch.float16
        )
        self._validation = (
            ValidationSet(
                options.validation, pictures=config.validation_pictures, crop_px=config.crop
            )
            if options.validation and config.validate_every
            else None
        )
        if config.validate_every and self._validation is None:
            raise ValueError("validate_every needs a folder of pictures: pass --validation")
        self.step = 0
        self.best_metric = -math.inf
        self.validations_without_gain = 0
        options.out.mkdir(parents=True, exist_ok=True)
        if self._state_path.exists():
            self._resume()

    @property
    def _state_path(self) -> Path:
        return self.options.out / "state.pt"

    @property
    def _manifest_hash(self) -> str:
        pairs = f"+{self._pairs.manifest_hash}" if self._pairs is not None else ""
        fonts = f"+{font_facts(self._fonts)}" if self._fonts else ""
        return self.source.manifest_hash + pairs + fonts

    @property
    def is_patience_over(self) -> bool:
        """Whether so many validations brought nothing that the run should end."""
        return 0 < self.config.patience <= self.validations_without_gain

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's share of each step's crops, from the present step on."""
        if self.is_patience_over:
            return iter(())
        crop_set = self.config.crop_set
        return iter(
            crop_batches(
                _Repeated(self._crops, crop_set) if crop_set else self._crops,
                first_step=self.step,
                last_step=self.config.steps,
                batch_size=self.config.batch,
                workers=self.options.workers,
                rank=self.processes.rank,
                world_size=self.processes.count,
            )
        )

    def train_step(self, degraded: Tensor, clean: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """One step on this process's crops (N, 3, H, W) uint8.

        The weighted loss terms and the mean PSNR.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        terms, psnr = self.compute_gradients(degraded, clean)
        self._scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.task.objective.parameters(), self.config.clip)
        self._scaler.step(self.optimiser)
        self._scaler.update()
        self.processes.average(self._running())
        self.step += 1
        self._average()
        return terms, psnr

    def compute_gradients(
        self, degraded: Tensor, clean: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Forward and backward of a step, part by part; gradients are scaled where fp16 needs it.

        The parts' gradients add up to those of the whole batch.
        """
        self.task.before_step(self.network, self.step)
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        parts = self.config.accumulate
        before = [buffer.clone() for buffer in self._running()] if parts > 1 else []
        sums: dict[str, Tensor] = {}
        errors = []
        numbers = self._numbers(len(degraded))
        for at, rows in enumerate(torch.arange(len(degraded)).chunk(parts)):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            given, wanted = self._pixels(degraded[part], clean[part], numbers[part])
            lesson = self._lesson(numbers[part], given)
            experts = self._experts(numbers[part])
            is_last = at == parts - 1
            with self._without_exchange(unless=is_last):
                terms, sharpened = self._objective(given, wanted, lesson, experts)
                loss = torch.stack(list(terms.values())).sum() / parts
                self._require_finite(loss, terms)
                self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            for name, term in terms.items():
                sums[name] = sums.get(name, torch.zeros_like(term)) + term.detach() / parts
            with torch.no_grad():
                errors.append(psnr_db(sharpened.detach().clamp(0, 1), wanted))
        if parts > 1:  # each of them has moved the statistics as far as the whole batch should
            share = NORM_MOMENTUM / (1 - (1 - NORM_MOMENTUM) ** parts)
            for buffer, kept in zip(self._running(), before, strict=True):
                buffer.copy_(torch.lerp(kept, buffer, share))
        return sums, torch.cat(errors).mean()

    def _running(self) -> list[Tensor]:
        """What the network counts along."""
        return [
            buffer
            for name, buffer in self.network.named_buffers()
            if name in self.averaged and buffer.is_floating_point()  # others are constants
        ]

    def _numbers(self, count: int) -> list[int]:
        first = self.step * self.config.batch + self.processes.rank * count
        period = self.config.crop_set or (first + count)
        return [number % period for number in range(first, first + count)]

    def _pixels(
        self, degraded: Tensor, clean: Tensor, numbers: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        degraded, clean = (c.to(self.device, non_blocking=True) for c in (degraded, clean))
        if self._crops.needs_degradation:
            degraded = degrade_batch(
                clean,
                seed=self.config.seed,
                first_number=numbers[0],
                clean_share=self.config.clean_share,
                mixture=self._crops.mixture,
            )
        given, wanted = (
            (c.float() / 255).contiguous(memory_format=self._crop_format())
            for c in (degraded, clean)
        )
        return given, wanted

    def _crop_format(self) -> torch.memory_format:
        """A GPU wants channels last. A CPU convolves twice as fast with them, but takes ten times
        as long over a normalisation.
        """
        network = self.network
        is_normalising = not (isinstance(network, StudentNetEnhanced) and network.is_frozen)
        if self.device.type != "cuda" and is_normalising:
            return torch.contiguous_format
        return torch.channels_last

    def _lesson(self, numbers: Sequence[int], degraded: Tensor) -> Lesson | None:
        lessons = self.task.lessons
        return lessons.lesson(numbers, degraded) if lessons is not None else None

    def _experts(self, numbers: Sequence[int]) -> Tensor | None:
        experts = self.task.experts
        return experts(numbers).to(self.device) if experts is not None else None

    @contextmanager
    def _without_exchange(self, *, unless: bool) -> Iterator[None]:
        """Gradients are exchanged among the processes once, with the last part."""
        if unless or self.processes.count == 1:
            yield
            return
        wrapped: Any = self._objective
        with wrapped.no_sync():
            yield

    def _require_finite(self, loss: Tensor, terms: dict[str, Tensor]) -> None:
        if bool(torch.isfinite(loss)):
            return
        bad = [name for name, term in terms.items() if not bool(torch.isfinite(term))]
        raise DivergedError(
            f"step {self.step}: {', '.join(bad)} is not finite. Lower the rate; the last saved "
            f"state is {self._state_path}."
        )

    @torch.no_grad()
    def _average(self) -> None:
        """The decay grows with the step, so that early averages forget the random start."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, tensor in self.network.state_dict().items():
            self.averaged[name].lerp_(tensor, 1 - decay)

    def averaged_network(self) -> nn.Module:
        """A copy of the network with the averaged weights, as it would be exported."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.averaged)
        self.task.before_step(network, self.step)
        return network.eval()

    def validate(self, log: RunLog) -> Gains:
        """Measures the averaged weights and exports them if they are the best so far."""
        assert self._validation is not None, "checked when the run began"
        network = self.averaged_network()
        gains = self._validation.gains(network, self.device, self.task.objective.precision)
        metric = gains.metric(self.config.metric)
        every = self.config.validate_every
        if (self.step - 1) // every * every < self.task.settled_from <= self.step:
            self.best_metric, self.validations_without_gain = -math.inf, 0
        self.validations_without_gain += 1
        if metric > self.best_metric:
            self.best_metric, self.validations_without_gain = metric, 0
            self._export()
        log.validation(
            {
                "step": self.step,
                "metric": metric,
                "untouched_psnr_db": gains.untouched_psnr_db,
                **{f"gain_db {name}": value for name, value in gains.psnr_db.items()},
                **{f"gain_ssim {name}": value for name, value in gains.ssim.items()},
            }
        )
        log.pictures(self.step, _examples(network, self._validation, self.device))
        return gains

    def save(self) -> None:
        """Writes the state; what was there stays until the new one is whole.

        Raises:
            OSError: the disk is full or the folder cannot be written; the old state is kept.
        """
        if not self.processes.is_first:
            self.processes.wait()
            return
        state = {
            "config": asdict(self.config),
            "manifest_hash": self._manifest_hash,
            "step": self.step,
            "objective": self.task.objective.state_dict(),
            "averaged": self.averaged,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "random": torch.get_rng_state(),
            "best_metric": self.best_metric,
            "validations_without_gain": self.validations_without_gain,
        }
        save_state(self._state_path, state)
        self.processes.wait()

    def _resume(self) -> None:
        try:
            state = torch.load(self._state_path, map_location=self.device, weights_only=True)
            config, manifest_hash = state["config"], state["manifest_hash"]
        except Exception as exc:  # damaged files make torch fail in an open set of ways
            raise StateDamagedError(
                f"{self._state_path} is damaged and cannot be read. Put a copy back, or delete it "
                "to start again; the exported checkpoint beside it is not touched until then."
            ) from exc
        # What was no setting then was as it is by default now.
        config = {**_defaults_of(type(self.config)), **config}
        if config != asdict(self.config):
            changed = [k for k, v in asdict(self.config).items() if config.get(k) != v]
            raise StateMismatchError(
                f"{self._state_path} was trained with other settings ({', '.join(changed)}). "
                "Use the same ones to go on, or another --out."
            )
        if manifest_hash != self._manifest_hash:
            raise StateMismatchError(
                f"{self._state_path} was trained on other pictures or fonts. "
                "Use the same folders to go on, or another --out."
            )
        self.step = state["step"]
        try:
            self.task.objective.load_state_dict(state["objective"])
        except RuntimeError as exc:
            raise StateMismatchError(
                f"{self._state_path} is of a network of another shape. Start from the checkpoint "
                "beside it with init, and another --out."
            ) from exc
        self.averaged = state["averaged"]
        self.optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        self.best_metric = state["best_metric"]
        self.validations_without_gain = state["validations_without_gain"]
        torch.set_rng_state(state["random"].cpu())

    def export(self) -> Path:
        """Writes the averaged weights, unless a validation has written the best ones."""
        if self.best_metric == -math.inf:
            self._export()
        return self.options.out / self.task.file_name

    def _export(self) -> None:
        if self.processes.is_first:
            path = self.options.out / self.task.file_name
            self.task.export(path, self.averaged, self.step)


def _defaults_of(settings: type[TrainingConfig]) -> dict[str, object]:
    return {entry.name: entry.default for entry in fields(settings) if entry.default is not MISSING}


def open_pairs(config: TrainingConfig, options: RunOptions) -> Source | None:
    """The blurred/sharp pairs that a run mixes in, where it does.

    Raises:
        ValueError: it does, and none were given.
        FileNotFoundError: see `open_source`.
    """
    if not config.pair_share:
        return None
    if options.pairs is None:
        raise ValueError("pair_share needs blurred/sharp pairs: pass --pairs")
    return open_source(
        options.pairs, smallest_px=config.crop, cache_bytes=int(options.cache_gb * 1e9)
    )


def open_fonts(config: TrainingConfig, options: RunOptions) -> list[Path]:
    """The fonts of the drawn pages that a run mixes in, where it does; none = Pillow's own.

    Raises:
        ValueError: fonts were given, and no pages are drawn.
        FileNotFoundError: see `find_fonts`.
    """
    if options.fonts is None:
        return []
    if not config.page_share:
        raise ValueError("--fonts is for drawn pages: set page_share above 0, or leave it out")
    return find_fonts(options.fonts)


class _Repeated(Dataset[tuple[Tensor, Tensor]]):
    """The first `count` crops, again and again."""

    def __init__(self, crops: CropDataset, count: int) -> None:
        self._crops = crops
        self._count = count

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        return self._crops[number % self._count]


@torch.no_grad()
def _examples(network: nn.Module, validation: ValidationSet, device: torch.device) -> Tensor:
    """Rows of degraded, sharpened, clean, as one picture (3, H, W) in [0, 1]."""
    degraded, clean = (s.to(device).float() / 255 for s in validation.examples(_EXAMPLES))
    rows = torch.stack((degraded, network(degraded).float().clamp(0, 1), clean), dim=1)
    count, columns, channels, height, width = rows.shape
    placed = rows.permute(2, 0, 3, 1, 4).reshape(channels, count * height, columns * width)
    return placed.cpu()
