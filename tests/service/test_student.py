"""The student: shapes, its start as the identity, its normalisation frozen and folded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from service.model.student import SIZES, StudentConfig, StudentNetEnhanced, build_student

SMALL = StudentConfig(channels=8, unshuffle=2, blocks=2)


def pixels(height: int = 32, width: int = 48, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", SIZES)
def test_every_named_size_returns_the_shape_that_it_was_given(size: str) -> None:
    network = build_student(SIZES[size]).eval()
    with torch.inference_mode():
        assert network(pixels(count=1)).shape == (1, 3, 32, 48)


@pytest.mark.parametrize("size", SIZES)
def test_an_untrained_student_is_nearly_the_identity(size: str) -> None:
    torch.manual_seed(0)
    network = build_student(SIZES[size]).eval()
    with torch.inference_mode():
        assert (network(pixels()) - pixels()).abs().max() < 0.15


def test_every_size_has_six_residual_blocks() -> None:
    assert {config.blocks for config in SIZES.values()} == {6}


def test_features_are_those_that_the_output_is_made_from() -> None:
    network = build_student(SMALL).eval()
    with torch.inference_mode():
        sharpened, features = network.forward_with_features(pixels())
        assert features.shape == (2, 8, 16, 24)
        assert torch.equal(features, network.features(pixels()))
        assert torch.equal(sharpened, network(pixels()))


def test_instance_normalisation_takes_each_picture_by_itself() -> None:
    network = build_student(SMALL).train()
    both = network(pixels())
    first = network(pixels()[:1])
    torch.testing.assert_close(both[:1], first)


def test_training_mode_and_evaluation_mode_agree_under_instance_normalisation() -> None:
    network = build_student(SMALL)
    torch.testing.assert_close(network.train()(pixels()), network.eval()(pixels()))


def test_running_statistics_move_towards_the_pictures_statistics() -> None:
    network = build_student(replace(SMALL, blocks=1)).train()
    first: Any = network.blocks[0].first
    with torch.no_grad():
        for _ in range(400):
            network(pixels())
        inner = torch.nn.functional.conv2d(
            network.head(torch.nn.functional.pixel_unshuffle(pixels(), 2)), first.kernel, padding=1
        )
    variance, mean = torch.var_mean(inner, dim=(2, 3), correction=0)
    torch.testing.assert_close(first.running_mean, mean.mean(0), atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(first.running_variance, variance.mean(0), atol=1e-2, rtol=1e-2)


def test_frozen_and_folded_students_agree() -> None:
    network = _trained_a_little()
    network.freeze_normalisation()
    with torch.inference_mode():
        torch.testing.assert_close(
            network.eval()(pixels()), network.folded()(pixels()), atol=1e-5, rtol=1e-5
        )


def test_a_frozen_student_does_not_see_the_other_half_of_the_picture_in_its_blocks() -> None:
    network = _trained_a_little()
    network.freeze_normalisation()
    network.eval()
    whole = pixels(height=64, width=64)
    changed = whole.clone()
    changed[:, :, :, 48:] = 0
    with torch.inference_mode():
        same = network.features(whole)[..., :16] - network.features(changed)[..., :16]
    assert same.abs().max() == 0


def test_folding_an_unfrozen_student_changes_nothing() -> None:
    network = _trained_a_little().eval()
    with torch.inference_mode():
        assert torch.equal(network(pixels()), network.folded()(pixels()))


def test_frozen_fp16_agrees_with_fp32() -> None:
    network = _trained_a_little()
    network.freeze_normalisation()
    folded = network.eval().folded()
    with torch.inference_mode():
        full = folded.correction(pixels())
        half = folded.half().correction(pixels().half()).float()
    torch.testing.assert_close(half, full, atol=2e-3, rtol=2e-2)


def test_every_parameter_gets_a_gradient() -> None:
    network = _trained_a_little().train()
    network(pixels()).square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 3}, "channels must be 4 to 256, not 3"),
        ({"unshuffle": 9}, "unshuffle must be 1 to 8, not 9"),
        ({"blocks": 0}, "blocks must be 1 to 64, not 0"),
        ({"reduction": 9}, "reduction must be 1 to 8, not 9"),
        ({"negative_slope": 2.0}, "negative_slope must be 0.0 to 1.0, not 2.0"),
        ({"normalisation": "batch"}, "normalisation must be 'instance' or 'frozen', not 'batch'"),
    ],
)
def test_a_config_out_of_range_is_refused_with_the_range(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)  # type: ignore[arg-type]


def _trained_a_little() -> StudentNetEnhanced:
    torch.manual_seed(3)
    network = build_student(SMALL).train()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        for _ in range(50):
            network(pixels())
    return network
