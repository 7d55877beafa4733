"""Evaluation: fixed inputs, three methods side by side, harm counted."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from service.model.sharpener import Sharpener
from tests.trainer.students import identity_checkpoint
from trainer.degradation import PROTOCOLS
from trainer.evaluation import Quality, best_strength, evaluate, harm_count


class Identity:
    """A backend that returns what it gets, brighter by ten levels per unit of strength."""

    name, device, lanes = "identity", "cpu", 1

    def run(
        self, images: npt.NDArray[np.uint8], strength: float, *, lane: int | None = None
    ) -> npt.NDArray[np.uint8]:
        assert lane is None
        brighter = images.astype(np.int16) + round(10 * strength)
        return np.clip(brighter, 0, 255).astype(np.uint8)


@pytest.fixture
def sharpener() -> Sharpener:
    return Sharpener(identity_checkpoint(), Identity())


@pytest.fixture
def folder(tmp_path: Path, samples: Path) -> Path:
    for name in ("museum.jpg", "colosseum.jpg"):
        shutil.copy(samples / name, tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    return tmp_path


def test_every_picture_is_measured_under_every_protocol(sharpener: Sharpener, folder: Path) -> None:
    measured = evaluate(sharpener, folder)
    keys = {(q.picture, q.region, q.protocol) for q in measured}
    assert len(keys) == len(measured) == 2 * 2 * len(PROTOCOLS)
    assert {q.region for q in measured} == {"crop", "whole"}


def test_a_student_that_does_nothing_scores_as_its_input(
    sharpener: Sharpener, folder: Path
) -> None:
    measured = evaluate(sharpener, folder, regions=("crop",))
    for quality in measured:
        assert quality.psnr_db["student"] == quality.psnr_db["input"]
        assert quality.ssim["student"] == quality.ssim["input"]
    assert harm_count(measured, "student") == 0
    untouched = [q for q in measured if q.protocol == "untouched"]
    assert all(q.psnr_db["input"] == 60 for q in untouched)
    assert harm_count(untouched, "unsharp") == len(untouched)


def test_the_inputs_are_the_same_every_time_and_whatever_else_is_in_the_folder(
    sharpener: Sharpener, folder: Path
) -> None:
    before = evaluate(sharpener, folder, regions=("crop",))
    (folder / "colosseum.jpg").unlink()
    after = evaluate(sharpener, folder, regions=("crop",))
    assert after == [q for q in before if q.picture == "museum.jpg"]


def test_a_limit_spreads_over_the_folder(sharpener: Sharpener, samples: Path) -> None:
    measured = evaluate(sharpener, samples, regions=("crop",), limit=2)
    assert {q.picture for q in measured} == {"colosseum.jpg", "museum.jpg"}


def test_progress_is_told(sharpener: Sharpener, folder: Path) -> None:
    told: list[tuple[int, int]] = []

    def note(done: int, total: int) -> None:
        told.append((done, total))

    evaluate(sharpener, folder, regions=("crop",), on_picture=note)
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_folder_without_readable_pictures_says_so(sharpener: Sharpener, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(FileNotFoundError, match="can be read"):
        evaluate(sharpener, tmp_path)


def test_harm_is_a_loss_of_more_than_a_twentieth_of_a_decibel() -> None:
    def quality(student_db: float) -> Quality:
        psnr = {"input": 30.0, "unsharp": 30.0, "student": student_db}
        return Quality("a", "crop", "webcam", psnr, psnr)

    assert harm_count([quality(29.96), quality(29.94), quality(31)], "student") == 1


def test_the_best_strength_is_the_one_with_the_highest_psnr(
    sharpener: Sharpener, folder: Path
) -> None:
    best, means = best_strength(sharpener, folder, strengths=(0.0, 1.0, 2.0))
    assert best == 0.0
    assert means[0.0] > means[1.0] > means[2.0]
