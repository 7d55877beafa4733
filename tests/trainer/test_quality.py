"""PSNR and SSIM against values worked out by hand and by definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.service.pictures import sample
from trainer.quality import PSNR_CEILING_DB, image_psnr_db, image_ssim, psnr_db, ssim_map


def test_psnr_by_hand() -> None:
    clean = torch.zeros(2, 3, 4, 4)
    off = clean.clone()
    off[0] += 0.1
    assert psnr_db(off, clean).tolist() == pytest.approx([20.0, PSNR_CEILING_DB])


def test_image_psnr_by_hand() -> None:
    clean = np.full((4, 4, 3), 100, np.uint8)
    assert image_psnr_db(clean + np.uint8(51), clean) == pytest.approx(20 * math.log10(5))
    assert image_psnr_db(clean, clean) == PSNR_CEILING_DB


def test_ssim_of_equal_pictures_is_one() -> None:
    assert image_ssim(sample("museum"), sample("museum")) == pytest.approx(1, abs=1e-5)


def test_ssim_of_two_flat_pictures_is_the_luminance_term() -> None:
    first, second = torch.full((1, 3, 16, 16), 0.2), torch.full((1, 3, 16, 16), 0.6)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.04 + 0.36 + 1e-4)
    torch.testing.assert_close(
        ssim_map(first, second), torch.full((1, 3, 6, 6), expected), atol=1e-4, rtol=0
    )


def test_ssim_equals_the_formula_summed_window_by_window() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 13, 12))
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    expected = np.empty((3, 2))
    for row in range(3):
        for column in range(2):
            x = first[row : row + 11, column : column + 11]
            y = second[row : row + 11, column : column + 11]
            mean_x, mean_y = (window * x).sum(), (window * y).sum()
            var_x = (window * (x - mean_x) ** 2).sum()
            var_y = (window * (y - mean_y) ** 2).sum()
            covariance = (window * (x - mean_x) * (y - mean_y)).sum()
            expected[row, column] = (
                (2 * mean_x * mean_y + 1e-4)
                * (2 * covariance + 9e-4)
                / ((mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4))
            )
    measured = ssim_map(torch.tensor(first)[None, None], torch.tensor(second)[None, None])
    np.testing.assert_allclose(measured[0, 0].numpy(), expected, atol=1e-9)


def test_strided_windows_are_a_subset_of_the_dense_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 2, 3, 45, 38, generator=generator)
    dense, strided = ssim_map(first, second), ssim_map(first, second, stride_px=4)
    torch.testing.assert_close(strided, dense[:, :, ::4, ::4], atol=1e-5, rtol=1e-5)


def test_ssim_takes_pictures_smaller_than_its_window() -> None:
    assert ssim_map(torch.rand(1, 3, 5, 40), torch.rand(1, 3, 5, 40)).shape == (1, 3, 1, 30)


def test_blurring_lowers_both() -> None:
    clean = sample("colosseum")
    blurred = clean.copy()
    blurred[1:] = (clean[1:].astype(int) + clean[:-1]) // 2
    assert image_ssim(blurred, clean) < 0.99
    assert image_psnr_db(blurred, clean) < 40
