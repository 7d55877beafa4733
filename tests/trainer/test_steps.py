"""Chains: carried out in order, and told in words."""

from __future__ import annotations

import numpy as np
import pytest

from tests.service.pictures import sample
from trainer.operators import blur_gaussian, compress_jpeg, rescale
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
    carry_out,
    describe,
)


def test_the_steps_follow_one_another() -> None:
    image = sample("museum")[:64, :64]
    jpeg = Jpeg(50, is_subsampled=True)
    chain: Chain = (Gaussian(1.0), Rescale(2.0, "area", "bilinear", jpeg), jpeg)
    expected = rescale(
        blur_gaussian(image, sigma_px=1.0),
        factor=2,
        shrink="area",
        enlarge="bilinear",
        between=lambda small: compress_jpeg(small, quality=50),
    )
    assert np.array_equal(carry_out(chain, image), compress_jpeg(expected, quality=50))


def test_no_step_is_a_copy() -> None:
    image = sample("museum")[:16, :16]
    result = carry_out((), image)
    assert np.array_equal(result, image)
    assert not np.shares_memory(result, image)


def test_noise_comes_from_the_steps_own_seed() -> None:
    image = sample("museum")[:32, :32]
    first, again, other = (Noise(4, 0, seed)(image) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        ((), "untouched"),
        ((Gaussian(1.25), Jpeg(40, is_subsampled=True)), "Gaussian 1.25 px > JPEG 40 4:2:0"),
        ((Defocus(2.0),), "defocus 2.00 px"),
        ((Motion(5.0, 30.0, 0.0),), "motion 5.0 px at 30 deg"),
        ((Motion(5.0, 30.0, -20.0),), "motion 5.0 px at 30 deg, bend -20 deg"),
        ((Noise(1.0, 2.0, 3),), "noise read 1.0 shot 2.0"),
        ((Halo(1.0, 0.5),), "halo 0.50 of 1.0 px"),
        ((Rescale(2.0, "bicubic", "bicubic"),), "x2.00 bicubic"),
        (
            (Rescale(1.5, "area", "bilinear", Video("h264", 30, 0)),),
            "x1.50 area, up bilinear, small h264 CRF 30",
        ),
    ],
)
def test_a_chain_is_described_with_its_strengths(chain: Chain, words: str) -> None:
    assert describe(chain) == words
