"""NAFNet: the published names, sizes and arithmetic; features; local statistics."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from service.model.estimator import DESCRIPTION_LENGTH
from service.model.student import SIZES, build_student
from trainer.growth import grown
from trainer.nafnet import TEACHERS, NAFNet, NAFNetConfig, with_local_statistics

SMALL = NAFNetConfig(4, (1, 2), 1, (2, 1))
TOLD = replace(SMALL, kinds=10)


def network(config: NAFNetConfig = SMALL, *, dtype: torch.dtype = torch.float32) -> NAFNet:
    """Random weights everywhere, the zero-initialised scales included."""
    generator = torch.Generator().manual_seed(0)
    net = NAFNet(config).to(dtype).eval().requires_grad_(requires_grad=False)
    for parameter in net.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=dtype))
    return net


def pixels(height: int = 16, width: int = 24, *, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 3, height, width, generator=generator, dtype=dtype)


def block_shapes(prefix: str, channels: int) -> dict[str, tuple[int, ...]]:
    """What a NAFBlock of the published code holds."""
    c, wide = channels, 2 * channels
    shapes: dict[str, tuple[int, ...]] = {"beta": (1, c, 1, 1), "gamma": (1, c, 1, 1)}
    for norm in ("norm1", "norm2"):
        shapes |= {f"{norm}.weight": (c,), f"{norm}.bias": (c,)}
    convolutions = {
        "conv1": (wide, c, 1, 1),
        "conv2": (wide, 1, 3, 3),
        "conv3": (c, c, 1, 1),
        "conv4": (wide, c, 1, 1),
        "conv5": (c, c, 1, 1),
        "sca.1": (c, c, 1, 1),
    }
    for name, shape in convolutions.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}


def test_names_and_shapes_are_those_of_the_published_files() -> None:
    expected: dict[str, tuple[int, ...]] = {
        "intro.weight": (4, 3, 3, 3),
        "intro.bias": (4,),
        "ending.weight": (3, 4, 3, 3),
        "ending.bias": (3,),
        "downs.0.weight": (8, 4, 2, 2),
        "downs.0.bias": (8,),
        "downs.1.weight": (16, 8, 2, 2),
        "downs.1.bias": (16,),
        "ups.0.0.weight": (32, 16, 1, 1),
        "ups.1.0.weight": (16, 8, 1, 1),
    }
    blocks = {
        "encoders.0.0": 4,
        "encoders.1.0": 8,
        "encoders.1.1": 8,
        "middle_blks.0": 16,
        "decoders.0.0": 8,
        "decoders.0.1": 8,
        "decoders.1.0": 4,
    }
    for prefix, channels in blocks.items():
        expected |= block_shapes(prefix, channels)
    actual = {name: tuple(tensor.shape) for name, tensor in NAFNet(SMALL).state_dict().items()}
    assert actual == expected


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("gopro-width32", 17.1),
        ("gopro-width64", 67.9),
        ("reds-width64", 67.9),
        ("sidd-width32", 29.2),
        ("sidd-width64", 116.0),
    ],
)
def test_parameters_are_as_many_as_published(name: str, millions: float) -> None:
    with torch.device("meta"):
        net = NAFNet(TEACHERS[name])
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 1) == millions


def test_our_own_teacher_fits_20_megabytes_in_fp32() -> None:
    with torch.device("meta"):
        net = NAFNet(TEACHERS["width16"])
    assert 4e6 < sum(p.numel() for p in net.parameters()) < 20e6 / 4


def reference(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The paper's figures 2 to 4 written out for `SMALL`, without modules."""

    def convolve(name: str, x: Tensor, **options: int) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)

    def normalise(name: str, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = ((x - mean) ** 2).mean(1, keepdim=True)
        scale, shift = (state[f"{name}.{part}"].view(1, -1, 1, 1) for part in ("weight", "bias"))
        return (x - mean) / (variance + 1e-6).sqrt() * scale + shift

    def gate(x: Tensor) -> Tensor:
        half = x.shape[1] // 2
        return x[:, :half] * x[:, half:]

    def block(name: str, x: Tensor) -> Tensor:
        wide = convolve(f"{name}.conv1", normalise(f"{name}.norm1", x))
        gated = gate(convolve(f"{name}.conv2", wide, padding=1, groups=wide.shape[1]))
        attention = convolve(f"{name}.sca.1", gated.mean((2, 3), keepdim=True))
        x = x + convolve(f"{name}.conv3", gated * attention) * state[f"{name}.beta"]
        gated = gate(convolve(f"{name}.conv4", normalise(f"{name}.norm2", x)))
        return x + convolve(f"{name}.conv5", gated) * state[f"{name}.gamma"]

    def up(name: str, x: Tensor) -> Tensor:
        return F.pixel_shuffle(convolve(f"{name}.0", x), 2)

    fine = block("encoders.0.0", convolve("intro", x, padding=1))
    coarse = block("encoders.1.1", block("encoders.1.0", convolve("downs.0", fine, stride=2)))
    y = block("middle_blks.0", convolve("downs.1", coarse, stride=2))
    y = block("decoders.0.1", block("decoders.0.0", up("ups.0", y) + coarse))
    y = block("decoders.1.0", up("ups.1", y) + fine)
    return convolve("ending", y, padding=1) + x


def test_the_network_computes_the_papers_formula() -> None:
    net, x = network(dtype=torch.float64), pixels(dtype=torch.float64)
    torch.testing.assert_close(net(x), reference(net.state_dict(), x), atol=1e-9, rtol=1e-9)


def test_a_fresh_network_passes_its_blocks_by() -> None:
    torch.manual_seed(0)
    net, x = NAFNet(NAFNetConfig(4, (1,), 1, (1,))), pixels()
    assert torch.equal(net(x), x)
    torch.nn.init.normal_(net.ending.weight)
    fine = net.intro(x)
    up = net.ups[0](net.downs[0](fine))
    torch.testing.assert_close(net(x), x + net.ending(up + fine))


@pytest.mark.parametrize("size", [(15, 16), (16, 18), (1, 1)])
def test_a_size_that_is_no_multiple_is_refused_with_the_multiple(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 4 px"):
        network()(pixels(*size))


def test_every_named_layer_gives_its_features_and_leaves_the_output_alone() -> None:
    net, x = network(), pixels(16, 24)
    layers = SMALL.feature_channels
    output, features = net.forward_with_features(x, layers)
    assert torch.equal(output, net(x))
    assert {name: tuple(layer.shape) for name, layer in features.items()} == {
        "encoders.0": (2, 4, 16, 24),
        "encoders.1": (2, 8, 8, 12),
        "middle_blks": (2, 16, 4, 6),
        "decoders.0": (2, 8, 8, 12),
        "decoders.1": (2, 4, 16, 24),
    }
    assert {name: layer.shape[1] for name, layer in features.items()} == layers
    assert torch.equal(output, x + net.ending(features["decoders.1"]))


def test_only_the_layers_that_are_asked_for_are_kept() -> None:
    _, features = network().forward_with_features(pixels(), ["middle_blks"])
    assert features.keys() == {"middle_blks"}


def test_an_unknown_layer_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"no layer encoders\.2\. It has encoders\.0, encoders\.1"):
        network().forward_with_features(pixels(), ["encoders.2", "middle_blks"])


@pytest.mark.parametrize("config", [SMALL, TOLD])
def test_every_weight_is_trained(config: NAFNetConfig) -> None:
    net = network(config).requires_grad_()
    net(pixels()).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_half_precision_stays_near_fp32() -> None:
    net, x = NAFNet(TEACHERS["tiny"]), pixels()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = net(x)
    with torch.no_grad():
        torch.testing.assert_close(output, net(x), atol=2e-2, rtol=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((1, (1,), 1, (1,)), "width must be 2 to 256, not 1"),
        ((8, (), 1, ()), "number of levels must be 1 to 6, not 0"),
        ((8, (1, 0), 1, (1, 1)), "encoder_blocks of a level must be 1 to 64, not 0"),
        ((8, (1,), 65, (1,)), "middle_blocks must be 1 to 64, not 65"),
        ((8, (1, 1), 1, (1,)), "as many levels as encoder_blocks, 2, not 1"),
        ((8, (1,), 1, (1,), 1, 65), "kinds must be 0 to 64, not 65"),
    ],
)
def test_a_shape_out_of_range_is_refused(values: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NAFNetConfig(*values)


@pytest.mark.parametrize("name", TEACHERS)
def test_a_shape_survives_json(name: str) -> None:
    config = TEACHERS[name]
    assert NAFNetConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert config.size_multiple == config.unshuffle * 2 ** len(config.encoder_blocks)


def test_squares_of_pixels_as_positions_keep_shape_and_identity() -> None:
    config = replace(SMALL, unshuffle=2)
    net, x = network(config), pixels(16, 24)
    assert net(x).shape == x.shape
    _, features = net.forward_with_features(x, ("encoders.0", "middle_blks"))
    assert features["encoders.0"].shape == (2, 4, 8, 12)
    assert features["middle_blks"].shape == (2, 16, 2, 3)
    for parameter in net.ending.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(net(x), x)
    with pytest.raises(ValueError, match="multiples of 8 px, not 12x24"):
        net(pixels(12, 24))


def test_a_file_from_before_unshuffle_and_kinds_is_read_as_the_published_network() -> None:
    values = SMALL.to_json()
    del values["unshuffle"], values["kinds"]
    assert NAFNetConfig.from_json(values) == SMALL


def test_unshuffle_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="unshuffle must be 1, 2 or 4, not 3"):
        replace(SMALL, unshuffle=3)


def test_kinds_add_an_estimator_and_a_scaling_of_each_block_to_the_published_names() -> None:
    told = {name: tuple(tensor.shape) for name, tensor in NAFNet(TOLD).state_dict().items()}
    published = {name: tuple(tensor.shape) for name, tensor in NAFNet(SMALL).state_dict().items()}
    assert told.items() >= published.items()
    added = told.keys() - published.keys()
    assert {name.split(".")[0] for name in added if "modulation" not in name} == {"diagnosis"}
    blocks = {name.split(".norm1")[0] for name in published if "norm1.weight" in name}
    scalings = {name.split(".modulation")[0] for name in added if "modulation" in name}
    assert scalings == blocks
    assert told["middle_blks.0.modulation.linear.weight"] == (32, DESCRIPTION_LENGTH + 10)


def test_a_fresh_scaling_changes_nothing_and_a_trained_one_tells_pictures_apart() -> None:
    plain, x = network(), pixels(64, 64)
    told = NAFNet(TOLD).eval().requires_grad_(requires_grad=False)
    told.load_state_dict(plain.state_dict(), strict=False)
    torch.testing.assert_close(told(x), plain(x))
    linear = told.encoders[0][0].modulation.linear  # type: ignore[index]
    torch.nn.init.normal_(linear.weight)
    changes = (told(x) - plain(x)).abs().mean((1, 2, 3))
    assert (changes > 1e-3).all()
    # Each picture goes by its own diagnosis, whatever stands beside it.
    torch.testing.assert_close(told(x)[:1], told(x[:1]))


def test_the_answer_has_the_shares_of_the_kinds() -> None:
    net, x = network(TOLD), pixels(64, 64)
    answer = net.answer(x)
    assert torch.equal(answer.sharpened, net(x))
    assert net.diagnosis is not None
    diagnosis, shares = net.diagnosis(x)
    assert torch.equal(answer.shares, shares)
    assert diagnosis.shape == (2, DESCRIPTION_LENGTH + 10)
    torch.testing.assert_close(diagnosis[:, DESCRIPTION_LENGTH:], shares.softmax(1))
    assert network().answer(x).shares.numel() == 0


def test_a_student_s_estimator_can_be_taken() -> None:
    torch.manual_seed(0)
    student = build_student(replace(SIZES["nano"], experts=10)).eval()
    net, x = network(TOLD), pixels(64, 64)
    net.take_estimator(student)
    assert torch.equal(net.answer(x).shares, student.answer(x).shares)
    net.take_estimator(grown(student, replace(student.config, experts=30)))
    torch.testing.assert_close(net.answer(x).shares, student.answer(x).shares)
    with pytest.raises(ValueError, match="0 kinds cannot take the estimator of a student of 10"):
        network().take_estimator(student)


@pytest.mark.parametrize("unshuffle", [1, 2])
def test_local_statistics_change_nothing_where_the_window_covers_the_picture(
    unshuffle: int,
) -> None:
    net, x = network(replace(SMALL, unshuffle=unshuffle)), pixels(16, 24)
    local = with_local_statistics(net, window_px=24)
    assert torch.equal(local(x), net(x))
    assert local.state_dict().keys() == net.state_dict().keys()
    assert not torch.equal(with_local_statistics(net, window_px=20)(x), net(x))


def test_the_local_mean_is_that_of_the_window_moved_inside_the_picture() -> None:
    local = with_local_statistics(network(dtype=torch.float64), window_px=8)
    generator = torch.Generator().manual_seed(0)
    # The window of the first level down is 4: it covers the height of 3, not the width of 11.
    x = torch.rand(1, 2, 3, 11, generator=generator, dtype=torch.float64)
    means = local.encoders[1][0].sca[0](x)  # type: ignore[index]
    assert means.shape == x.shape
    for column in range(11):
        # 8 full windows stand over 11 columns: 1 repetition on the left, 2 on the right.
        start = min(max(column - 1, 0), 7)
        expected = x[..., start : start + 4].mean((2, 3))
        for row in range(3):
            torch.testing.assert_close(means[..., row, column], expected, atol=1e-6, rtol=0)


def test_local_statistics_of_a_part_do_not_depend_on_what_is_far_away() -> None:
    net = network(NAFNetConfig(4, (1,), 1, (1,)))
    local = with_local_statistics(net, window_px=32)
    x = pixels(32, 256)
    changed = x.clone()
    changed[..., 200:] = 0
    torch.testing.assert_close(local(x)[..., :64], local(changed)[..., :64], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(net(x)[..., :64], net(changed)[..., :64], atol=1e-3)


def test_a_window_below_one_position_of_the_lowest_level_is_refused() -> None:
    with pytest.raises(ValueError, match="window_px must be at least 4, not 3"):
        with_local_statistics(network(), window_px=3)
