"""desktop.best_student: one rule for doctor and for camera's auto."""

from __future__ import annotations

import pytest

from desktop.best_student import best_student, mean_psnr_db
from desktop.camera.local import auto_student
from desktop.doctor.advice import advise
from service.model.checkpoint import load_checkpoint
from service.model.sharpener import BUNDLED_SIZES, bundled_checkpoint
from tests.desktop.doctor.doubles import measured, media


def test_the_faster_one_of_those_that_are_alike_is_best() -> None:
    assert best_student({"nano": 29.4, "small": 29.9, "base": 29.95}) == "small"
    assert best_student({"nano": 29.4, "small": 29.9, "base": 30.2}) == "base"
    assert best_student({"nano": 29.4, "own": None}) == "own"


@pytest.mark.parametrize(("device", "names"), [("cuda", BUNDLED_SIZES), ("cpu", ("nano", "small"))])
def test_camera_begins_with_what_doctor_finds_best(device: str, names: tuple[str, ...]) -> None:
    measurements = [
        measured(name, mean_psnr_db(load_checkpoint(bundled_checkpoint(name)).facts), 90)
        for name in names
    ]
    advice = advise(measurements, media())
    assert auto_student(device) == advice.best == advice.live[0][2]
