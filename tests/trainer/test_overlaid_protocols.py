"""What is drawn on degraded pictures and on their originals, to measure students by."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.service.pictures import sample
from tests.trainer.evaluations import brightening_sharpener
from trainer.evaluation import evaluate, reproduce
from trainer.methods import standard_methods
from trainer.overlaid_protocols import OVERLAID_PROTOCOLS
from trainer.quality import image_psnr_db


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("protocol", OVERLAID_PROTOCOLS)
def test_what_is_drawn_is_sharp_on_both_and_covers_a_part(protocol: str) -> None:
    clean = np.ascontiguousarray(sample("museum")[:256, :256])
    before = clean.copy()
    degraded, original = OVERLAID_PROTOCOLS[protocol](clean, rng())
    assert np.array_equal(clean, before)
    is_drawn = (original != clean).any(axis=2)
    assert 0.02 < is_drawn.mean() < 0.52
    difference = np.abs(degraded.astype(int) - original).max(axis=2)
    assert np.median(difference[is_drawn]) <= 1
    assert difference[~is_drawn].mean() > 1


@pytest.mark.parametrize("protocol", OVERLAID_PROTOCOLS)
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (40, 300)])
def test_every_size_is_drawn_on(protocol: str, size: tuple[int, int]) -> None:
    clean = sample("museum")[: size[0], : size[1]]
    for image in OVERLAID_PROTOCOLS[protocol](clean, rng()):
        assert image.shape == clean.shape
        assert image.dtype == np.uint8


def test_a_student_is_measured_by_the_original_with_the_same_on_it(
    tmp_path: Path, samples: Path
) -> None:
    shutil.copy(samples / "museum.jpg", tmp_path)
    sharpener = brightening_sharpener()
    (measured,) = evaluate(
        sharpener, tmp_path, regions=("crop",), protocols=("gaussian 1.0, half",)
    )
    images = reproduce(tmp_path, measured, standard_methods(sharpener))
    assert np.array_equal(images["input"][:, 128:], images["clean"][:, 128:])
    assert not np.array_equal(images["input"][:, :128], images["clean"][:, :128])
    for method in ("input", "student"):
        expected = image_psnr_db(images[method], images["clean"])
        assert measured.psnr_db[method] == pytest.approx(expected, abs=1e-4)
