"""Still scenes: what makes noise larger flickers, what takes it away does not."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.service.pictures import sample
from tests.trainer.evaluations import brightening_sharpener
from trainer.clip_evaluation import temporal_error
from trainer.methods import ImageArray
from trainer.operators import blur_gaussian
from trainer.still_scene import (
    FRAMES,
    NOISES,
    Stillness,
    evaluate_still,
    film_still,
    flicker_ratios,
)


def change_of(frames: ImageArray) -> float:
    return temporal_error(frames, np.zeros_like(frames))


def test_a_still_scene_differs_by_its_noise_alone() -> None:
    picture = np.ascontiguousarray(sample("museum")[:96, :128])
    quiet, loud = (
        change_of(film_still(picture, np.random.default_rng(0), noise=noise))
        for noise in (0.5, 3.0)
    )
    assert 0 < quiet < loud < 6
    again = film_still(picture, np.random.default_rng(0), noise=3.0)
    assert len(again) == FRAMES
    assert change_of(again) == loud


def test_methods_are_compared_with_their_input(samples: Path) -> None:
    measured = evaluate_still(
        brightening_sharpener(),
        samples,
        limit=2,
        extra_methods={
            "smooth": lambda image: blur_gaussian(image, sigma_px=2.0),
            "frozen": np.zeros_like,
        },
    )
    ratios = flicker_ratios(measured)
    assert list(ratios) == list(NOISES)
    for methods in ratios.values():
        assert list(methods) == ["unsharp", "cas", "student", "smooth", "frozen", "live"]
        assert methods["student"] == methods["live"] == (1, 1)  # off
        assert methods["frozen"] == (0, 0)
        assert methods["smooth"][1] < 1 < methods["unsharp"][0]


def test_the_mean_and_the_worst_picture() -> None:
    ratios = flicker_ratios(
        [
            Stillness("a", 1.0, {"input": 2.0, "student": 1.0}),
            Stillness("b", 1.0, {"input": 1.0, "student": 1.5}),
            Stillness("a", 2.0, {"input": 4.0, "student": 1.0}),
        ]
    )
    assert ratios == {1.0: {"student": (1.0, 1.5)}, 2.0: {"student": (0.25, 0.25)}}


def test_what_cannot_be_measured_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((100, 300, 3), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING), pytest.raises(FileNotFoundError, match="large enough"):
        evaluate_still(brightening_sharpener(), tmp_path)
    assert "smaller than 256 px" in caplog.text
    assert "broken.png" in caplog.text
