"""Means by hand: over pictures, categories and times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.trainer.evaluations import quality
from trainer.summary import (
    categories_of,
    grouped,
    mean_change_db,
    mean_scores,
    methods_of,
    regions_of,
    speeds,
    worst_json,
)

MEASURED = [
    quality("a", 30, 29, 28, 32, category="face"),
    quality("b", 32, 33, 34, 31, category="scene", ssim=(0.9, 0.9, 0.9, 0.89)),
    quality("b", 60, 40, 41, 55, category="scene", protocol="untouched"),
    quality("c", 20, 21, 22, 23, category="scene"),
]


def test_means_shares_and_harm() -> None:
    webcam = grouped(MEASURED, lambda q: q.protocol)["webcam"]
    assert mean_scores(webcam[:2], "input") == {"psnr_db": 31, "ssim": 0.85, "share_ssim_090": 0.5}
    assert mean_scores(webcam[:2], "student") == {
        "psnr_db": 31.5,
        "ssim": 0.92,
        "share_ssim_090": 0.5,
        "made_worse": 1,
    }


def test_lpips_counts_only_where_all_pictures_have_it() -> None:
    with_lpips = [replace(q, lpips={"input": 0.25, "student": 0.125}) for q in MEASURED[:2]]
    assert mean_scores(with_lpips, "student")["lpips"] == 0.125
    assert "lpips" not in mean_scores([*with_lpips, MEASURED[3]], "student")


def test_the_change_leaves_sharp_pictures_out() -> None:
    assert mean_change_db(MEASURED, "student") == pytest.approx((2 - 1 + 3) / 3)
    assert mean_change_db(MEASURED[2:3], "student") is None


def test_categories_come_by_their_number_of_pictures() -> None:
    assert categories_of(MEASURED) == ["scene", "face"]


def test_methods_and_regions_come_in_the_order_of_measuring() -> None:
    assert methods_of(MEASURED) == ["input", "unsharp", "cas", "student"]
    assert regions_of([*MEASURED, replace(MEASURED[0], region="whole")]) == ["crop", "whole"]
    assert methods_of([]) == regions_of([]) == []


def test_the_worst_are_named_with_what_they_lost() -> None:
    assert worst_json(MEASURED[:2], "student") == [
        {"picture": "b", "change_db": -1.0},
        {"picture": "a", "change_db": 2.0},
    ]


def test_speeds_are_of_the_methods_that_were_timed() -> None:
    assert {name: speed.median_ms for name, speed in speeds(MEASURED).items()} == {
        "unsharp": 1,
        "cas": 2,
        "student": 3,
    }
