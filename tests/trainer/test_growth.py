"""Growth: a larger student begins by computing what the smaller one does, and can learn more."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from service.model.student import SIZES, StudentConfig, StudentNetEnhanced, build_student
from tests.service.pictures import sample
from trainer.growth import can_grow, grown, resized_experts, restart_expert

SMALL = StudentConfig(channels=16, unshuffle=2, blocks=3, pooling="weighted")
NANO = StudentConfig(channels=8, unshuffle=4, blocks=2, colour="luma", attention="channel")
# Of the correction's largest value. Rounding; and the spatial attention's largest of more channels.
ROUNDING = 1e-5
WIDENING = 0.03
# Copies of experts that differ are mixed in other shares than these.
RESIZING = 0.1


def photograph() -> Tensor:
    """(1, 3, 96, 128) in [0, 1]."""
    image = torch.from_numpy(sample("museum")[:96, :128].copy())
    return image.permute(2, 0, 1)[None].float() / 255


@cache
def trained(config: StudentConfig) -> StudentNetEnhanced:
    """A student whose weights and statistics are far from their start; not to be changed."""
    torch.manual_seed(0)
    network = build_student(replace(config, normalisation="instance")).train()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
        for _ in range(40):
            network(photograph() + 0.01 * torch.randn(1, 3, 96, 128))
    if config.normalisation == "frozen":
        network.freeze_normalisation()
        network.config = config
    return network.eval()


@torch.no_grad()
def difference(source: StudentNetEnhanced, network: StudentNetEnhanced) -> float:
    """The largest from what the source computes, relative to its correction."""
    pixels = photograph()
    expected = source(pixels)
    changed = (expected - pixels).abs().max()
    assert changed > 0.1, "there is something to keep"
    return float((network.eval()(pixels) - expected).abs().max() / changed)


@pytest.mark.parametrize("normalisation", ["instance", "frozen"])
@pytest.mark.parametrize("config", [SMALL, NANO], ids=["rgb", "luma"])
@pytest.mark.parametrize(
    "more", [{"experts": 10}, {"blocks": 5}, {"experts": 10, "blocks": 5}, {}], ids=str
)
def test_more_experts_and_blocks_compute_what_the_source_does(
    more: dict[str, int], config: StudentConfig, normalisation: str
) -> None:
    source = trained(replace(config, normalisation=normalisation))  # type: ignore[arg-type]
    target = replace(config, **more)  # type: ignore[arg-type]
    network = grown(source, target)
    assert network.config == replace(target, normalisation=source.config.normalisation)
    assert difference(source, network) < ROUNDING


@pytest.mark.parametrize("normalisation", ["instance", "frozen"])
def test_more_channels_compute_nearly_what_the_source_does(normalisation: str) -> None:
    """As from a `small` student of one expert to a `base` one of six."""
    source = trained(replace(SMALL, normalisation=normalisation))  # type: ignore[arg-type]
    network = grown(source, replace(SMALL, channels=32, blocks=4, experts=6))
    assert difference(source, network) < WIDENING


def test_without_spatial_attention_more_channels_compute_what_the_source_does() -> None:
    source = trained(NANO)
    assert difference(source, grown(source, replace(NANO, channels=16, experts=10))) < ROUNDING


def test_experts_that_differ_keep_their_shares() -> None:
    source = trained(replace(SMALL, experts=4))
    shares = source.answer(photograph()).shares
    assert shares.std() > 0.01
    network = grown(source, replace(SMALL, experts=4, blocks=4))
    torch.testing.assert_close(network.answer(photograph()).shares, shares)
    assert difference(source, network) < ROUNDING


def test_more_experts_of_each_kind_compute_nearly_what_the_source_does() -> None:
    source = trained(replace(SMALL, experts=10))
    network = grown(source, replace(SMALL, experts=30))
    assert len(network.tail.kernel) == 30
    assert 0 < difference(source, network) < RESIZING
    assert difference(source, grown(network, source.config)) < ROUNDING


def test_copies_of_an_expert_differ_and_are_it_on_average() -> None:
    torch.manual_seed(3)
    old = torch.randn(10, 4, 5)
    new = resized_experts(old, 30, spread=0.1)
    torch.testing.assert_close(new.reshape(3, 10, 4, 5).mean(dim=0), old)
    assert float((new[:10] - new[10:20]).std()) == pytest.approx(0.1 * 2**0.5, rel=0.1)
    torch.testing.assert_close(resized_experts(new, 10, spread=0.1), old)
    assert torch.equal(new, resized_experts(old, 30, spread=0.1))
    assert torch.equal(resized_experts(old, 30, spread=0), old.repeat(3, 1, 1))


def test_the_source_is_not_changed() -> None:
    source = trained(SMALL)
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    network = grown(source, replace(SMALL, experts=2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_after_two_steps_every_new_weight_has_a_gradient() -> None:
    """Until the first ones, zeros hold back the gradients of what is behind them."""
    source = trained(SMALL)
    network = grown(source, replace(SMALL, channels=24, blocks=4, experts=2)).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    pixels = photograph()
    for _ in range(3):
        optimiser.zero_grad()
        answer = network.answer(pixels)
        wanted = pixels.roll(1, dims=3)
        loss = (answer.sharpened - wanted).square().mean() + answer.shares.square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    for name, parameter in network.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, name
        if name.endswith("kernel"):
            assert bool((gradient.flatten(3).abs().amax(dim=3) > 0).all()), name
        elif "attention.squeeze" in name or name.startswith("head"):
            assert bool((gradient.reshape(len(gradient), -1).abs().amax(dim=1) > 0).all()), name


@pytest.mark.parametrize(
    "target",
    [
        replace(SMALL, channels=8),
        replace(SMALL, blocks=2),
        replace(SMALL, unshuffle=4),
        replace(SMALL, colour="luma"),
        replace(SMALL, attention="channel"),
        replace(SMALL, reduction=2),
        replace(SMALL, pooling="mean"),
    ],
    ids=["narrower", "shallower", "unshuffle", "colour", "attention", "reduction", "pooling"],
)
def test_what_cannot_be_grown_is_refused(target: StudentConfig) -> None:
    assert not can_grow(SMALL, target)
    with pytest.raises(ValueError, match="cannot be grown from"):
        grown(build_student(SMALL), target)


def test_the_small_size_grows_into_the_base_one() -> None:
    assert can_grow(SIZES["small"], SIZES["base"])


def test_a_student_gets_weights_for_squares_and_keeps_all_that_it_had() -> None:
    source = build_student(replace(SMALL, pooling="mean", experts=10))
    network = grown(source, replace(SMALL, experts=10))
    old, new = source.state_dict(), network.state_dict()
    assert set(new) - set(old) == {"estimator.relevance.weight", "estimator.relevance.bias"}
    assert all(torch.equal(new[name], old[name]) for name in old)


def test_experts_are_neither_dropped_nor_split() -> None:
    for experts in (1, 3, 8):
        assert not can_grow(replace(SMALL, experts=4), replace(SMALL, experts=experts))
    for experts in (15, 30):
        assert not can_grow(replace(SMALL, experts=20), replace(SMALL, experts=experts))
    assert can_grow(replace(SMALL, experts=4), replace(SMALL, experts=4, normalisation="frozen"))


def test_an_expert_that_is_restarted_does_what_the_other_one_does() -> None:
    network = build_student(replace(SMALL, experts=3))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    before = copy.deepcopy(network)
    restart_expert(network, 2, like=0)
    for name, parameter in network.named_parameters():
        old = before.get_parameter(name)
        if name.endswith("kernel"):
            assert torch.equal(parameter[2], old[0])
            assert torch.equal(parameter[:2], old[:2])
        else:
            assert torch.equal(parameter, old)
