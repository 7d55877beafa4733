"""The report: means by hand, the same numbers in table, JSON and header."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from trainer.evaluation import Quality
from trainer.report import header_scores, report_json, report_table


def quality(picture: str, student_db: float, student_ssim: float) -> Quality:
    return Quality(
        picture,
        "crop",
        "webcam",
        {"input": 30.0, "unsharp": 29.0, "student": student_db},
        {"input": 0.8, "unsharp": 0.7, "student": student_ssim},
    )


MEASURED = [quality("a", 32.0, 0.95), quality("b", 29.0, 0.85)]


def test_json_holds_means_shares_harm_and_every_picture() -> None:
    report = report_json(MEASURED, model_id="small-1", strength=0.1)
    means = report["means"]
    assert isinstance(means, dict)
    assert means["crop"]["webcam"] == {
        "pictures": 2,
        "input": {"psnr_db": 30.0, "ssim": 0.8, "share_ssim_090": 0.0},
        "unsharp": {"psnr_db": 29.0, "ssim": 0.7, "share_ssim_090": 0.0, "made_worse": 2},
        "student": {"psnr_db": 30.5, "ssim": 0.9, "share_ssim_090": 0.5, "made_worse": 1},
    }
    assert isinstance(report["pictures"], list)
    assert [row["picture"] for row in report["pictures"]] == ["a", "b"]
    assert "window 11" in str(report["ssim"])


def test_the_table_shows_all_three_methods_side_by_side() -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(report_table(MEASURED, "crop"))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "30.00 / 0.8000 / 0%" in text
    assert "29.00 / 0.7000 / 0% / 2" in text
    assert "30.50 / 0.9000 / 50% / 1" in text


def test_header_scores_have_the_inputs_own_beside_them() -> None:
    score = header_scores(MEASURED, "crop")["webcam"]
    assert (score.input_psnr_db, score.psnr_db) == (30.0, 30.5)
    assert (score.input_ssim, score.ssim) == pytest.approx((0.8, 0.9))
    assert (score.pictures, score.worse_count) == (2, 1)
    assert header_scores(MEASURED, "whole") == {}
