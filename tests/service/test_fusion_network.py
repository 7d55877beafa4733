"""The network that weighs neighbours."""

from __future__ import annotations

import pytest
import torch
from torch.nn import Conv2d, Linear

from service.model.fusion_network import FusionConfig, FusionNetwork
from service.model.neighbours import LARGEST_DIFFERENCE, NEIGHBOURS, PLANES


def test_a_fresh_network_takes_nothing_of_any_neighbour() -> None:
    weights = FusionNetwork()(255 * torch.rand(2, PLANES, 10, 14))
    assert weights.shape == (2, len(NEIGHBOURS), 10, 14)
    assert not weights.any()


def test_the_shape_is_what_the_config_says() -> None:
    network = FusionNetwork(FusionConfig(width=8, depth=2))
    widths = [layer.out_channels for layer in network.convolutions if isinstance(layer, Conv2d)]
    assert widths == [8, 8]
    assert FusionConfig(**network.config.to_json()) == network.config


def test_differences_beyond_the_largest_count_as_the_largest() -> None:
    torch.manual_seed(0)
    network = FusionNetwork(FusionConfig(width=8, depth=1))
    torch.nn.init.normal_(network.last.weight)
    planes = torch.zeros(1, PLANES, 8, 8)
    planes[:, 0] = 128
    planes[:, 2] = LARGEST_DIFFERENCE
    more = planes.clone()
    more[:, 2] = 2 * LARGEST_DIFFERENCE
    torch.testing.assert_close(network(more), network(planes))


def test_every_weight_gets_a_gradient() -> None:
    torch.manual_seed(0)
    network = FusionNetwork(FusionConfig(width=8, depth=2))
    for layer in (network.last, network.gains[-1]):
        assert isinstance(layer, Conv2d | Linear)
        torch.nn.init.normal_(layer.weight)
    network(8 * torch.randn(2, PLANES, 8, 8)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_odd_sides_are_refused() -> None:
    with pytest.raises(RuntimeError):
        FusionNetwork()(torch.zeros(1, PLANES, 9, 8))


def test_weights_are_cut_to_0_to_1_but_for_training() -> None:
    torch.manual_seed(0)
    network = FusionNetwork(FusionConfig(width=8, depth=1))
    torch.nn.init.normal_(network.last.weight, std=4)
    planes = 8 * torch.randn(1, PLANES, 16, 16)
    whole = network.train()(planes)
    assert whole.min() < 0
    assert whole.max() > 1
    torch.testing.assert_close(network.eval()(planes), whole.clamp(0, 1))
