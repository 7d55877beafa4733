"""PSNR and SSIM against scikit-image and against the differentiable ones."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tests.service.pictures import sample
from trainer.degradation import PROTOCOLS
from trainer.methods import ImageArray
from trainer.quality import PSNR_CEILING_DB, image_psnr_db, image_ssim
from trainer.reference import Reference


def crop(name: str) -> ImageArray:
    return np.ascontiguousarray(sample(name)[40:169, 30:181])


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS.keys() - {"untouched"}))
@pytest.mark.parametrize("name", ["colosseum", "woman-with-hat"])
def test_scores_agree_with_scikit_image(name: str, protocol: str) -> None:
    clean = crop(name)
    degraded = PROTOCOLS[protocol](clean, np.random.default_rng(0))
    reference = Reference(clean)
    psnr = peak_signal_noise_ratio(clean, degraded, data_range=255)  # type: ignore[no-untyped-call]
    ssim = structural_similarity(  # type: ignore[no-untyped-call]
        clean,
        degraded,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=2,
    )
    assert reference.psnr_db(degraded) == pytest.approx(psnr, abs=1e-4)
    assert reference.ssim(degraded) == pytest.approx(ssim, abs=5e-5)


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (10, 10), (11, 12), (64, 33)])
def test_scores_agree_with_the_ones_for_training_at_every_size(shape: tuple[int, int]) -> None:
    first, second = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    reference = Reference(first)
    assert reference.psnr_db(second) == pytest.approx(image_psnr_db(second, first), abs=1e-4)
    assert reference.ssim(second) == pytest.approx(image_ssim(second, first), abs=1e-5)


def test_a_picture_equals_itself() -> None:
    clean = crop("museum")
    assert Reference(clean).psnr_db(clean) == PSNR_CEILING_DB
    assert Reference(clean).ssim(clean) == pytest.approx(1, abs=1e-6)


def test_flat_pictures_have_finite_scores() -> None:
    white, grey = np.full((20, 20, 3), 255, np.uint8), np.full((20, 20, 3), 254, np.uint8)
    assert 0.99 < Reference(white).ssim(grey) <= 1
    assert Reference(white).psnr_db(grey) == pytest.approx(48.13, abs=0.01)


def test_a_method_that_changes_the_size_is_told_so() -> None:
    reference = Reference(crop("museum"))
    for measure in (reference.psnr_db, reference.ssim):
        with pytest.raises(ValueError, match="a method has to keep the size"):
            measure(crop("museum")[1:])
