"""The report: means by hand, the same numbers in table, JSON and header."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from tests.trainer.evaluations import rung
from trainer.evaluation import SEED, Quality
from trainer.report import (
    clip_table,
    header_scores,
    report_json,
    report_table,
    speed_table,
    worst_table,
)


def quality(picture: str, student_db: float, student_ssim: float) -> Quality:
    return Quality(
        picture,
        "crop",
        "webcam",
        {"input": 30.0, "unsharp": 29.0, "student": student_db},
        {"input": 0.8, "unsharp": 0.7, "student": student_ssim},
        time_ms={"unsharp": 1.0, "student": 4.0},
        category=picture,
    )


MEASURED = [quality("a", 32.0, 0.95), quality("b", 29.0, 0.85)]


def report(**options: Any) -> dict[str, Any]:
    written = report_json(MEASURED, model_id="small-1", strength=0.1, **options)
    back: dict[str, Any] = json.loads(json.dumps(written, allow_nan=False))
    return back


def text_of(table: Table) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_json_holds_means_shares_harm_and_every_picture() -> None:
    written = report()
    assert written["means"]["crop"]["webcam"] == {
        "pictures": 2,
        "input": {"psnr_db": 30.0, "ssim": 0.8, "share_ssim_090": 0.0},
        "unsharp": {"psnr_db": 29.0, "ssim": 0.7, "share_ssim_090": 0.0, "made_worse": 2},
        "student": {"psnr_db": 30.5, "ssim": 0.9, "share_ssim_090": 0.5, "made_worse": 1},
    }
    assert [row["picture"] for row in written["pictures"]] == ["a", "b"]
    assert "lpips" not in written["pictures"][0]
    assert "window 11" in written["ssim"]


def test_json_says_how_it_was_made() -> None:
    written = report(command="clearcall-train evaluate", created="2026-11-24")
    assert written["command"] == "clearcall-train evaluate"
    assert written["created"] == "2026-11-24"
    assert written["seeds"] == {"evaluation": SEED}
    assert written["methods"].keys() == {"input", "unsharp", "student"}
    assert report()["created"].startswith("20")


def test_json_holds_categories_the_worst_and_speed() -> None:
    written = report()
    assert written["categories"]["crop"]["b"]["webcam"]["student"]["psnr_db"] == 29.0
    assert written["worst"]["crop"]["webcam"]["student"] == [
        {"picture": "b", "change_db": -1.0},
        {"picture": "a", "change_db": 2.0},
    ]
    assert written["speed"]["crop"]["student"] == {
        "median_ms": 4.0,
        "p95_ms": 4.0,
        "fps": 250.0,
    }


def test_json_holds_lpips_where_it_was_measured() -> None:
    lpips = {"input": 0.25, "unsharp": 0.5, "student": 0.125}
    measured = [replace(q, lpips=lpips) for q in MEASURED]
    written: Any = report_json(measured, model_id="small-1", strength=0)
    assert written["means"]["crop"]["webcam"]["student"]["lpips"] == 0.125
    assert written["pictures"][0]["lpips"] == lpips
    assert "0.1250" in text_of(report_table(measured, "crop"))


def test_json_holds_the_codec_ladder_where_it_was_measured() -> None:
    assert "clips" not in report()
    clips = report(clips=[rung(100, 30.0), rung(200, 40.0)])["clips"]
    assert [row["rate_kbps"] for row in clips["rungs"]] == [100, 200]
    assert clips["rungs"][0]["flicker"]["student"] == 0.9
    assert clips["rungs"][0]["frames_made_worse"] == {"unsharp": 3, "cas": 1, "student": 0}
    student = next(rate for rate in clips["bd_rates"] if rate["method"] == "student")
    assert student["psnr_percent"] == pytest.approx(-20, abs=0.01)


def test_the_table_has_a_row_for_each_method_and_names_the_worst_picture() -> None:
    rows = [line.split() for line in text_of(report_table(MEASURED, "crop")).splitlines()]
    cells = [[word for word in row if word not in "│┃"] for row in rows]
    assert ["webcam", "input", "30.00", "0.8000", "0%"] in cells
    assert ["unsharp", "29.00", "0.7000", "0%", "2", "of", "2", "-1.00", "dB", "a"] in cells
    assert ["student", "30.50", "0.9000", "50%", "1", "of", "2", "-1.00", "dB", "b"] in cells


def test_names_are_no_markup() -> None:
    measured = [quality("[red]x[/red].jpg", 32.0, 0.95)]
    assert "[red]x[/red].jpg" in text_of(report_table(measured, "crop"))
    assert "+2.00 [red]x[/red].jpg" in text_of(worst_table(measured, "crop"))
    assert "[b]" in text_of(clip_table([rung(100, 30.0, clip="[b]")]))


def test_the_worst_are_listed_by_name() -> None:
    assert "-1.00 b, +2.00 a" in text_of(worst_table(MEASURED, "crop"))


def test_times_are_listed_by_method() -> None:
    rows = [line.split() for line in text_of(speed_table(MEASURED)).splitlines()]
    assert ["│", "crop", "│", "student", "│", "4.00", "│", "4.00", "│", "250", "│"] in rows


def test_the_ladder_is_a_table_with_bd_rates() -> None:
    text = text_of(clip_table([rung(100, 30.0), rung(200, 40.0)]))
    for cell in ("100 kbit/s", "200 kbit/s", "30.00 / 0.910 / 1.00", "-20.0 %"):
        assert cell in text


def test_header_scores_have_the_inputs_own_beside_them() -> None:
    score = header_scores(MEASURED, "crop")["webcam"]
    assert (score.input_psnr_db, score.psnr_db) == (30.0, 30.5)
    assert (score.input_ssim, score.ssim) == pytest.approx((0.8, 0.9))
    assert (score.pictures, score.worse_count) == (2, 1)
    assert header_scores(MEASURED, "whole") == {}
