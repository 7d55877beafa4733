"""The training loop: exact resume, honest stops, and a loss that falls."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from service.model.checkpoint import load_checkpoint
from service.model.student import SIZES, StudentConfig
from trainer import distillation, losses
from trainer.config import DistillConfig
from trainer.data import CropDataset, PictureSet
from trainer.distillation import (
    DivergedError,
    RunOptions,
    StateMismatchError,
    distill,
    learning_rate,
)

CONFIG = DistillConfig(
    size="nano", steps=8, batch=2, crop=64, warmup=2, freeze_norm_at=0.6, precision="fp32"
)


def options(output: Path, **changes: Any) -> RunOptions:
    defaults: dict[str, Any] = {"device": "cpu", "workers": 0, "log_every": 2}
    return RunOptions(output=output, **(defaults | changes))


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).network.state_dict()


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Lets the time run out once so many steps are done."""
    real = distillation._Run.train_step
    elapsed = {"s": 0.0}

    def train_step(run: Any, *batch: torch.Tensor) -> Any:
        result = real(run, *batch)
        if run.step == steps:
            elapsed["s"] = 3600
        return result

    monkeypatch.setattr(distillation._Run, "train_step", train_step)
    monkeypatch.setattr("trainer.distillation._now_s", lambda: elapsed["s"])


@pytest.mark.parametrize("stopped_at", [3, 6])
def test_a_resumed_run_ends_with_the_bits_of_an_unbroken_one(
    pictures: PictureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    unbroken = distill(pictures, CONFIG, options(tmp_path / "unbroken"))
    with monkeypatch.context() as patch:
        stop_after(patch, stopped_at)
        partial = distill(pictures, CONFIG, options(tmp_path / "broken", max_minutes=1))
    assert load_checkpoint(partial).facts.training_steps == stopped_at
    resumed = distill(pictures, CONFIG, options(tmp_path / "broken"))
    assert load_checkpoint(resumed).facts.training_steps == CONFIG.steps
    expected = weights_of(unbroken)
    for name, tensor in weights_of(resumed).items():
        assert torch.equal(tensor, expected[name]), name


def test_a_kill_loses_no_more_than_the_steps_since_the_last_saved_state(
    pictures: PictureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = distill(pictures, CONFIG, options(tmp_path / "unbroken"))
    real = distillation._Run.train_step

    def killed(run: Any, *batch: torch.Tensor) -> Any:
        if run.step == 5:
            raise KeyboardInterrupt
        return real(run, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(distillation._Run, "train_step", killed)
        with pytest.raises(KeyboardInterrupt):
            distill(pictures, CONFIG, options(tmp_path / "killed", save_every=4))
    resumed = distill(pictures, CONFIG, options(tmp_path / "killed"))
    expected = weights_of(unbroken)
    for name, tensor in weights_of(resumed).items():
        assert torch.equal(tensor, expected[name]), name


def test_the_exported_student_is_frozen_and_tells_its_training(
    pictures: PictureSet, tmp_path: Path
) -> None:
    facts = load_checkpoint(distill(pictures, CONFIG, options(tmp_path))).facts
    assert facts.normalisation == "frozen"
    assert facts.name == "nano"
    assert facts.training_config["rate"] == CONFIG.rate
    assert facts.data_manifest_hash == pictures.manifest_hash


def test_statistics_are_frozen_at_the_announced_step(pictures: PictureSet, tmp_path: Path) -> None:
    never = replace(CONFIG, freeze_norm_at=1.0, steps=3)
    path = distill(pictures, never, options(tmp_path / "a"))
    assert load_checkpoint(path).facts.normalisation == "instance"
    run = distillation._Run.begin(pictures, CONFIG, options(tmp_path / "b"), None)
    run.step = 4
    assert not run.is_frozen
    run.step = 5
    assert run.is_frozen


def test_a_run_starts_from_another_ones_weights(pictures: PictureSet, tmp_path: Path) -> None:
    first = distill(pictures, CONFIG, options(tmp_path / "first"))
    init = load_checkpoint(first)
    second = replace(CONFIG, rate=1e-9, weight_decay=0, ema=0)
    path = distill(pictures, second, options(tmp_path / "second"), init=init)
    assert load_checkpoint(path).facts.training_config["init"] == init.model_id
    for name, tensor in weights_of(path).items():
        torch.testing.assert_close(tensor, weights_of(first)[name], atol=1e-6, rtol=0)


def test_weights_of_another_size_are_refused(pictures: PictureSet, tmp_path: Path) -> None:
    init = load_checkpoint(distill(pictures, CONFIG, options(tmp_path / "first")))
    with pytest.raises(ValueError, match="is not of size small"):
        distill(pictures, replace(CONFIG, size="small"), options(tmp_path / "x"), init=init)


def test_other_settings_do_not_take_over_a_run(pictures: PictureSet, tmp_path: Path) -> None:
    distill(pictures, CONFIG, options(tmp_path))
    with pytest.raises(StateMismatchError, match=r"other settings \(rate\)"):
        distill(pictures, replace(CONFIG, rate=1e-4), options(tmp_path))


def test_other_pictures_do_not_take_over_a_run(
    pictures: PictureSet, tmp_path: Path, samples: Path
) -> None:
    distill(pictures, CONFIG, options(tmp_path / "run"))
    (tmp_path / "data").mkdir()
    shutil.copy(samples / "museum.jpg", tmp_path / "data")
    others = PictureSet.open(tmp_path / "data", smallest_px=64, cache_bytes=0)
    with pytest.raises(StateMismatchError, match="other pictures"):
        distill(others, CONFIG, options(tmp_path / "run"))


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_term(
    pictures: PictureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        losses.TERMS,
        "ssim",
        lambda sharpened, _: sharpened.mean(dim=(1, 2, 3)) * math.nan,
    )
    with pytest.raises(DivergedError, match="step 0: ssim is not finite"):
        distill(pictures, CONFIG, options(tmp_path))


def test_the_log_has_loss_psnr_and_speed(pictures: PictureSet, tmp_path: Path) -> None:
    distill(pictures, CONFIG, options(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    for line in lines:
        assert line["loss"] == pytest.approx(line["l1"] + line["ssim"] + line["edge"])
        assert 10 < line["psnr_db"] <= 60
        assert line["images_per_s"] > 0


def test_training_on_a_batch_lowers_its_loss(pictures: PictureSet, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=200, rate=2e-3, warmup=5, batch=4)
    run = distillation._Run.begin(pictures, config, options(tmp_path), None)
    dataset = CropDataset(pictures, crop_px=64, seed=0, clean_share=0)
    degraded, clean = (
        torch.stack(crops) for crops in zip(*map(dataset.__getitem__, range(4)), strict=True)
    )
    losses = [sum(float(t) for t in run.train_step(degraded, clean)[0].values()) for _ in range(60)]
    assert min(losses[-10:]) < 0.95 * losses[0]


def test_the_rate_rises_then_falls_along_a_cosine() -> None:
    config = replace(CONFIG, steps=110, warmup=10, rate=1.0, last_rate=0.1)
    assert learning_rate(0, config) == pytest.approx(0.1)
    assert learning_rate(9, config) == pytest.approx(1.0)
    assert learning_rate(10, config) == pytest.approx(1.0)
    assert learning_rate(60, config) == pytest.approx(0.55)
    assert learning_rate(110, config) == pytest.approx(0.1)


def test_an_unknown_size_names_the_known_ones(pictures: PictureSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nano, small, base, reference"):
        distill(pictures, replace(CONFIG, size="huge"), options(tmp_path))


def test_the_default_size_is_small_with_sixteen_channels_at_half_resolution() -> None:
    assert SIZES[DistillConfig().size] == StudentConfig(channels=16, unshuffle=2)
