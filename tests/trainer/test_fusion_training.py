"""The training of the fusion network: its measure by hand, and a short run to a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.errors import ClearcallError
from service.model.fusion_file import bundled_fusion, load_fusion
from service.model.neighbours import NEIGHBOURS
from tests.service.pictures import sample
from tests.trainer.datasets import write_picture
from trainer.__main__ import main
from trainer.fusion_samples import LUMA_STEPS, FusionSample, read_sample, write_sample
from trainer.fusion_training import (
    FusionGain,
    FusionSettings,
    flicker_rise_db,
    gained_db,
    train_fusion,
)
from trainer.run import DivergedError, StateDamagedError, StateMismatchError


def write_samples(out: Path, count: int = 16) -> None:
    """Clips that stand still, with noise of 4 levels, another one in each frame."""
    rng = np.random.default_rng(0)
    for number in range(count):
        noise = np.rint(rng.normal(0, 4, (6, 4, 32, 32)))
        made = FusionSample(
            ((128 + noise) * LUMA_STEPS).astype(np.uint16),
            (128 + noise).astype(np.uint8),
            -noise.astype(np.float16),
            np.zeros((6, 4, len(NEIGHBOURS), 2, 16, 16), np.float16),
            "jpeg",
        )
        write_sample(made, out / "samples" / f"0-{number:05d}.npz")


@pytest.fixture
def settings(tmp_path: Path) -> FusionSettings:
    out = tmp_path / "run"
    write_samples(out)
    return FusionSettings(
        data=tmp_path, out=out, samples=16, steps=60, batch=8, threads=1, precision="fp32"
    )


def test_the_gain_by_hand() -> None:
    missing = torch.tensor([3.0, 3.0, 0.0]).view(3, 1, 1).expand(3, 4, 4)
    fused = torch.tensor([0.0, 2.0, 1.0]).view(3, 1, 1).expand(3, 4, 4)
    expected = [0.0, 10 * math.log10(9.1 / 1.1), 10 * math.log10(0.1 / 1.1)]
    torch.testing.assert_close(gained_db(fused, missing), torch.tensor(expected))


def test_flicker_by_hand() -> None:
    """The last two of the five frames have too little after them and do not count."""
    missing = torch.tensor([2.0, 0.0, 0.0, 9.0, -9.0]).view(1, 5, 1, 1).expand(1, 5, 4, 4)
    fused = torch.tensor([2.0, 0.0, 3.0, 9.0, -9.0]).view(1, 5, 1, 1).expand(1, 5, 4, 4)
    expected = [[10 * math.log10(0.1 / 4.1), 10 * math.log10(9.1 / 0.1)]]
    torch.testing.assert_close(flicker_rise_db(fused, missing), torch.tensor(expected))


def test_noise_that_is_another_one_in_each_neighbour_is_learned_away(
    settings: FusionSettings,
) -> None:
    told: list[tuple[int, Sequence[FusionGain]]] = []
    network, steps = train_fusion(settings, on_gains=lambda step, gains: told.append((step, gains)))
    assert steps == 60
    assert not network.training
    assert [step for step, _ in told] == [60]
    (gain,) = told[0][1]
    assert (gain.kind, gain.crops) == ("jpeg", 24)
    assert gain.mean_db > 1


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(
    settings: FusionSettings, tmp_path: Path
) -> None:
    unbroken, _ = train_fusion(settings)
    out = tmp_path / "broken"
    write_samples(out)
    broken = replace(settings, out=out, max_minutes=1e-9)
    _, steps = train_fusion(broken)
    assert steps == 0
    resumed, steps = train_fusion(replace(broken, max_minutes=0))
    assert steps == 60
    for name, tensor in unbroken.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, rtol=0, atol=0)
    done, _ = train_fusion(settings)  # nothing is left to do
    torch.testing.assert_close(done.state_dict()["last.bias"], unbroken.state_dict()["last.bias"])


def test_a_run_can_begin_with_other_weights(settings: FusionSettings) -> None:
    begun = replace(settings, init=bundled_fusion(), steps=1, rate=1e-9)
    network, _ = train_fusion(begun)
    bundled = load_fusion()
    assert begun.of_the_weights()["init"] == bundled.fusion_id
    for name, tensor in bundled.network.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], tensor, atol=1e-6, rtol=0)


def test_a_folder_with_another_run_is_refused(settings: FusionSettings) -> None:
    train_fusion(replace(settings, steps=1))
    with pytest.raises(StateMismatchError, match=r"other settings \(steps, harm\)"):
        train_fusion(replace(settings, harm=9.0))


def test_a_damaged_state_is_told_and_left(settings: FusionSettings) -> None:
    state = settings.out / "state.pt"
    state.write_bytes(b"nothing")
    with pytest.raises(StateDamagedError, match=r"state\.pt is damaged"):
        train_fusion(settings)
    assert state.read_bytes() == b"nothing"


def test_a_state_that_cannot_be_written_is_told_and_the_one_before_is_kept(
    settings: FusionSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(settings, max_minutes=1e-9)
    train_fusion(short)
    before = (settings.out / "state.pt").read_bytes()

    def full(*_: object) -> None:
        raise RuntimeError("unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"state\.pt cannot be written.*Make room and run again"):
        train_fusion(short)
    assert (settings.out / "state.pt").read_bytes() == before


def test_a_loss_that_is_not_finite_ends_the_run(settings: FusionSettings) -> None:
    for number in range(16):
        path = settings.out / "samples" / f"0-{number:05d}.npz"
        made = read_sample(path)
        made.missing[:] = np.nan
        write_sample(made, path)
    with pytest.raises(DivergedError, match="not finite"):
        train_fusion(settings)


def test_too_few_samples_are_refused(settings: FusionSettings) -> None:
    with pytest.raises(ValueError, match="at least 15"):
        train_fusion(replace(settings, samples=5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_minutes": math.nan}, "max_minutes must be a finite number, 0 or more, not nan"),
        ({"rate": math.inf}, "rate must be a finite number, 0 or more, not inf"),
        ({"steps": 0}, "steps must be a finite number, 1 or more, not 0"),
        ({"threads": -1}, "threads must be a finite number, 0 or more, not -1"),
    ],
)
def test_a_number_that_cannot_be_used_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        FusionSettings(data=tmp_path, out=tmp_path, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 71}, "batch must be at most 70"),
        ({"device": "cuda:99"}, "No CUDA GPU 99"),
        ({"precision": "int8"}, "precision must be one of auto, fp32, bf16"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_samples_are_made(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_picture(tmp_path / "hall.png", sample("museum")[:200, :200])
    asked: dict[str, Any] = {"samples": 15, "students": ("nano",), **change}
    with pytest.raises((ValueError, ClearcallError), match=message):
        train_fusion(FusionSettings(data=tmp_path, out=tmp_path / "run", **asked))
    assert not list((tmp_path / "run").rglob("*.npz"))


def test_the_command_makes_samples_and_a_file_that_is_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(tmp_path / "pictures" / "hall.png", sample("museum")[:200, :200])
    out = tmp_path / "run"
    command = ["fusion", "--data", str(tmp_path / "pictures"), "--out", str(out), "--samples", "15"]
    command += ["--steps", "2", "--batch", "2", "--students", "nano", "--threads", "1"]
    assert main(command) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == out / "fusion.safetensors"
    loaded = load_fusion(path)
    assert loaded.facts.training_steps == 2
    assert loaded.facts.training_config["students"] == "nano"
    assert sum(score.crops for score in loaded.facts.scores.values()) == 40
    assert len(list((out / "samples").glob("*.npz"))) == 15
    assert main([*command, "--seed", "1", "--students", "small"]) == 2
    assert "samples of other students" in " ".join(capsys.readouterr().err.split())


def test_time_that_is_up_before_the_samples_are_made_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(tmp_path / "pictures" / "hall.png", sample("museum")[:200, :200])
    command = ["fusion", "--data", str(tmp_path / "pictures"), "--out", str(tmp_path / "run")]
    assert main([*command, "--max-minutes", "1e-9", "--students", "nano"]) == 2
    assert "Run it again" in capsys.readouterr().err
