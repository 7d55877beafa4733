"""Examples: which are chosen, and that they are the pictures that were measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.trainer.evaluations import brightening_sharpener, quality, rung
from trainer.cases import choose_cases, clip_cases, render_cases
from trainer.evaluation import evaluate
from trainer.methods import standard_methods
from trainer.quality import image_psnr_db


def test_the_best_the_median_and_the_five_worst_of_each_protocol_are_chosen() -> None:
    measured = [
        quality(f"{number}.jpg", 30, 30, 30, 30 + number / 10, protocol=protocol)
        for protocol in ("webcam", "gaussian 1.0")
        for number in (4, 8, 0, 3, 7, 1, 6, 2, 5)
    ]
    chosen = choose_cases(measured)
    assert [(rank, q.picture, q.protocol) for rank, q in chosen[:7]] == [
        ("worst 1", "0.jpg", "webcam"),
        ("worst 2", "1.jpg", "webcam"),
        ("worst 3", "2.jpg", "webcam"),
        ("worst 4", "3.jpg", "webcam"),
        ("worst 5", "4.jpg", "webcam"),
        ("best", "8.jpg", "webcam"),
        ("worst 1", "0.jpg", "gaussian 1.0"),
    ]
    ranks = {rank: q.picture for rank, q in choose_cases(measured, worst_count=1)}
    assert ranks == {"worst 1": "0.jpg", "median": "4.jpg", "best": "8.jpg"}


def test_a_single_picture_is_listed_once() -> None:
    assert len(choose_cases([quality("a.jpg", 30, 30, 30, 31)])) == 1
    assert choose_cases([]) == []


@pytest.mark.parametrize("region", ["crop", "whole"])
def test_examples_are_the_measured_pictures(region: str, samples: Path) -> None:
    sharpener = brightening_sharpener()
    measured = evaluate(sharpener, samples, regions=(region,), strength=1.0, limit=2)  # type: ignore[arg-type]
    webcam = [q for q in measured if q.protocol == "webcam"]
    methods = standard_methods(sharpener, strength=1.0)
    cases = render_cases(samples, choose_cases(webcam, worst_count=1), methods)
    assert [case.rank for case in cases] == ["worst 1", "median"]
    for case in cases:
        assert list(case.images) == ["clean", "input", "unsharp", "cas", "student"]
        assert {image.shape for image in case.images.values()} == {(256, 256, 3)}
        brighter = np.minimum(case.images["input"].astype(int) + 10, 255)
        np.testing.assert_array_equal(case.images["student"], brighter)
        if region == "crop":
            psnr = image_psnr_db(case.images["input"], case.images["clean"])
            assert case.psnr_db["input"] == pytest.approx(psnr, abs=1e-4)
        assert case.change_db == case.psnr_db["student"] - case.psnr_db["input"]


def test_clips_show_where_the_student_changed_most_at_the_lowest_rate() -> None:
    rungs = [rung(200, 35.0), rung(100, 30.0)]
    large = np.zeros((300, 700, 3), np.uint8)
    changed = large.copy()
    changed[250:290, 600:690] = 80
    for quality_ in rungs:
        quality_.example.update(dict.fromkeys(quality_.example, large), student=changed)
    (case,) = clip_cases(rungs)
    assert (case.protocol, case.name, case.rank) == ("h264", "talk.mp4", "100 kbit/s")
    assert case.images["student"].shape == (256, 256, 3)
    assert (case.images["student"] == 80).sum() == 40 * 90 * 3
    assert case.change_db == pytest.approx(rungs[1].psnr_db["student"] - 30)
