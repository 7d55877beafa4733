"""desktop.doctor.speed: the measurement."""

from __future__ import annotations

import numpy as np
import pytest

from desktop.doctor.speed import SIZES, ImageArray, measure_students, natural_picture
from tests.clock import Clock
from tests.desktop.doctor.doubles import fake_student


def test_each_student_is_measured_at_each_size_in_about_five_seconds() -> None:
    clock = Clock(0.0)
    students = {
        "fast": fake_student(clock, 40, 29.0),
        "middle": fake_student(clock, 180, 29.5),
        "slow": fake_student(clock, 500, 29.6),
    }
    found = measure_students(list(students), students.__getitem__, clock=clock)
    assert [each.student for each in found] == list(students)
    assert [each.psnr_db for each in found] == [29.0, 29.5, 29.6]
    for each, ns_per_px in zip(found, (40, 180, 500), strict=True):
        assert [(speed.height, speed.width) for speed in each.speeds] == list(SIZES)
        for speed in each.speeds:
            assert speed.ms == pytest.approx(speed.height * speed.width * ns_per_px / 1e6, abs=0.01)
            assert speed.fps == pytest.approx(1000 / speed.ms)
            assert speed.runs >= 1
    assert 1 < clock.now_s < 6
    assert sum(each.took_s for each in found) == pytest.approx(clock.now_s, abs=0.05)


def test_the_median_is_told_and_warm_up_is_left_out() -> None:
    clock = Clock(0.0)
    student = fake_student(clock, 40, 29.0)
    sharpen, calls = student.sharpen, 0

    def slow_at_first(image: ImageArray) -> ImageArray:
        nonlocal calls
        calls += 1
        clock.now_s += 0.04 if calls in (1, 5) else 0.0
        return sharpen(image)  # type: ignore[no-any-return]

    student.sharpen = slow_at_first
    (found,) = measure_students(["one"], lambda _: student, clock=clock)
    assert found.speeds[0].ms == pytest.approx(256 * 256 * 40 / 1e6, abs=0.01)


def test_what_would_take_too_long_is_estimated_and_marked() -> None:
    clock = Clock(0.0)
    seen: list[tuple[int, ...]] = []
    student = fake_student(clock, 2000, 29.0, seen)
    (found,) = measure_students(["snail"], lambda _: student, clock=clock)
    assert (720, 1280, 3) not in seen
    assert found.speeds[-1].runs == 0
    assert found.speeds[-1].ms == pytest.approx(720 * 1280 * 2000 / 1e6, abs=0.1)


def test_the_picture_is_always_the_same_and_has_light_dark_and_colour() -> None:
    picture = natural_picture((90, 160))
    assert picture.shape == (90, 160, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, natural_picture((90, 160)))
    assert picture.std() > 30
    assert np.abs(picture[..., 0].astype(int) - picture[..., 2]).mean() > 3
    # Neighbours are alike, unlike in noise.
    assert np.abs(np.diff(picture.astype(int), axis=1)).mean() < picture.std() / 2
