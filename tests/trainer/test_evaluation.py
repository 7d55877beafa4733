"""Evaluation: fixed inputs, several methods side by side, harm counted."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from service.model.sharpener import Sharpener
from tests.trainer.evaluations import brightening_sharpener
from trainer.degradation import PROTOCOLS
from trainer.evaluation import (
    CROP_PX,
    Quality,
    best_strength,
    change_db,
    evaluate,
    harm_count,
    reproduce,
    worst,
)
from trainer.methods import ImageArray, standard_methods
from trainer.pictures import load_picture
from trainer.quality import image_psnr_db, image_ssim


@pytest.fixture
def sharpener() -> Sharpener:
    return brightening_sharpener()


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
    for quality in measured:
        assert list(quality.psnr_db) == ["input", "unsharp", "cas", "student"]
        assert list(quality.psnr_db) == list(quality.ssim) == ["input", *quality.time_ms]
        assert all(time_ms > 0 for time_ms in quality.time_ms.values())
        assert quality.lpips == {}
        assert (quality.region == "crop") == (quality.size_px == (CROP_PX, CROP_PX))


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


def test_extra_methods_stand_beside_the_others(sharpener: Sharpener, samples: Path) -> None:
    seen: list[tuple[int, ...]] = []

    def teacher(image: ImageArray) -> ImageArray:
        seen.append(image.shape)
        return image[::-1]

    measured = evaluate(
        sharpener, samples, regions=("crop",), limit=1, extra_methods={"teacher": teacher}
    )
    assert list(measured[0].psnr_db) == ["input", "unsharp", "cas", "student", "teacher"]
    assert measured[0].psnr_db["teacher"] < measured[0].psnr_db["input"]
    assert measured[0].time_ms["teacher"] > 0
    # One call more than there are protocols: the first one of a size is not timed.
    assert len(seen) == len(PROTOCOLS) + 1


def test_a_method_that_changes_the_size_is_an_error(sharpener: Sharpener, folder: Path) -> None:
    with pytest.raises(ValueError, match="has to keep the size"):
        evaluate(sharpener, folder, extra_methods={"half": lambda image: image[::2, ::2]})


def test_lpips_is_measured_where_it_is_passed(sharpener: Sharpener, samples: Path) -> None:
    def difference(image: ImageArray, clean: ImageArray) -> float:
        return float(np.abs(image.astype(float) - clean).mean())

    measured = evaluate(sharpener, samples, regions=("crop",), limit=1, lpips=difference)
    untouched = next(q for q in measured if q.protocol == "untouched")
    assert untouched.lpips["input"] == untouched.lpips["student"] == 0
    assert untouched.lpips["cas"] > 0


def test_categories_come_from_the_manifest(sharpener: Sharpener, folder: Path) -> None:
    (folder / "manifest.csv").write_text("file,category\nmuseum.jpg,scene\n")
    measured = evaluate(sharpener, folder, regions=("crop",))
    assert {(q.picture, q.category) for q in measured} == {
        ("museum.jpg", "scene"),
        ("colosseum.jpg", "all"),
    }


def test_a_measurement_can_be_looked_at_again(sharpener: Sharpener, folder: Path) -> None:
    methods = standard_methods(sharpener)
    for quality in evaluate(sharpener, folder, regions=("crop",)):
        images = reproduce(folder, quality, methods)
        assert list(images) == ["clean", *methods]
        for method in methods:
            psnr = image_psnr_db(images[method], images["clean"])
            assert quality.psnr_db[method] == pytest.approx(psnr, abs=1e-4)
            ssim = image_ssim(images[method], images["clean"])
            assert quality.ssim[method] == pytest.approx(ssim, abs=5e-5)


def test_a_picture_that_vanished_or_changed_cannot_be_looked_at_again(
    sharpener: Sharpener, folder: Path
) -> None:
    measured = evaluate(sharpener, folder, regions=("whole",))
    quality = next(q for q in measured if q.picture == "museum.jpg")
    assert load_picture(folder / "museum.jpg").shape[:2] == quality.size_px
    (folder / "museum.jpg").unlink()
    with pytest.raises(OSError, match="Evaluate again"):
        reproduce(folder, quality, standard_methods(sharpener))


def test_a_limit_spreads_over_the_folder(sharpener: Sharpener, samples: Path) -> None:
    measured = evaluate(sharpener, samples, regions=("crop",), limit=2)
    assert {q.picture for q in measured} == {"colosseum.jpg", "museum.jpg"}


def test_progress_is_told(sharpener: Sharpener, folder: Path) -> None:
    told: list[tuple[int, int]] = []

    def note(done: int, total: int) -> None:
        told.append((done, total))

    evaluate(sharpener, folder, regions=("crop",), on_picture=note)
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_what_is_left_out_is_named(
    sharpener: Sharpener, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        evaluate(sharpener, folder, regions=("crop",))
    assert "broken.jpg: not a picture" in caplog.text


def test_a_folder_without_readable_pictures_says_so(sharpener: Sharpener, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(FileNotFoundError, match="can be read"):
        evaluate(sharpener, tmp_path)
    with pytest.raises(FileNotFoundError, match="can be read"):
        best_strength(sharpener, tmp_path, strengths=(0.0,))


def student_at(student_db: float, picture: str = "a") -> Quality:
    psnr = {"input": 30.0, "unsharp": 30.0, "student": student_db}
    return Quality(picture, "crop", "webcam", psnr, psnr)


def test_harm_is_a_loss_of_more_than_a_twentieth_of_a_decibel() -> None:
    qualities = [student_at(29.96), student_at(29.94), student_at(31)]
    assert harm_count(qualities, "student") == 1
    assert change_db(qualities[2], "student") == 1


def test_the_worst_pictures_lose_most_and_names_break_ties() -> None:
    changes = {"e": 28.0, "d": 30.0, "c": 29.0, "b": 30.0, "a": 31.0, "f": 32.0}
    qualities = [student_at(psnr, name) for name, psnr in changes.items()]
    assert [q.picture for q in worst(qualities, "student")] == ["e", "c", "b", "d", "a"]
    assert [q.picture for q in worst(qualities, "student", count=1)] == ["e"]


def test_the_best_strength_is_the_one_with_the_highest_psnr(
    sharpener: Sharpener, folder: Path
) -> None:
    best, means = best_strength(sharpener, folder, strengths=(0.0, 1.0, 2.0))
    assert best == 0.0
    assert means[0.0] > means[1.0] > means[2.0]
    measured = evaluate(sharpener, folder, regions=("crop",), strength=1.0)
    psnrs = [q.psnr_db["student"] for q in measured if q.protocol != "untouched"]
    assert means[1.0] == pytest.approx(np.mean(psnrs))
