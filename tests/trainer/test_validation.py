"""The quick measure during training: gains over the input, in batches."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from trainer.validation import Gains, ValidationSet

CPU = torch.device("cpu")


class Brighter(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return pixels + 0.1


@pytest.fixture(scope="module")
def validation(samples: Path) -> ValidationSet:
    return ValidationSet(samples, pictures=3, crop_px=64)


def test_a_network_that_changes_nothing_gains_nothing(validation: ValidationSet) -> None:
    gains = validation.gains(nn.Identity(), CPU, torch.float32)
    assert "webcam" in gains.psnr_db
    assert "untouched" not in gains.psnr_db
    assert set(gains.psnr_db.values()) == {0.0}
    assert gains.metric("psnr") == gains.metric("ssim") == 0
    assert gains.untouched_psnr_db == 60


def test_a_network_that_does_harm_is_seen(validation: ValidationSet) -> None:
    network = Brighter().train()
    gains = validation.gains(network, CPU, torch.float32)
    assert all(gain < 0 for gain in gains.psnr_db.values())
    assert 19 < gains.untouched_psnr_db < 22
    assert network.training


def test_the_metric_is_the_mean_over_the_protocols() -> None:
    gains = Gains({"a": 1.0, "b": 3.0}, {"a": 0.1, "b": 0.0}, 50.0)
    assert gains.metric("psnr") == 2.0
    assert gains.metric("ssim") == pytest.approx(0.05)


def test_small_and_broken_pictures_are_left_out(samples: Path, tmp_path: Path) -> None:
    shutil.copy(samples / "museum.jpg", tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    assert len(ValidationSet(tmp_path, pictures=5, crop_px=64)) == 1
    with pytest.raises(FileNotFoundError, match="at least 4000 px"):
        ValidationSet(tmp_path, pictures=5, crop_px=4000)
