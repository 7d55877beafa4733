"""The objective: which terms are asked of what, and that the network learns from each."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from service.model.student import StudentConfig, StudentNetEnhanced, build_student
from trainer.losses import crop_importance, harm_loss, psnr_loss, ssim_loss
from trainer.objective import Objective
from trainer.routing import EXPERT_KINDS, routing_loss


def student(experts: int = 6) -> StudentNetEnhanced:
    torch.manual_seed(0)
    return build_student(StudentConfig(channels=4, unshuffle=2, blocks=1, experts=experts))


def crops() -> tuple[Tensor, Tensor]:
    """Degraded and clean, of different contrast."""
    generator = torch.Generator().manual_seed(1)
    clean = torch.rand(3, 3, 64, 64, generator=generator)
    amounts = torch.tensor([0.0, 0.1, 0.4]).view(3, 1, 1, 1)
    return clean + amounts * (clean.roll(1, dims=3) - clean), clean


class Answering(nn.Module):
    """Answers whatever it is asked with the same pixels."""

    def __init__(self, pixels: Tensor) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, _: Tensor) -> Tensor:
        return self.pixels


EXPERTS = torch.tensor([0, 5, 2])


def test_the_routing_term_is_that_of_the_network_s_own_shares() -> None:
    network = student()
    degraded, clean = crops()
    terms, sharpened = Objective(network, {"routing": 0.3})(degraded, clean, None, EXPERTS)
    answer = network.answer(degraded)
    expected = 0.3 * routing_loss(answer.shares, EXPERTS).mean()
    torch.testing.assert_close(terms, {"routing": expected})
    torch.testing.assert_close(sharpened, answer.sharpened)


def test_crops_count_in_the_routing_term_as_in_the_others() -> None:
    network = student()
    degraded, clean = crops()
    objective = Objective(network, {"routing": 1.0}, balance=0.02)
    terms, _ = objective(degraded, clean, None, EXPERTS)
    importance = crop_importance(degraded, clean, balance=0.02)
    expected = (importance * routing_loss(network.answer(degraded).shares, EXPERTS)).mean()
    torch.testing.assert_close(terms["routing"], expected)


def test_the_routing_term_teaches_the_router_and_the_estimator() -> None:
    network = student()
    terms, _ = Objective(network, {"routing": 1.0})(*crops(), None, EXPERTS)
    terms["routing"].backward()
    for name, parameter in network.named_parameters():
        is_taught = name.startswith(("estimator", "router"))
        assert (parameter.grad is not None) == is_taught, name


def test_without_the_routing_term_no_experts_are_asked_for() -> None:
    terms, _ = Objective(student(), {"l1": 1.0, "routing": 0.0})(*crops())
    assert set(terms) == {"l1"}


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_terms_are_in_fp32_whatever_the_network_runs_in(precision: torch.dtype) -> None:
    objective = Objective(student(), {"l1": 1.0, "routing": 1.0}, precision=precision)
    terms, sharpened = objective(*crops(), None, EXPERTS)
    assert {term.dtype for term in terms.values()} == {torch.float32}
    assert sharpened.dtype == torch.float32


def test_a_network_that_is_no_student_has_its_pixels_compared() -> None:
    degraded, clean = crops()
    terms, sharpened = Objective(nn.Identity(), {"l1": 2.0})(degraded, clean)
    assert torch.equal(sharpened, degraded)
    torch.testing.assert_close(terms["l1"], 2 * (degraded - clean).abs().mean())


def test_crops_of_a_kind_count_in_a_term_by_its_factor() -> None:
    _, clean = crops()
    degraded = clean + 0.1 * (clean.roll(1, dims=3) - clean)
    worse = clean + 2 * (degraded - clean)
    numbers = torch.tensor([EXPERT_KINDS.index("aliased large"), EXPERT_KINDS.index("jpeg"), -1])
    objective = Objective(
        Answering(worse),
        {"harm": 0.5, "ssim": 0.2, "psnr": 1.0},
        kind_factors={"harm": {"aliased large": 3.0, "jpeg": 0.0}, "ssim": {"jpeg": 4.0}},
    )
    harm = harm_loss(worse, degraded, clean)
    assert bool((harm > 0.1).all())
    terms, _ = objective(degraded, clean, None, numbers)
    expected = 0.5 * (harm * torch.tensor([3.0, 0.0, 1.0])).mean()
    torch.testing.assert_close(terms["harm"], expected)
    structure = ssim_loss(worse, clean) * torch.tensor([1.0, 4.0, 1.0])
    torch.testing.assert_close(terms["ssim"], 0.2 * structure.mean())
    torch.testing.assert_close(terms["psnr"], psnr_loss(worse, clean).mean())
    terms, _ = objective(degraded, clean)
    torch.testing.assert_close(terms["harm"], 0.5 * harm.mean())
