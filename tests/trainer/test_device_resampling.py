"""Resampling matrices against OpenCV's and Pillow's own."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from tests.service.pictures import sample
from trainer.device_resampling import resample, resampling_matrix
from trainer.operators import Resampler, _resize

RESAMPLERS: tuple[Resampler, ...] = get_args(Resampler)


def matrix(resampler: Resampler, before: int, after: int, *, padded: int = 0) -> torch.Tensor:
    return resampling_matrix(
        [resampler],
        torch.tensor([float(before)]),
        torch.tensor([float(after)]),
        from_padded=before,
        to_padded=padded or after,
    )


@pytest.mark.parametrize("resampler", RESAMPLERS)
@pytest.mark.parametrize(("before", "after"), [(64, 32), (64, 27), (61, 50), (5, 1), (1, 1)])
def test_weights_sum_to_one(resampler: Resampler, before: int, after: int) -> None:
    sums = matrix(resampler, before, after).sum(dim=2)
    assert sums.flatten().tolist() == pytest.approx([1] * after, abs=2e-3)


def test_halving_by_area_takes_means_of_two() -> None:
    expected = [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]
    assert matrix("area", 4, 2)[0].tolist() == expected


def test_halving_by_opencvs_bicubic_takes_four_taps_and_repeats_the_border() -> None:
    # At a half the kernel of a = -0.75 is (-3, 19, 19, -3) / 32.
    weights = (matrix("bicubic", 8, 4)[0] * 32).tolist()
    assert weights[1] == pytest.approx([0, -3, 19, 19, -3, 0, 0, 0])
    assert weights[0] == pytest.approx([16, 19, -3, 0, 0, 0, 0, 0])


def test_rows_past_the_length_repeat_the_last_one() -> None:
    padded = matrix("bilinear", 9, 4, padded=7)[0]
    assert torch.equal(padded[:4], matrix("bilinear", 9, 4)[0])
    assert torch.equal(padded[4:], padded[3:4].expand(3, -1))


_SMALLER = [(48, 40), (32, 20), (37, 29), (13, 11)]
_LARGER = (130, 97)


@pytest.mark.parametrize(
    ("resampler", "to_size"),
    [
        (resampler, to_size)
        for resampler in RESAMPLERS
        for to_size in (*_SMALLER, _LARGER)
        if not (resampler == "area" and to_size == _LARGER)  # it is for shrinking only
    ],
)
def test_it_agrees_with_the_library_within_a_level(
    resampler: Resampler, to_size: tuple[int, int]
) -> None:
    image = np.ascontiguousarray(sample("colosseum")[100:196, 90:170])
    planes = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))
    rows, columns = (matrix(resampler, image.shape[axis], to_size[axis]) for axis in (0, 1))
    ours = resample(planes, rows, columns, [resampler])[0].permute(1, 2, 0).numpy()
    difference = np.abs(ours - _resize(image, to_size, resampler))
    assert difference.max() <= 1
    # OpenCV cuts off bits inside its bilinear sums.
    assert difference.mean() < (0.14 if resampler == "bilinear" else 0.06)


def test_an_unknown_resampler_is_named() -> None:
    with pytest.raises(ValueError, match="area, bicubic"):
        matrix("cubic", 8, 4)  # type: ignore[arg-type]
