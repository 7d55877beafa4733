"""Routing: each kind of degradation has its expert, and the loss that says so."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from trainer import degradation
from trainer.config import DistillConfig
from trainer.data import CropDataset
from trainer.mixture import CHAINS, DEFAULT_MIXTURE, Mixture, is_from_pairs, sample_chain
from trainer.picture_set import PictureSet
from trainer.routed_crops import experts_of_run
from trainer.routing import (
    EXPERT_KINDS,
    expert_of,
    experts_of_samples,
    has_experts_of_kinds,
    routing_loss,
    shares_of_kinds,
)
from trainer.sources import Source
from trainer.steps import (
    Chain,
    Defocus,
    Gaussian,
    Halo,
    Jpeg,
    Motion,
    Noise,
    Rescale,
    Video,
    WebP,
    carry_out,
)

JPEG, VIDEO, NOISE = Jpeg(60, is_subsampled=True), Video("h264", 30, 1), Noise(2.0, 2.0, 1)
HALO = Halo(1.0, 0.5)

CHAINS_BY_KIND: dict[str, tuple[Chain, ...]] = {
    "light": ((), (HALO,)),
    "aliased small": (
        (Rescale(2.0, "bicubic", "bicubic-antialiased"),),
        (Rescale(1.5, "bilinear", "bilinear"),),
        (Rescale(2.0, "area", "bicubic"),),
    ),
    "aliased large": (
        (Rescale(2.5, "bicubic", "bicubic"),),
        (Rescale(4.0, "bilinear", "bicubic"),),
    ),
    "rescaled small": (
        (Rescale(2.0, "bicubic-antialiased", "bicubic"),),
        (Rescale(2.4, "bilinear-antialiased", "bicubic"),),
    ),
    "rescaled large": (
        (Rescale(4.0, "bicubic-antialiased", "bilinear"),),
        (Rescale(3.0, "area", "bicubic"),),
    ),
    "blurred little": ((Gaussian(1.4),), (Defocus(2.1),), (Motion(5.9, 30, 0),)),
    "blurred much": ((Gaussian(1.5),), (Defocus(2.2),), (Motion(6.0, 30, 20),)),
    "camera": (
        (NOISE,),
        (Gaussian(1.0), NOISE, JPEG),
        (Gaussian(1.0), HALO),
        (Rescale(2.0, "bicubic", "bicubic", JPEG),),
        (JPEG, JPEG),
        (Gaussian(1.0), WebP(60)),
    ),
    "jpeg": ((JPEG,), (WebP(60),)),
    "video": ((VIDEO,), (Rescale(1.5, "area", "bilinear", VIDEO),), (NOISE, VIDEO)),
}


@pytest.mark.parametrize("kind", CHAINS_BY_KIND)
def test_a_chain_belongs_to_the_expert_of_its_kind(kind: str) -> None:
    for chain in CHAINS_BY_KIND[kind]:
        assert EXPERT_KINDS[expert_of(chain)] == kind


def test_every_expert_has_a_kind_of_its_own() -> None:
    assert sorted(EXPERT_KINDS) == sorted(CHAINS_BY_KIND)


@pytest.mark.parametrize("kind", CHAINS)
def test_whatever_a_mixture_draws_has_an_expert(kind: str) -> None:
    mixture = Mixture({kind: 1})
    for number in range(300):
        expert_of(sample_chain(0, number, clean_share=0, mixture=mixture))


def test_the_default_mixture_gives_every_expert_of_its_kinds_crops() -> None:
    """But for the videos', which it does not draw."""
    experts = experts_of_samples(range(2000), seed=1, clean_share=0.1, mixture=DEFAULT_MIXTURE)
    counts = experts.bincount(minlength=10)
    assert int(counts[9]) == 0
    assert int(counts[:9].min()) > 20


def test_the_experts_are_those_of_what_was_done_to_the_crops(
    pictures: PictureSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Chain] = []

    def remember(chain: Chain, image: Any) -> Any:
        done.append(chain)
        return carry_out(chain, image)

    monkeypatch.setattr(degradation, "carry_out", remember)
    crops = CropDataset(pictures, crop_px=64, seed=5, clean_share=0.2)
    numbers = (3, 4, 50, 7, 8, 9, 10, 11)
    for number in numbers:
        _ = crops[number]
    experts = experts_of_samples(numbers, seed=5, clean_share=0.2, mixture=crops.mixture)
    assert experts.tolist() == [expert_of(chain) for chain in done]
    assert len(set(experts.tolist())) > 1
    assert experts.dtype == torch.int64


def test_the_loss_is_the_logarithm_of_the_right_expert_s_share() -> None:
    shares = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    loss = routing_loss(shares, torch.tensor([0, 2]))
    expected = [-math.log(math.e**2 / (math.e**2 + 2)), math.log(3)]
    assert loss.tolist() == pytest.approx(expected)
    moved = routing_loss(shares + torch.tensor([[5.0], [-3.0]]), torch.tensor([0, 2]))
    torch.testing.assert_close(moved, loss)
    assert routing_loss(shares.half(), torch.tensor([0, 2])).dtype == torch.float32


def test_a_kind_s_share_is_the_sum_of_its_experts_shares() -> None:
    torch.manual_seed(0)
    shares = torch.randn(3, 30)
    of_kinds = shares_of_kinds(shares)
    expected = torch.softmax(shares, dim=1).reshape(3, 3, 10).sum(dim=1)
    torch.testing.assert_close(torch.softmax(of_kinds, dim=1), expected)
    assert shares_of_kinds(shares.half()).dtype == torch.float32
    assert torch.equal(shares_of_kinds(shares[:, :10]), shares[:, :10])
    assert [count for count in range(31) if has_experts_of_kinds(count)] == [10, 20, 30]


def test_the_loss_s_gradient_is_the_shares_minus_the_right_ones() -> None:
    rng = np.random.default_rng(0)
    shares = torch.tensor(rng.normal(size=(3, 4)), dtype=torch.float32, requires_grad=True)
    experts = torch.tensor([1, 0, 3])
    routing_loss(shares, experts).sum().backward()  # type: ignore[no-untyped-call]
    assert shares.grad is not None
    expected = torch.softmax(shares.detach(), dim=1)
    expected[torch.arange(3), experts] -= 1
    torch.testing.assert_close(shares.grad, expected)


def test_samples_from_pairs_belong_to_the_named_expert_or_to_none() -> None:
    numbers = range(50)
    of_pairs = [is_from_pairs(4, number, share=0.3) for number in numbers]
    plain = experts_of_samples(numbers, seed=4, clean_share=0.1, mixture=DEFAULT_MIXTURE)
    for kind, expected in (("video", EXPERT_KINDS.index("video")), ("", -1)):
        experts = experts_of_samples(
            numbers,
            seed=4,
            clean_share=0.1,
            mixture=DEFAULT_MIXTURE,
            pair_share=0.3,
            pair_kind=kind,
        )
        for expert, other, is_pair in zip(experts, plain, of_pairs, strict=True):
            assert expert == (expected if is_pair else other)


def test_a_sample_of_no_expert_has_no_loss() -> None:
    shares = torch.tensor([[2.0, 0.0], [1.0, 0.0]], requires_grad=True)
    loss = routing_loss(shares, torch.tensor([-1, 1]))
    assert loss.tolist() == pytest.approx([0.0, math.log(math.e + 1)])


@pytest.mark.parametrize("setting", ["harm_kinds", "ssim_kinds"])
def test_factors_of_kinds_need_crops_whose_kinds_are_known(setting: str) -> None:
    config = DistillConfig(harm=0.1, **{setting: "camera=2"})  # type: ignore[arg-type]
    pictures = cast("Source", SimpleNamespace(is_paired=False))
    pairs = cast("Source", SimpleNamespace(is_paired=True))
    for experts in (10, 30):
        assert experts_of_run(config, pictures, experts=experts) is not None
    for source, experts in ((pairs, 10), (pictures, 1), (pictures, 12)):
        assert experts_of_run(DistillConfig(), source, experts=experts) is None
        with pytest.raises(ValueError, match=f"{setting} needs sharp pictures and a network of 10"):
            experts_of_run(config, source, experts=experts)
