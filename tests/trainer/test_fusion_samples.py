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
    FRAMES,
    LUMA_STEPS,
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
    samples = [make_sample([picture], [sharpener], seed=2, number=number) for number in range(8)]
    assert {made.kind for made in samples} == {"codec", "jpeg", "blur"}
    for made in samples:
        shape = (CROPS_PER_SAMPLE, FRAMES, CROP_PX, CROP_PX)
        assert made.sharpened.shape == made.seen.shape == made.missing.shape == shape
        halved = (CROPS_PER_SAMPLE, FRAMES, len(NEIGHBOURS), 2, CROP_PX // 2, CROP_PX // 2)
        assert made.motion.shape == halved
        assert np.isfinite(made.missing).all()
        assert not made.motion[:, -1, :2].any()  # nothing comes after it
        assert not made.motion[:, 0, 2].any()  # nor before the first
    again = make_sample([picture], [sharpener], seed=2, number=3)
    np.testing.assert_array_equal(again.sharpened, samples[3].sharpened)
    np.testing.assert_array_equal(again.motion, samples[3].motion)
    other = make_sample([picture], [sharpener], seed=1, number=3)
    assert (other.sharpened != samples[3].sharpened).any()


def test_some_clips_have_fewer_pictures_than_frames(
    sharpener: Sharpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every picture of the scene has another level, and less than half of the clips hold some."""
    levels = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.uint8(10) + np.uint8(20)
    clip = np.broadcast_to(levels, (20, CROP_PX, CROP_PX, 3))
    monkeypatch.setattr("trainer.fusion_samples._scene", lambda *_: ((clip, clip), (100.0, 200.0)))
    pictures = []
    for number in range(30):
        made = make_sample([], [sharpener], seed=0, number=number)
        clean = np.rint(made.sharpened[0] / LUMA_STEPS + made.missing[0])
        pictures.append(len(np.unique(clean[:, 0, 0])))
    assert 5 <= sum(count < FRAMES for count in pictures) <= 16
    assert min(pictures) >= 2


def test_what_is_missing_makes_the_clean_luma_of_the_sharpened_one(
    picture: Path, sharpener: Sharpener
) -> None:
    made = make_sample([picture], [sharpener], seed=0, number=0)
    clean = made.sharpened / LUMA_STEPS + made.missing
    assert clean.min() > -0.3
    assert clean.max() < 255.3
    away = np.abs(made.sharpened / LUMA_STEPS - made.seen)
    assert away.mean() < 12  # both are of the same place and time


def test_a_sample_comes_back_from_its_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    planes = rng.normal(size=(5, 3, 8, 8))
    motion = rng.normal(size=(5, 3, 2, 2, 4, 4)).astype(np.float16)
    made = FusionSample(
        planes.astype(np.uint16), planes.astype(np.uint8), planes.astype(np.float16), motion, "jpeg"
    )
    path = tmp_path / "deep" / "0.npz"
    write_sample(made, path)
    back = read_sample(path)
    for name in ("sharpened", "seen", "missing", "motion"):
        np.testing.assert_array_equal(getattr(back, name), getattr(made, name))
    assert back.kind == "jpeg"


def test_another_file_is_no_sample(tmp_path: Path) -> None:
    path = tmp_path / "0.npz"
    np.savez(path, other=np.zeros(3))
    with pytest.raises(ValueError, match="no sample of"):
        read_sample(path)


def test_pictures_that_are_too_small_are_named(tmp_path: Path, sharpener: Sharpener) -> None:
    path = tmp_path / "icon.png"
    write_picture(path, sample("museum")[:64, :64])
    with pytest.raises(ValueError, match="below 128 px"):
        make_sample([path], [sharpener], seed=0, number=0)
