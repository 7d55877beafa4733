"""The student: its start as the identity, its experts, its colours, its norms frozen and folded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from service.model.estimator import DESCRIPTION_LENGTH, luma_of
from service.model.student import (
    SIZES,
    Attention,
    Colour,
    StudentConfig,
    StudentNetEnhanced,
    build_student,
    use_channels_last,
)

SMALL = StudentConfig(channels=8, unshuffle=2, blocks=2, experts=3)
EACH_COLOUR = pytest.mark.parametrize("colour", ["rgb", "luma"])


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


@EACH_COLOUR
def test_an_answer_holds_what_forward_returns_and_what_it_was_made_from(colour: Colour) -> None:
    network = _trained_a_little(colour=colour).eval()
    with torch.inference_mode():
        answer = network.answer(pixels())
        assert torch.equal(answer.sharpened, network(pixels()))
        assert torch.equal(answer.shares, network.router(network.describe(pixels())))
    assert answer.features.shape == (2, 8, 16, 24)
    assert answer.shares.shape == (2, 3)


def test_a_picture_is_described_whatever_its_size() -> None:
    network = build_student(SMALL).eval()
    with torch.inference_mode():
        for height, width in ((2, 4), (64, 64), (90, 600)):
            described = network.describe(pixels(height, width))
            assert described.shape == (2, DESCRIPTION_LENGTH)


@EACH_COLOUR
def test_one_pictures_kernels_do_not_depend_on_its_neighbours_in_the_batch(colour: Colour) -> None:
    network = _trained_a_little(colour=colour).eval()
    noise, flat = pixels(count=1), torch.full((1, 3, 32, 48), 0.4)
    with torch.inference_mode():
        shares = torch.softmax(network.answer(torch.cat((noise, flat))).shares, dim=1)
        both = network(torch.cat((noise, flat)))
        torch.testing.assert_close(both[:1], network(noise))
        torch.testing.assert_close(both[1:], network(flat))
    assert (shares[0] - shares[1]).abs().max() > 0.05, "the experts' shares hardly differ"


def test_mixing_is_a_weighted_sum_of_the_experts_kernels() -> None:
    network = _trained_a_little().eval()
    description = torch.randn(1, DESCRIPTION_LENGTH, generator=torch.Generator().manual_seed(5))
    x = torch.randn(1, 8, 6, 7, generator=torch.Generator().manual_seed(6))
    with torch.inference_mode():
        mixture = torch.softmax(network.router(description), dim=1)
        kernel = sum(
            share * kernel for share, kernel in zip(mixture[0], network.tail.kernel, strict=True)
        )
        expected = torch.nn.functional.conv2d(x, kernel, network.tail.bias, padding=1)
        torch.testing.assert_close(network.tail(x, mixture), expected)


def test_fresh_experts_are_alike_so_that_their_mixture_is_each_of_them() -> None:
    torch.manual_seed(0)
    network = build_student(SMALL)
    for name, parameter in network.named_parameters():
        if parameter.dim() == 5:
            assert parameter.shape[0] == 3, name
            assert (parameter == parameter[:1]).all(), name


def test_a_luma_student_sees_luma_alone_and_adds_the_same_to_red_green_and_blue() -> None:
    network = _trained_a_little(colour="luma").eval()
    grey = luma_of(pixels()).expand(-1, 3, -1, -1)
    with torch.inference_mode():
        added = network(pixels()) - pixels()
        added_to_grey = network(grey) - grey
    assert added.abs().max() > 0.01
    torch.testing.assert_close(added[:, :1].expand(-1, 3, -1, -1), added, atol=1e-6, rtol=0)
    torch.testing.assert_close(added_to_grey, added, atol=1e-5, rtol=0)


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
            network.head(torch.nn.functional.pixel_unshuffle(pixels(), 2)),
            first.kernel[0],  # as all of them: nothing was trained
            padding=1,
        )
    variance, mean = torch.var_mean(inner, dim=(2, 3), correction=0)
    torch.testing.assert_close(first.running_mean, mean.mean(0), atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(first.running_variance, variance.mean(0), atol=1e-2, rtol=1e-2)


@EACH_COLOUR
def test_frozen_and_folded_students_agree(colour: Colour) -> None:
    network = _frozen(colour=colour)
    assert network.is_frozen
    with torch.inference_mode():
        torch.testing.assert_close(
            network(pixels()), network.folded()(pixels()), atol=1e-5, rtol=1e-5
        )


@EACH_COLOUR
def test_a_student_in_levels_corrects_levels_as_the_trained_one_corrects_pixels(
    colour: Colour,
) -> None:
    network = _frozen(colour=colour).folded()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    in_levels = network.in_levels()
    with torch.inference_mode():
        description = network.describe(pixels())
        trained = network.correction(network.seen(pixels()), description)
        levels = in_levels.correction(in_levels.seen(255 * pixels()), description)
    assert trained.shape == (2, network.config.planes, 32, 48)
    torch.testing.assert_close(levels, 255 * trained, atol=1e-3, rtol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@EACH_COLOUR
def test_a_frozen_student_sees_as_far_as_it_says_and_no_farther(colour: Colour) -> None:
    network = _frozen(colour=colour)
    radius_px = network.config.receptive_radius_px
    whole = pixels(height=64, width=2 * radius_px + 20)
    changed = whole.clone()
    begin = radius_px + 10
    changed[:, :, :, begin:] = 0
    with torch.inference_mode():
        description = network.describe(whole)
        one, other = (
            network.correction(network.seen(picture), description) for picture in (whole, changed)
        )
    is_same = (one == other).all(dim=0).all(dim=0).all(dim=0)
    assert is_same[: begin - radius_px].all()
    assert not is_same[begin - 4]


@EACH_COLOUR
def test_a_part_is_corrected_as_in_the_whole_by_the_description_of_the_whole(
    colour: Colour,
) -> None:
    network = _frozen(colour=colour)
    radius_px, whole = network.config.receptive_radius_px, pixels(height=128, width=128)
    with torch.inference_mode():
        description = network.describe(whole)
        seen = network.seen(whole)
        of_whole = network.correction(seen, description)[..., radius_px:-radius_px, radius_px:64]
        of_part = network.correction(seen[..., : 64 + radius_px], description)
    torch.testing.assert_close(of_part[..., radius_px:-radius_px, radius_px:64], of_whole)


def test_folding_an_unfrozen_student_changes_nothing() -> None:
    network = _trained_a_little().eval()
    with torch.inference_mode():
        assert torch.equal(network(pixels()), network.folded()(pixels()))


def test_frozen_fp16_agrees_with_fp32() -> None:
    folded = _frozen().folded()
    with torch.inference_mode():
        description = folded.describe(pixels())
        full = folded.correction(pixels(), description)
        half = folded.half().correction(pixels().half(), description.half()).float()
    torch.testing.assert_close(half, full, atol=2e-3, rtol=2e-2)


def test_channels_last_is_for_plain_kernels_and_changes_no_number() -> None:
    network = _frozen().folded()
    with torch.inference_mode():
        before = network(pixels())
        use_channels_last(network)
        torch.testing.assert_close(network(pixels()), before)
    assert network.head.weight.is_contiguous(memory_format=torch.channels_last)
    assert network.tail.kernel.is_contiguous()


@EACH_COLOUR
@pytest.mark.parametrize("attention", ["channel", "channel+spatial"])
def test_every_parameter_gets_a_gradient(colour: Colour, attention: Attention) -> None:
    network = _trained_a_little(colour=colour, attention=attention).train()
    network(pixels()).square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 3}, "channels must be 4 to 256, not 3"),
        ({"unshuffle": 9}, "unshuffle must be 1 to 8, not 9"),
        ({"blocks": 0}, "blocks must be 1 to 64, not 0"),
        ({"experts": 0}, "experts must be 1 to 64, not 0"),
        ({"experts": 65}, "experts must be 1 to 64, not 65"),
        ({"reduction": 9}, "reduction must be 1 to 8, not 9"),
        ({"negative_slope": 2.0}, "negative_slope must be 0.0 to 1.0, not 2.0"),
        ({"normalisation": "batch"}, "normalisation must be 'instance' or 'frozen', not 'batch'"),
        ({"colour": "yuv"}, "colour must be 'rgb' or 'luma', not 'yuv'"),
        ({"attention": "none"}, r"attention must be 'channel' or 'channel\+spatial', not 'none'"),
    ],
)
def test_a_config_out_of_range_is_refused_with_the_range(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)  # type: ignore[arg-type]


def test_a_config_comes_back_from_its_json() -> None:
    config = SIZES["nano"]
    assert StudentConfig(**config.to_json()) == config  # type: ignore[arg-type]


def _trained_a_little(
    *, colour: Colour = "rgb", attention: Attention = "channel+spatial"
) -> StudentNetEnhanced:
    torch.manual_seed(3)
    network = build_student(replace(SMALL, colour=colour, attention=attention)).train()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        for _ in range(50):
            network(pixels())
    return network


def _frozen(*, colour: Colour = "rgb") -> StudentNetEnhanced:
    network = _trained_a_little(colour=colour)
    network.freeze_normalisation()
    return network.eval()
