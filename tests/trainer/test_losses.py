"""Loss terms: values by hand, gradients, and nothing computed for a weight of zero."""

from __future__ import annotations

import math

import pytest
import torch

from trainer import losses
from trainer.losses import (
    CHARBONNIER_EPSILON,
    charbonnier_loss,
    crop_importance,
    edge_loss,
    harm_loss,
    output_distillation_loss,
    psnr_loss,
    reconstruction_loss,
    ssim_loss,
    weighted_terms,
)
from trainer.quality import psnr_db, ssim_map


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 24, 28, generator=generator), torch.rand(
        2, 3, 24, 28, generator=generator
    )


def test_l1_by_hand() -> None:
    clean = torch.zeros(2, 3, 4, 4)
    sharpened = clean.clone()
    sharpened[0] += 0.25
    assert reconstruction_loss(sharpened, clean).tolist() == [0.25, 0.0]


def test_harm_counts_crops_that_come_out_worse_and_no_others() -> None:
    clean = torch.full((3, 3, 4, 4), 0.5)
    degraded, sharpened = clean + 0.1, clean.clone()
    sharpened[0] += 0.2
    sharpened[1] += 0.05
    sharpened[2] += 0.1
    least = (0.5 / 255) ** 2
    expected = [math.log10((0.04 + least) / (0.01 + least)), 0.0, 0.0]
    measured = harm_loss(sharpened, degraded, clean)
    assert measured.tolist() == pytest.approx(expected, abs=1e-6)


def test_harm_to_an_untouched_crop_is_finite_and_has_a_gradient() -> None:
    clean = torch.full((1, 3, 4, 4), 0.5)
    sharpened = (clean + 1 / 255).requires_grad_()
    loss = harm_loss(sharpened, clean, clean)
    assert loss.item() == pytest.approx(math.log10(5), abs=1e-4)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert sharpened.grad is not None
    assert bool((sharpened.grad > 0).all())


def test_the_psnr_term_is_a_tenth_of_what_is_short_of_half_a_level() -> None:
    sharpened, clean = pair()
    expected = (20 * math.log10(255 / 0.5) - psnr_db(sharpened, clean)) / 10
    assert psnr_loss(sharpened, clean).tolist() == pytest.approx(expected.tolist(), abs=1e-4)


def test_charbonnier_by_hand() -> None:
    clean = torch.zeros(2, 3, 4, 4)
    sharpened = clean.clone()
    sharpened[0] += 0.25
    expected = [math.sqrt(0.25**2 + 0.001**2), 0.001]
    assert charbonnier_loss(sharpened, clean).tolist() == pytest.approx(expected, rel=1e-6)


def test_charbonnier_is_smooth_where_the_pictures_are_equal() -> None:
    equal = torch.full((1, 3, 4, 4), 0.5, requires_grad=True)
    charbonnier_loss(equal, torch.full_like(equal, 0.5)).sum().backward()  # type: ignore[no-untyped-call]
    assert equal.grad is not None
    assert torch.equal(equal.grad, torch.zeros_like(equal))


def test_output_distillation_is_l1_to_the_teacher_and_teaches_only_the_student() -> None:
    sharpened, taught = (pixels.requires_grad_() for pixels in pair())
    loss = output_distillation_loss(sharpened, taught)
    assert loss.shape == (2,)
    assert torch.equal(loss, (sharpened - taught).abs().mean(dim=(1, 2, 3)))
    assert output_distillation_loss(taught, taught).tolist() == [0, 0]
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert taught.grad is None
    assert sharpened.grad is not None
    torch.testing.assert_close(sharpened.grad, (sharpened - taught).sign() / (3 * 24 * 28))


def test_edge_of_a_ramp_is_its_slope_in_one_direction_of_two() -> None:
    ramp = (torch.arange(16.0) / 16).expand(1, 3, 16, 16)
    flat = torch.zeros_like(ramp)
    assert edge_loss(ramp, flat).item() == pytest.approx(1 / 16 / 2)


def test_edge_does_not_see_a_change_of_brightness() -> None:
    sharpened, _ = pair()
    torch.testing.assert_close(
        edge_loss(sharpened + 0.1, sharpened), torch.zeros(2), atol=1e-6, rtol=0
    )


def test_ssim_loss_is_one_minus_the_mean_of_its_windows() -> None:
    sharpened, clean = pair()
    expected = 1 - ssim_map(sharpened, clean)[:, :, ::4, ::4].mean(dim=(1, 2, 3))
    torch.testing.assert_close(ssim_loss(sharpened, clean), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("term", losses.TERMS)
def test_every_term_is_least_for_equal_pictures_and_has_a_gradient(term: str) -> None:
    sharpened, clean = pair()
    loss = losses.TERMS[term]
    least = CHARBONNIER_EPSILON if term == "charbonnier" else 0.0
    torch.testing.assert_close(loss(clean, clean), torch.full((2,), least), atol=1e-5, rtol=0)
    sharpened.requires_grad_()
    loss(sharpened, clean).sum().backward()  # type: ignore[no-untyped-call]
    assert sharpened.grad is not None
    assert torch.isfinite(sharpened.grad).all()
    assert sharpened.grad.abs().sum() > 0


@pytest.mark.parametrize("term", losses.TERMS)
def test_half_precision_is_brought_to_fp32(term: str) -> None:
    loss = losses.TERMS[term]
    halves = [pixels.half() for pixels in pair()]
    expected = loss(*(pixels.float() for pixels in halves))
    assert loss(*halves).dtype == torch.float32
    assert torch.equal(loss(*halves), expected)


@pytest.mark.parametrize("term", ["ssim", "edge", "charbonnier"])
def test_gradients_are_those_of_finite_differences(term: str) -> None:
    generator = torch.Generator().manual_seed(0)
    sharpened, clean = torch.rand(2, 1, 3, 12, 12, generator=generator, dtype=torch.float64)
    sharpened.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses.TERMS[term](x, clean), (sharpened,))


def test_terms_are_weighted_and_averaged_by_importance() -> None:
    sharpened, clean = pair()
    importance = torch.tensor([1.0, 0.5])
    terms = weighted_terms(sharpened, clean, {"l1": 2.0, "edge": 0.0}, importance)
    first, second = reconstruction_loss(sharpened, clean).tolist()
    assert terms.keys() == {"l1"}
    assert terms["l1"].item() == pytest.approx(2 * (first + 0.5 * second) / 2)


def test_a_term_of_weight_zero_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: torch.Tensor) -> torch.Tensor:
        raise AssertionError("computed")

    monkeypatch.setitem(losses.TERMS, "ssim", refuse)
    weighted_terms(*pair(), {"l1": 1.0, "ssim": 0.0}, torch.ones(2))


def test_further_terms_are_called_only_where_they_count() -> None:
    def refuse() -> torch.Tensor:
        raise AssertionError("computed")

    terms = weighted_terms(
        *pair(),
        {"l1": 1.0, "mine": 0.5, "other": 0.0},
        torch.tensor([1.0, 0.5]),
        more={"mine": lambda: torch.tensor([2.0, 4.0]), "other": refuse},
    )
    assert terms.keys() == {"l1", "mine"}
    assert terms["mine"].item() == pytest.approx(0.5 * (2 + 0.5 * 4) / 2)


def test_a_weight_of_an_unknown_term_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"no loss term lpips\. There are l1, charbonnier"):
        weighted_terms(*pair(), {"lpips": 1.0}, torch.ones(2))


@pytest.mark.parametrize("term", losses.TERMS)
def test_weighted_terms_stay_in_fp32_under_autocast(term: str) -> None:
    expected = losses.TERMS[term](*pair()).mean()
    with torch.autocast("cpu", torch.bfloat16):
        measured = weighted_terms(*pair(), {term: 1.0}, torch.ones(2))[term]
    assert measured.dtype == torch.float32
    assert torch.equal(measured, expected)


def test_importance_falls_with_the_error_of_the_input() -> None:
    clean = torch.zeros(3, 3, 4, 4)
    degraded = clean.clone()
    degraded[1] += 0.02
    degraded[2] += 0.06
    assert crop_importance(degraded, clean, balance=0.02).tolist() == pytest.approx([1, 0.5, 0.25])
    assert crop_importance(degraded, clean, balance=0).tolist() == [1, 1, 1]
