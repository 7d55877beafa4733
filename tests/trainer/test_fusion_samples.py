"""What the fusion network learns from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.model.neighbours import NEIGHBOURS
from service.model.sharpener import Sharpener
from tests.service.pictures import sample
from tests.trainer.datasets import write_picture
from trainer.fusion_samples import (
    CROP_PX,
    CROPS_PER_SAMPLE,
    FusionSample,
    make_sample,
    read_sample,
    write_sample,
)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "hall.png"
    write_picture(path, sample("museum")[:240, :320])
    return path


@pytest.fixture(scope="module")
def sharpener() -> Sharpener:
    return Sharpener.load("nano", threads=1)


def test_samples_are_of_every_kind_and_the_same_each_time(
    picture: Path, sharpener: Sharpener
) -> None:
    samples = [make_sample([picture], [sharpener], seed=0, number=number) for number in range(8)]
    assert {made.kind for made in samples} == {"codec", "jpeg", "blur"}
    for made in samples:
        assert made.planes.shape == (CROPS_PER_SAMPLE, 2 + 2 * len(NEIGHBOURS), CROP_PX, CROP_PX)
        assert made.missing.shape == (CROPS_PER_SAMPLE, CROP_PX, CROP_PX)
        assert np.isfinite(made.planes).all()
        assert made.planes[:, 0].min() >= 0
        assert made.planes[:, 0].max() <= 255
    again = make_sample([picture], [sharpener], seed=0, number=3)
    np.testing.assert_array_equal(again.planes, samples[3].planes)
    other = make_sample([picture], [sharpener], seed=1, number=3)
    assert (other.planes != samples[3].planes).any()


def test_what_is_missing_makes_the_clean_luma_of_the_sharpened_one(
    picture: Path, sharpener: Sharpener
) -> None:
    made = make_sample([picture], [sharpener], seed=0, number=0)
    clean = made.planes[:, 0].astype(np.float32) + made.missing
    assert clean.min() > -0.3
    assert clean.max() < 255.3


def test_a_sample_comes_back_from_its_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    planes = rng.normal(size=(6, 10, 8, 8)).astype(np.float16)
    made = FusionSample(planes, planes[:, 0], "jpeg")
    path = tmp_path / "deep" / "0.npz"
    write_sample(made, path)
    back = read_sample(path)
    np.testing.assert_array_equal(back.planes, planes)
    np.testing.assert_array_equal(back.missing, planes[:, 0])
    assert back.kind == "jpeg"


def test_another_file_is_no_sample(tmp_path: Path) -> None:
    path = tmp_path / "0.npz"
    np.savez(path, other=np.zeros(3))
    with pytest.raises(ValueError, match="no sample of"):
        read_sample(path)


def test_pictures_that_are_too_small_are_named(tmp_path: Path, sharpener: Sharpener) -> None:
    path = tmp_path / "icon.png"
    write_picture(path, sample("museum")[:64, :64])
    with pytest.raises(ValueError, match="below 192 px"):
        make_sample([path], [sharpener], seed=0, number=0)
