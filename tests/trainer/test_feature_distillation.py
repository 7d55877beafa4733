"""Feature distillation: correlation by hand, resolutions brought together, adapters that learn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from service.model.student import StudentConfig, build_student
from trainer.feature_distillation import FeatureAdapters, correlation_distance
from trainer.nafnet import NAFNet, NAFNetConfig


def features(channels: int, height: int, width: int, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, channels, height, width, generator=generator)


def adapters_that_copy(channels: int, layer: str = "middle_blks") -> FeatureAdapters:
    """Each teacher channel is compared with the student's of the same number."""
    adapters = FeatureAdapters(channels, {layer: channels})
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.copy_(torch.eye(channels)[:, :, None, None])
    return adapters


def test_the_distance_is_one_minus_the_correlation_by_hand() -> None:
    first = torch.tensor([1.0, 2, 3, 4]).view(1, 1, 2, 2)
    second = torch.tensor([1.0, 3, 2, 4]).view(1, 1, 2, 2)
    # Covariance 4 / 4, both variances 5 / 4: r = 0.8.
    assert correlation_distance(first, second).tolist() == pytest.approx([0.2], abs=1e-4)
    assert correlation_distance(first, -second).tolist() == pytest.approx([1.8], abs=1e-4)


def test_the_distance_is_the_mean_over_channels_of_each_crop() -> None:
    first, second = features(3, 5, 7), features(3, 5, 7, seed=1)
    expected = torch.zeros(2, 3)
    for crop in range(2):
        for channel in range(3):
            planes = torch.stack((first[crop, channel].flatten(), second[crop, channel].flatten()))
            expected[crop, channel] = 1 - torch.corrcoef(planes)[0, 1]
    measured = correlation_distance(first, second)
    torch.testing.assert_close(measured, expected.mean(dim=1), atol=1e-4, rtol=0)


def test_scale_and_shift_of_a_channel_do_not_matter() -> None:
    first = features(3, 6, 6)
    moved = first * torch.tensor([0.5, 3, 100]).view(3, 1, 1) + torch.tensor([0, -7, 50]).view(
        3, 1, 1
    )
    torch.testing.assert_close(
        correlation_distance(first, moved), torch.zeros(2), atol=1e-4, rtol=0
    )


def test_flat_channels_are_harmless() -> None:
    flat, patterned = torch.full((2, 3, 4, 4), 5.0), features(3, 4, 4).requires_grad_()
    assert correlation_distance(flat, flat).tolist() == [0, 0]
    loss = correlation_distance(patterned, flat)
    torch.testing.assert_close(loss, torch.full((2,), 0.5), atol=1e-3, rtol=0)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert patterned.grad is not None
    assert patterned.grad.abs().max() < 1e-4


def test_the_distances_gradient_is_that_of_finite_differences() -> None:
    first, second = features(2, 3, 4).double(), features(2, 3, 4, seed=1).double()
    first.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: correlation_distance(x, second), (first,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_compared_in_fp32(dtype: torch.dtype) -> None:
    first, second = features(3, 6, 6).to(dtype), features(3, 6, 6, seed=1).to(dtype)
    measured = correlation_distance(first, second)
    assert measured.dtype == torch.float32
    assert torch.equal(measured, correlation_distance(first.float(), second.float()))


def test_equal_features_cost_nothing() -> None:
    student = features(4, 6, 8)
    loss = adapters_that_copy(4)(student, {"middle_blks": 7 * student + 1})
    assert loss.shape == (2,)
    torch.testing.assert_close(loss, torch.zeros(2), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("student_size", "teacher_size"),
    [((8, 12), (4, 6)), ((4, 6), (8, 12)), ((9, 6), (4, 6)), ((8, 3), (4, 6))],
)
def test_the_finer_side_is_averaged_to_the_coarser(
    student_size: tuple[int, int], teacher_size: tuple[int, int]
) -> None:
    student, teacher = features(3, *student_size), features(3, *teacher_size, seed=1)
    size = tuple(min(pair) for pair in zip(student_size, teacher_size, strict=True))
    expected = correlation_distance(
        *(F.interpolate(side, size, mode="area") for side in (student, teacher))
    )
    measured = adapters_that_copy(3)(student, {"middle_blks": teacher})
    torch.testing.assert_close(measured, expected, atol=1e-5, rtol=0)


def test_averaging_before_the_adapter_is_averaging_after_it() -> None:
    adapters = FeatureAdapters(3, {"middle_blks": 5})
    student, teacher = features(3, 8, 8), features(5, 2, 2, seed=1)
    fine = adapters.adapters["middle_blks"](student)
    expected = correlation_distance(F.avg_pool2d(fine, 4), teacher)
    torch.testing.assert_close(adapters(student, {"middle_blks": teacher}), expected)


def test_every_layer_counts_alike() -> None:
    torch.manual_seed(0)
    adapters = FeatureAdapters(3, {"encoders.0": 4, "middle_blks": 8})
    student = features(3, 8, 8)
    teacher = {"encoders.0": features(4, 16, 16, seed=1), "middle_blks": features(8, 4, 4, seed=2)}
    alone = []
    for layer, name in (("encoders.0", "encoders_0"), ("middle_blks", "middle_blks")):
        one = FeatureAdapters(3, {layer: teacher[layer].shape[1]})
        one.adapters[name].load_state_dict(adapters.adapters[name].state_dict())
        alone.append(one(student, teacher))
    torch.testing.assert_close(adapters(student, teacher), (alone[0] + alone[1]) / 2)
    loud = {**teacher, "middle_blks": 1000 * teacher["middle_blks"]}
    torch.testing.assert_close(
        adapters(student, loud), adapters(student, teacher), atol=1e-4, rtol=0
    )


def test_student_and_adapters_learn_and_the_teacher_does_not() -> None:
    adapters = FeatureAdapters(3, {"encoders.0": 4, "middle_blks": 8})
    student = features(3, 8, 8).requires_grad_()
    teacher = {
        "encoders.0": features(4, 8, 8, seed=1).requires_grad_(),
        "middle_blks": features(8, 4, 4, seed=2).requires_grad_(),
    }
    adapters(student, teacher).sum().backward()
    for name, parameter in adapters.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert all(layer.grad is None for layer in teacher.values())


def test_adapters_find_a_mixture_of_the_students_channels() -> None:
    torch.manual_seed(0)
    student = features(4, 8, 8)
    mixture = torch.randn(6, 4)
    teacher = {"middle_blks": torch.einsum("tc,nchw->nthw", mixture, student)}
    adapters = FeatureAdapters(4, {"middle_blks": 6})
    optimiser = torch.optim.Adam(adapters.parameters(), lr=0.05)
    first = adapters(student, teacher).mean().item()
    for _ in range(100):
        optimiser.zero_grad()
        loss = adapters(student, teacher).mean()
        loss.backward()
        optimiser.step()
    assert first > 0.3
    assert loss.item() < 0.01


def test_a_student_learns_from_a_teachers_layers_under_autocast() -> None:
    torch.manual_seed(0)
    teacher = NAFNet(NAFNetConfig(4, (1, 1), 1, (1, 1))).eval()
    student = build_student(StudentConfig(channels=8, unshuffle=2, blocks=1))
    layers = ("encoders.1", "middle_blks", "decoders.1")
    channels = {name: teacher.config.feature_channels[name] for name in layers}
    adapters = FeatureAdapters(8, channels)
    pixels = torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        _, hints = teacher.forward_with_features(pixels, layers)
    with torch.autocast("cpu", torch.bfloat16):
        loss = adapters(student.answer(pixels).features, hints)
    assert loss.dtype == torch.float32
    assert ((loss >= 0) & (loss <= 2)).all()
    loss.sum().backward()
    assert student.head.weight.grad is not None
    assert math.isfinite(float(student.head.weight.grad.sum()))
    assert student.head.weight.grad.abs().sum() > 0


def test_wrong_features_are_named() -> None:
    adapters = FeatureAdapters(3, {"encoders.0": 4})
    good = features(4, 8, 8)
    with pytest.raises(ValueError, match=r"lack encoders\.0; given were middle_blks"):
        adapters(features(3, 8, 8), {"middle_blks": good})
    with pytest.raises(ValueError, match=r"the student gave .*\(2, 5, 8, 8\), expected \(N, 3"):
        adapters(features(5, 8, 8), {"encoders.0": good})
    with pytest.raises(ValueError, match=r"the teacher's encoders\.0 gave .* expected \(N, 4"):
        adapters(features(3, 8, 8), {"encoders.0": features(3, 8, 8)})
    with pytest.raises(ValueError, match="at least one layer"):
        FeatureAdapters(3, {})
