"""Trains the network that fuses a frame with its neighbours: `FusionNetwork`.

Samples are made first and kept in the run's folder, then it is trained on crops of their clips,
each fused from its last frame to its first. The loss is how many decibels nearer to the clean luma
the fused frames are than the sharpened ones, with what comes out worse counted more than once, and
how much more they flicker. Some frames have neighbours of another scene, as at a cut; the last of a
crop have none, as at a clip's end.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from service.model.atomic import write_bytes
from service.model.checkpoint import load_checkpoint
from service.model.fusion_file import load_fusion
from service.model.fusion_network import FusionNetwork
from service.model.neighbours import NEIGHBOURS
from service.model.sharpener import Sharpener, find_checkpoint
from service.model.student import use_channels_last
from trainer.deadline import deadline_s
from trainer.device import choose_device, choose_precision
from trainer.fusion_samples import (
    CROPS_PER_SAMPLE,
    LUMA_STEPS,
    make_sample,
    read_sample,
    write_sample,
)
from trainer.fusion_unroll import Clips, fused_clips
from trainer.pictures import find_pictures
from trainer.quality import HARM_DB, psnr_db
from trainer.run import (
    DivergedError,
    StateDamagedError,
    StateMismatchError,
    scheduled_rate,
)
from trainer.run_state import save_state
from trainer.screen_page import find_fonts

__all__ = ["FusionGain", "FusionSettings", "flicker_rise_db", "gained_db", "train_fusion"]

_ENDING_FRAMES = max(NEIGHBOURS)  # of a crop, that have too little after them to be as good
_FLOOR = 0.1  # mean squared error, levels: less is perfect
_HELD_OUT_EVERY = 15  # samples
_SAMPLE_FACTS = "facts.json"
_CUT_SHARE = 0.03  # of the frames
_WARMUP_STEPS = 100
_PRECISIONS = ("auto", "fp32", "bf16")
_EVALUATE_EVERY = 250  # steps; the state is saved then, too

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionSettings:
    """What a run is given.

    Raises:
        ValueError: a number is out of its range.

    Attributes:
        data: folder of sharp pictures.
        out: folder of the samples, the state and the weights.
        samples: clips to make, five crops of eight frames each.
        batch: crops a step.
        init: a file of weights to begin with; None = at random.
        students: whose frames are fused: sizes or files.
        fonts: folder of the fonts of the text on screens; None = Pillow's own.
        harm: how much more what comes out worse counts.
        flicker: how much a decibel more of flicker counts, see `flicker_rise_db`.
        max_minutes: stop, resumable, after so long; 0 = no limit.
        threads: CPU threads of torch; 0 = its choice.
    """

    data: Path
    out: Path
    samples: int = 1200
    steps: int = 6500
    batch: int = 10
    rate: float = 2e-3
    harm: float = 2.0
    flicker: float = 0.05
    seed: int = 0
    init: Path | None = None
    students: tuple[str, ...] = ("nano", "small", "base")
    fonts: Path | None = None
    max_minutes: float = 0.0
    threads: int = 0
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.samples < _HELD_OUT_EVERY:
            raise ValueError(f"too few samples: at least {_HELD_OUT_EVERY} are needed")
        for name, low in (
            ("steps", 1),
            ("batch", 1),
            ("rate", 0),
            ("harm", 0),
            ("flicker", 0),
            ("seed", 0),
            ("max_minutes", 0),
            ("threads", 0),
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= low):
                raise ValueError(f"{name} must be a finite number, {low} or more, not {value}")
        if self.precision not in _PRECISIONS:
            raise ValueError(
                f"precision must be one of {', '.join(_PRECISIONS)}, not {self.precision!r}"
            )

    def of_the_weights(self) -> dict[str, int | float | str]:
        """Those that determine the weights, by name."""
        names = ("samples", "steps", "batch", "rate", "harm", "flicker", "seed")
        return {name: getattr(self, name) for name in names} | {
            "init": load_fusion(self.init).fusion_id if self.init else "",
            "students": " ".join(self.students),
            "fonts": " ".join(font.name for font in find_fonts(self.fonts)) if self.fonts else "",
        }


@dataclass(frozen=True, slots=True)
class FusionGain:
    """Of the crops of one kind that were held out: how much the luma's PSNR rises by the fusion.

    Attributes:
        crops: each frame of a crop counts.
    """

    kind: str
    crops: int
    mean_db: float
    worst_db: float
    worse_count: int


@dataclass(frozen=True, slots=True)
class _Crops:
    """All samples' crops, as `FusionSample` has them."""

    sharpened: np.ndarray[Any, Any]
    seen: np.ndarray[Any, Any]
    missing: np.ndarray[Any, Any]
    motion: np.ndarray[Any, Any]
    kinds: list[str]

    def __len__(self) -> int:
        return len(self.kinds)


def train_fusion(
    settings: FusionSettings,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    on_gains: Callable[[int, Sequence[FusionGain]], None] = lambda _step, _gains: None,
) -> tuple[FusionNetwork, int]:
    """Makes the samples that are missing and trains; goes on where it stopped.

    Args:
        progress: of the samples: how many are made, of how many.
        on_gains: told the step and the gains by kind, of the averaged weights.

    Returns:
        The averaged weights' network, and after how many steps.

    Raises:
        FileNotFoundError: there is no picture, or no font.
        ValueError: the pictures or the samples are too few or too small.
        CheckpointError: `init` is no file of fusion weights.
        StateMismatchError, StateDamagedError: the state in `out` is of another run, or damaged.
        DivergedError: the loss became NaN or infinite; the last saved state is kept.
        OSError: `out` cannot be written.
    """
    end_s = deadline_s(settings.max_minutes, time.monotonic())
    if settings.threads:
        torch.set_num_threads(settings.threads)
    folder = settings.out / "samples"
    paths = [folder / f"{settings.seed}-{number:05d}.npz" for number in range(settings.samples)]
    is_made = all(path.is_file() for path in paths)
    if not is_made or (folder / _SAMPLE_FACTS).is_file():  # else they are somebody's own
        _claim_samples(folder, _sample_facts(settings, find_pictures(settings.data)))
    held_out_paths = paths[_HELD_OUT_EVERY // 2 :: _HELD_OUT_EVERY]
    if not is_made:
        _require_batch(settings, CROPS_PER_SAMPLE * (len(paths) - len(held_out_paths)))
    run = _Run(settings)  # before samples are made, which takes long: it may refuse the settings
    if not is_made:
        _make_samples(settings, paths, end_s, progress)
    held_out = _joined(held_out_paths)
    del paths[_HELD_OUT_EVERY // 2 :: _HELD_OUT_EVERY]
    crops = _joined(paths)
    _require_batch(settings, len(crops))
    while run.step < settings.steps and time.monotonic() < end_s:
        run.train_step(crops)
        if run.step % _EVALUATE_EVERY == 0 and run.step < settings.steps:
            on_gains(run.step, run.gains(held_out))
            run.save()
    on_gains(run.step, run.gains(held_out))
    run.save()
    return run.averaged_network(), run.step


def gained_db(fused: Tensor, missing: Tensor) -> Tensor:
    """How much nearer to the clean luma each frame is with what was added: (...) dB.

    10 log10((mean missing^2 + 0.1) / (mean (missing - fused)^2 + 0.1)), in levels of 255.

    Args:
        fused: what was added to the sharpened luma, (..., H, W) in levels.
        missing: what should have been.
    """
    before = missing.square().mean((-2, -1)) + _FLOOR
    after = (missing - fused).square().mean((-2, -1)) + _FLOOR
    return 10 * torch.log10(before / after)


def flicker_rise_db(fused: Tensor, missing: Tensor) -> Tensor:
    """How much more the errors change from frame to frame with what was added: (N, K) dB.

    Args:
        fused, missing: (N, T, H, W), see `gained_db`; of the T - 1 changes the K that are before
            the last `_ENDING_FRAMES` count.
    """
    errors = (missing[:, :-_ENDING_FRAMES], (missing - fused)[:, :-_ENDING_FRAMES])
    before, after = (error.diff(dim=1).square().mean((-2, -1)) + _FLOOR for error in errors)
    return 10 * torch.log10(after / before)


def _require_batch(settings: FusionSettings, crops: int) -> None:
    if settings.batch > crops:
        raise ValueError(
            f"batch must be at most {crops}, the crops of these samples, not {settings.batch}. "
            "Lower it, or raise samples."
        )


def _make_samples(
    settings: FusionSettings,
    paths: Sequence[Path],
    end_s: float,
    progress: Callable[[int, int], None],
) -> None:
    """Writes those that are missing."""
    pictures = find_pictures(settings.data)
    fonts = find_fonts(settings.fonts) if settings.fonts else []
    sharpeners = [Sharpener.load(named, threads=settings.threads) for named in settings.students]
    for number, path in enumerate(paths):
        progress(number, len(paths))
        if time.monotonic() > end_s:
            raise ValueError(
                f"{number} of {len(paths)} samples are made, and the time is up. "
                "Run it again to go on."
            )
        if not path.is_file():
            sample = make_sample(
                pictures, sharpeners, fonts=fonts, seed=settings.seed, number=number
            )
            write_sample(sample, path)
    progress(len(paths), len(paths))


def _sample_facts(settings: FusionSettings, pictures: Sequence[Path]) -> dict[str, str]:
    """What samples are made of, beside their seed and number."""
    listed = hashlib.sha256()
    for path in pictures:
        listed.update(f"{path.relative_to(settings.data)} {path.stat().st_size}\n".encode())
    ids = [load_checkpoint(find_checkpoint(named)).model_id for named in settings.students]
    return {
        "pictures": listed.hexdigest(),
        "students": " ".join(ids),
        "fonts": str(settings.of_the_weights()["fonts"]),
    }


def _claim_samples(folder: Path, facts: dict[str, str]) -> None:
    """Says what the folder's samples are made of, and refuses samples of anything else.

    Raises:
        ValueError: there are such.
    """
    path = folder / _SAMPLE_FACTS
    if path.is_file():
        known = json.loads(path.read_text())
        others = [name for name, value in facts.items() if known.get(name) != value]
    else:
        others = list(facts) if any(folder.glob("*.npz")) else []
    if others:
        raise ValueError(
            f"{folder} holds samples of other {', '.join(others)}. Remove them, or name another "
            "--out."
        )
    write_bytes(path, json.dumps(facts, indent=1).encode())


def _joined(paths: Sequence[Path]) -> _Crops:
    """The crops of all samples, each read into its place."""
    names = [field.name for field in fields(_Crops) if field.name != "kinds"]
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    kinds = []
    for number, path in enumerate(paths):
        sample = read_sample(path)
        for name in names:
            one = getattr(sample, name)
            if not number:
                arrays[name] = np.empty((len(paths), *one.shape), one.dtype)
            arrays[name][number] = one
        kinds += [sample.kind] * len(sample.seen)
    return _Crops(
        **{name: array.reshape(-1, *array.shape[2:]) for name, array in arrays.items()},
        kinds=kinds,
    )


class _Run:
    """Network, averaged weights, optimiser and step."""

    def __init__(self, settings: FusionSettings) -> None:
        self._settings = settings
        self._told = settings.of_the_weights()
        self._device = choose_device(settings.device)
        self._precision = choose_precision(settings.precision, self._device)
        torch.manual_seed(settings.seed)
        self._network = FusionNetwork().to(self._device)
        if settings.init is not None:
            first = load_fusion(settings.init).network
            if first.config != self._network.config:
                raise ValueError(f"{settings.init} is of another shape: {first.config.to_json()}")
            self._network.load_state_dict(first.state_dict())
        use_channels_last(self._network)
        self._averaged = {
            name: tensor.detach().clone() for name, tensor in self._network.state_dict().items()
        }
        self._optimiser = torch.optim.AdamW(
            self._network.parameters(), lr=settings.rate, weight_decay=1e-4
        )
        self.step = 0
        self._path = settings.out / "state.pt"
        if self._path.is_file():
            self._resume()

    def train_step(self, crops: _Crops) -> None:
        """One step; the crops depend on the seed and the step alone."""
        rng = np.random.default_rng((self._settings.seed, self.step))
        drawn = rng.choice(len(crops), self._settings.batch, replace=False)
        clips, missing = _turned(*self._on_device(crops, np.sort(drawn)), rng)
        cuts = torch.from_numpy(rng.random(clips.seen.shape[:2]) < _CUT_SHARE).to(self._device)
        settings = self._settings
        for group in self._optimiser.param_groups:
            group["lr"] = scheduled_rate(
                self.step, rate=settings.rate, warmup=_WARMUP_STEPS, steps=settings.steps
            )
        fused = fused_clips(self._network, clips, precision=self._precision, cuts=cuts)
        gained = gained_db(fused, missing)
        rise = flicker_rise_db(fused, missing).clamp(min=0).mean()
        loss = (settings.harm * (-gained).clamp(min=0) - gained).mean() + settings.flicker * rise
        if not bool(torch.isfinite(loss)):
            raise DivergedError(
                f"step {self.step}: the loss is not finite. Lower the rate; the last saved state "
                f"is {self._path}."
            )
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimiser.step()
        keep = min(0.995, self.step / (self.step + 20))
        with torch.no_grad():
            for name, tensor in self._network.state_dict().items():
                self._averaged[name].lerp_(tensor, 1 - keep)
        self.step += 1

    def gains(self, crops: _Crops) -> list[FusionGain]:
        """Of the averaged weights."""
        network = self.averaged_network()
        gained = []
        for begin in range(0, len(crops), self._settings.batch):
            drawn = np.arange(begin, min(begin + self._settings.batch, len(crops)))
            clips, missing = self._on_device(crops, drawn)
            with torch.inference_mode():
                fused = fused_clips(network, clips, precision=self._precision)
            before, after = (
                psnr_db(added.flatten(0, 1)[:, None] / 255, missing.flatten(0, 1)[:, None] / 255)
                for added in (torch.zeros_like(fused), fused)
            )
            gained.append((after - before).cpu().numpy())
        every = np.concatenate(gained)
        kinds = np.repeat(crops.kinds, crops.seen.shape[1])
        return [
            FusionGain(
                str(kind),
                int((kinds == kind).sum()),
                float(every[kinds == kind].mean()),
                float(every[kinds == kind].min()),
                int((every[kinds == kind] < -HARM_DB).sum()),
            )
            for kind in np.unique(kinds)
        ]

    def averaged_network(self) -> FusionNetwork:
        """In evaluation mode, on the run's device."""
        network = FusionNetwork().to(self._device)
        network.load_state_dict(self._averaged)
        use_channels_last(network)
        return network.eval().requires_grad_(requires_grad=False)

    def save(self) -> None:
        """Writes all that is needed to go on.

        Raises:
            OSError: the disk is full or the folder cannot be written; the old state is kept.
        """
        state = {
            "settings": self._told,
            "step": self.step,
            "network": self._network.state_dict(),
            "averaged": self._averaged,
            "optimiser": self._optimiser.state_dict(),
        }
        save_state(self._path, state)

    def _resume(self) -> None:
        try:
            state = torch.load(self._path, map_location=self._device, weights_only=True)
            settings = state["settings"]
        except Exception as exc:  # damaged files make torch fail in an open set of ways
            raise StateDamagedError(
                f"{self._path} is damaged and cannot be read. Put a copy back, or delete it to "
                "start again; the samples beside it are used again."
            ) from exc
        if settings != self._told:
            changed = [k for k, value in self._told.items() if settings.get(k) != value]
            raise StateMismatchError(
                f"{self._path} was trained with other settings ({', '.join(changed)}). "
                "Use the same ones to go on, or another --out."
            )
        self._network.load_state_dict(state["network"])
        self._averaged = state["averaged"]
        self._optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        _log.info("goes on from step %d", self.step)

    def _on_device(self, crops: _Crops, drawn: np.ndarray[Any, Any]) -> tuple[Clips, Tensor]:
        sharpened, seen, missing, motion = (
            torch.from_numpy(array[drawn].astype(np.float32)).to(self._device)
            for array in (crops.sharpened, crops.seen, crops.missing, crops.motion)
        )
        return Clips(sharpened / LUMA_STEPS, seen, motion), missing


def _turned(clips: Clips, missing: Tensor, rng: np.random.Generator) -> tuple[Clips, Tensor]:
    """All crops flipped and turned alike."""
    planes = [clips.sharpened, clips.seen, missing]
    motion = clips.motion
    for axis, flipped in ((-1, (-1.0, 1.0)), (-2, (1.0, -1.0))):
        if rng.random() < 0.5:
            planes = [plane.flip(axis) for plane in planes]
            motion = motion.flip(axis) * motion.new_tensor(flipped).view(2, 1, 1)
    if rng.random() < 0.5:
        planes = [plane.mT for plane in planes]
        motion = motion.mT.flip(-3)
    sharpened, seen, missing = (plane.contiguous() for plane in planes)
    return Clips(sharpened, seen, motion.contiguous()), missing
