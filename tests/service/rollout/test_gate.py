"""service.rollout.gate and its golden set: what is let through and what is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from service.frame_codec import ImageArray
from service.lanes import Sharpened
from service.model.sharpener import Sharpener
from service.rollout.gate import Gate
from service.rollout.golden_set import (
    ONE_COLOUR,
    UNTOUCHED,
    load_golden_set,
    psnr_db,
    scores_by_kind,
    worst_pixel_db,
)

PICTURES = load_golden_set()
CLEAN = {picture.degraded.tobytes(): picture.clean for picture in PICTURES}
pytestmark = pytest.mark.anyio


def student(name: str, share: float, *, ms: float = 10.0) -> Sharpener:
    """Takes away a share of what degrades a golden picture; negative = adds to it."""

    def sharpen(image: ImageArray) -> ImageArray:
        clean = CLEAN.get(image.tobytes(), image)
        mixed = image + share * (clean.astype(np.float32) - image)
        return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)

    made = SimpleNamespace(sharpen=sharpen, checkpoint=SimpleNamespace(model_id=name), ms=ms)
    return cast("Sharpener", made)


def changed(made: Sharpener, change: Callable[[ImageArray], ImageArray]) -> Sharpener:
    sharpen = made.sharpen
    made.sharpen = lambda image: change(sharpen(image))  # type: ignore[assignment, method-assign, misc]
    return made


async def run(sharpener: Sharpener, image: ImageArray) -> Sharpened:
    ms: float = sharpener.ms  # type: ignore[attr-defined]
    return Sharpened(sharpener.sharpen(image), 0.0, ms, "x")


def gate(*, tolerance_db: float = 0.2, max_slowdown: float = 1.3) -> Gate:
    return Gate(PICTURES, tolerance_db=tolerance_db, max_slowdown=max_slowdown)


def test_the_golden_set_has_every_kind_of_every_picture() -> None:
    kinds = (UNTOUCHED, "bicubic", "gaussian-1", "gaussian-2", "webcam")
    expected = dict.fromkeys(kinds, 4) | {ONE_COLOUR: 27}
    assert Counter(picture.kind for picture in PICTURES) == expected
    for picture in PICTURES:
        is_same = bool((picture.degraded == picture.clean).all())
        assert is_same == (picture.kind in {UNTOUCHED, ONE_COLOUR})


def test_a_score_by_hand() -> None:
    black, gray = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 51, np.uint8)
    assert psnr_db(gray, black) == pytest.approx(13.979, abs=1e-3)  # 20 log10(255 / 51)
    assert psnr_db(black, black) == 60.0
    assert psnr_db(black[:2], black) == 0.0
    gray[1:] = 0
    assert worst_pixel_db(gray, black) == pytest.approx(13.979, abs=1e-3)
    assert worst_pixel_db(black, black) == 60.0
    assert worst_pixel_db(black[:2], black) == 0.0


async def test_as_good_or_better_passes() -> None:
    for share in (0.5, 0.505, 0.9):
        verdict = await gate().judge(student("new", share), student("old", 0.5), run)
        assert verdict.fault is None
        assert verdict.slowdown == pytest.approx(1.0)


async def test_worse_than_what_is_served_by_more_than_the_tolerance_is_refused() -> None:
    verdict = await gate().judge(student("new", 0.4), student("old", 0.5), run)
    assert verdict.fault is not None
    assert "old, which is served" in verdict.fault
    judged = await gate(tolerance_db=5).judge(student("new", 0.4), student("old", 0.5), run)
    assert judged.fault is None


async def test_worse_than_the_input_is_refused_however_bad_what_is_served_is() -> None:
    verdict = await gate(tolerance_db=60).judge(student("new", -0.1), student("old", -0.5), run)
    assert verdict.fault is not None
    assert "worse than they came" in verdict.fault
    assert gate().judge_alone(student("new", -0.1)).fault is not None
    assert gate().judge_alone(student("new", 0.1)).fault is None


async def test_what_spoils_untouched_pictures_is_refused() -> None:
    spoiling = changed(student("new", 0.9), lambda image: image // 8 * 8)
    verdict = await gate(tolerance_db=60).judge(spoiling, student("old", 0.5), run)
    assert verdict.fault is not None
    assert UNTOUCHED in verdict.fault


@pytest.mark.parametrize(("levels", "is_refused"), [(8, False), (9, True)])
async def test_what_paints_on_screens_of_one_colour_is_refused(
    levels: int, is_refused: bool
) -> None:
    def paint(image: ImageArray) -> ImageArray:
        painted = image.copy()
        if (image == (0, 255, 0)).all():
            painted[0, 5, 2] = levels
        return painted

    painting = changed(student("new", 0.9), paint)
    verdict = await gate().judge(painting, student("old", 0.5), run)
    assert (verdict.fault is not None) == is_refused
    assert (gate().judge_alone(painting).fault is not None) == is_refused
    if verdict.fault is not None:
        assert ONE_COLOUR in verdict.fault


async def test_slower_than_allowed_is_refused() -> None:
    slow, usual = student("new", 0.5, ms=14), student("old", 0.5, ms=10)
    verdict = await gate().judge(slow, usual, run)
    assert verdict.fault == ("it takes 1.40 times as long as what is served; 1.3 times are allowed")
    assert (await gate(max_slowdown=0).judge(slow, usual, run)).fault is None


async def test_a_few_slow_moments_refuse_nobody() -> None:
    noise = iter([8.0, 1.0, 1.0, 9.0, 1.0, 1.0, 5.0] * 20)
    fast, usual = student("new", 0.5), student("old", 0.5)

    async def noisy(sharpener: Sharpener, image: ImageArray) -> Sharpened:
        done = await run(sharpener, image)
        return Sharpened(done.image, 0.0, done.inference_ms * next(noise), "x")

    assert (await gate().judge(fast, usual, noisy)).fault is None


async def test_what_is_served_is_scored_once() -> None:
    judge, runs = gate(max_slowdown=0), Counter[str]()

    async def counted(sharpener: Sharpener, image: ImageArray) -> Sharpened:
        runs[sharpener.checkpoint.model_id] += 1
        return await run(sharpener, image)

    for _ in range(3):
        await judge.judge(student("new", 0.5), student("old", 0.5), counted)
    assert runs == {"new": 3 * len(PICTURES), "old": len(PICTURES)}


def test_scores_are_means_of_each_kind() -> None:
    scores = scores_by_kind(PICTURES, [picture.degraded for picture in PICTURES])
    assert scores[UNTOUCHED] == 60.0
    assert 25 < scores["gaussian-2"] < scores["gaussian-1"] < 40
