"""The random choice: shares as announced, every kind of use, mistakes named."""

from __future__ import annotations

import pickle
from collections import Counter
from typing import get_args

import numpy as np
import pytest

from tests.service.pictures import sample
from trainer.mixture import (
    CHAINS,
    DEFAULT_MIXTURE,
    KINDS,
    Mixture,
    draw_chain,
    sample_chain,
    softening_chain,
)
from trainer.operators import Resampler
from trainer.routing import EXPERT_KINDS, expert_of
from trainer.steps import Defocus, Gaussian, Halo, Jpeg, Motion, Noise, Rescale, Video, WebP
from trainer.video_codec import Codec, available_codecs


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def has_codecs() -> bool:
    return set(get_args(Codec)) <= set(available_codecs())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 97)])
def test_every_kind_keeps_size_and_type_and_obeys_its_seed(
    kind: str, size: tuple[int, int]
) -> None:
    if kind == "codec" and not has_codecs():
        pytest.skip("this FFmpeg lacks the codecs")
    image = sample("colosseum")[100 : 100 + size[0], 100 : 100 + size[1]]
    for seed in range(3):
        degraded = KINDS[kind](image, rng(seed))
        assert degraded.shape == image.shape
        assert degraded.dtype == np.uint8
        assert np.array_equal(degraded, KINDS[kind](image, rng(seed)))


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"clean", "codec"}))
def test_every_kind_but_clean_changes_a_photograph(kind: str) -> None:
    image = sample("colosseum")[100:164, 100:164]
    assert not any(np.array_equal(KINDS[kind](image, rng(seed)), image) for seed in range(8))
    assert np.array_equal(KINDS["clean"](image, rng()), image)


def test_kinds_are_drawn_by_their_shares() -> None:
    mixture = Mixture({"gaussian": 3, "jpeg": 1, "noise": 0})
    drawn = Counter(type(mixture.draw(rng(seed))[0]) for seed in range(400))
    assert set(drawn) == {Gaussian, Jpeg}
    assert drawn[Gaussian] / 400 == pytest.approx(0.75, abs=0.08)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"fog": 1.0}, "unknown degradation 'fog'; choose from rescale, gaussian"),
        ({"jpeg": -0.1}, "share of jpeg must be 0 or more, not -0.1"),
        ({"jpeg": float("nan")}, "share of jpeg must be 0 or more"),
        ({"jpeg": 0.0}, "at least one kind"),
        ({}, "at least one kind"),
    ],
)
def test_impossible_shares_are_named(shares: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixture(shares)


def test_a_mixture_is_read_from_a_line_of_text() -> None:
    assert Mixture.parse("rescale=0.5, codec = 0.2") == Mixture({"rescale": 0.5, "codec": 0.2})
    assert Mixture.parse(" ") is DEFAULT_MIXTURE
    for text, message in (
        ("rescale", "'rescale' is not kind=share"),
        ("rescale=much", "'rescale=much' is not kind=share"),
        ("jpeg=1,jpeg=2", "jpeg stands twice"),
        ("fog=1", "unknown degradation 'fog'"),
        ("jpeg=-1", "the share of jpeg must be 0 or more"),
        ("jpeg=nan", "the share of jpeg must be 0 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            Mixture.parse(text)


def test_a_mixture_travels_to_loader_processes() -> None:
    assert pickle.loads(pickle.dumps(DEFAULT_MIXTURE)) == DEFAULT_MIXTURE


def test_the_default_mixture_sums_to_one_and_runs_no_slow_codec() -> None:
    assert sum(DEFAULT_MIXTURE.shares.values()) == pytest.approx(1)
    for seed in range(300):
        for step in DEFAULT_MIXTURE.draw(rng(seed)):
            assert not isinstance(step, Video)
            assert not isinstance(getattr(step, "between", None), Video)


def test_whole_factors_with_one_bicubic_filter_are_frequent_in_the_default_mixture() -> None:
    chains = [DEFAULT_MIXTURE.draw(rng(seed)) for seed in range(2000)]
    exact = Counter(
        (step.shrink, step.factor)
        for chain in chains
        for step in chain
        if len(chain) == 1
        and isinstance(step, Rescale)
        and step.factor in (2, 4)
        and step.shrink == step.enlarge
    )
    for resampler, factor, share in (
        ("bicubic", 2, 0.036),
        ("bicubic", 4, 0.02),
        ("bicubic-antialiased", 2, 0.02),
        ("bicubic-antialiased", 4, 0.012),
    ):
        assert exact[(resampler, factor)] / 2000 > share  # type: ignore[index]


def test_every_filter_and_large_factors_are_drawn_and_few_are_sharpened_afterwards() -> None:
    chains = [CHAINS["rescale"](rng(seed)) for seed in range(2000)]
    steps = [chain[0] for chain in chains if isinstance(chain[0], Rescale)]
    assert len(steps) == 2000
    assert {step.shrink for step in steps} == set(get_args(Resampler))
    only_shrinking = {"area", "bilinear-antialiased"}  # enlarging, the latter is `bilinear`
    assert {step.enlarge for step in steps} == set(get_args(Resampler)) - only_shrinking
    assert 80 < sum(step.factor > 4 for step in steps) < 160
    assert max(step.factor for step in steps) < 8
    assert 50 < sum(len(chain) == 2 and isinstance(chain[1], Halo) for chain in chains) < 110


@pytest.mark.parametrize(
    ("kind", "size", "usual", "most"),
    [
        ("gaussian", "sigma_px", 2.6, 4.5),
        ("defocus", "radius_px", 4.0, 6.0),
        ("motion", "length_px", 12.0, 18.0),
    ],
)
def test_few_blurs_are_wider_than_can_be_undone(
    kind: str, size: str, usual: float, most: float
) -> None:
    sizes = [getattr(CHAINS[kind](rng(seed))[0], size) for seed in range(400)]
    assert max(sizes) <= most
    assert 30 < sum(value > usual for value in sizes) < 72


def test_two_rounds_come_in_random_order() -> None:
    chains = [CHAINS["two-rounds"](rng(seed)) for seed in range(200)]
    order = Counter(
        kinds.index(Noise) < kinds.index(Rescale)
        for chain in chains
        if {Noise, Rescale} <= set(kinds := [type(step) for step in chain])
    )
    assert min(order[True], order[False]) > 20
    assert max(len(chain) for chain in chains) > 5
    assert min(len(chain) for chain in chains) >= 1


def test_a_webcam_has_all_four_steps_in_their_order_and_is_the_camera_experts() -> None:
    for seed in range(50):
        chain = CHAINS["webcam"](rng(seed))
        assert [type(step) for step in chain] == [Gaussian, Noise, Rescale, Jpeg]
        assert EXPERT_KINDS[expert_of(chain)] == "camera"


def test_a_picture_from_the_web_ends_as_webp_and_is_blurred_or_small_before() -> None:
    chains = [CHAINS["webp"](rng(seed)) for seed in range(200)]
    assert all(isinstance(chain[-1], WebP) for chain in chains)
    assert Counter(map(len, chains)).keys() == {1, 2, 3}
    assert 60 < sum(isinstance(step, Rescale) for chain in chains for step in chain) < 100


def test_motion_is_straight_or_bent() -> None:
    bends = [
        step.bend_deg
        for s in range(100)
        for step in CHAINS["motion"](rng(s))
        if isinstance(step, Motion)
    ]
    assert 30 < sum(bend == 0 for bend in bends) < 70


def test_clean_samples_have_no_steps() -> None:
    assert draw_chain(rng(), clean_share=1) == ()
    assert all(sample_chain(0, n, clean_share=0) for n in range(50))


def test_a_samples_chain_depends_on_seed_number_and_mixture_alone() -> None:
    only_defocus = Mixture({"defocus": 1})
    chain = sample_chain(1, 2, clean_share=0, mixture=only_defocus)
    assert isinstance(chain[0], Defocus)
    assert chain == sample_chain(1, 2, clean_share=0, mixture=only_defocus)
    assert chain != sample_chain(1, 3, clean_share=0, mixture=only_defocus)
    assert chain != sample_chain(2, 2, clean_share=0, mixture=only_defocus)


def test_a_share_of_the_samples_is_softened_half_of_them_with_grain() -> None:
    webcam = CHAINS["webcam"](rng())
    chains = [softening_chain(1, number, webcam, share=0.25) for number in range(1000)]
    assert chains == [softening_chain(1, number, webcam, share=0.25) for number in range(1000)]
    soft = [chain for chain in chains if chain]
    assert 200 < len(soft) < 300
    assert {type(chain[0]) for chain in soft} == {Gaussian, Defocus, Rescale}
    assert 90 < sum(type(chain[-1]) is Noise for chain in soft) < 160
    assert not any(softening_chain(1, number, webcam, share=0) for number in range(100))
    for chain in (webcam, CHAINS["rescale"](rng())):
        assert all(softening_chain(1, number, chain, share=1) for number in range(100))


@pytest.mark.parametrize(
    "kind", ["clean", "gaussian", "defocus", "motion", "jpeg", "noise", "halo", "codec"]
)
def test_what_blurs_alone_or_not_at_all_stays_crisp_before(kind: str) -> None:
    chain = CHAINS[kind](rng())
    assert not any(softening_chain(1, number, chain, share=1) for number in range(20))
