"""What the page shows, by hand from small evaluations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.trainer.evaluations import quality, rung
from trainer.clip_evaluation import LOOK_AHEAD, note_of
from trainer.report_card import (
    category_section,
    clip_section,
    method_notes,
    score_sections,
    speed_rows,
    tiles,
    training_charts,
    worst_lists,
)
from trainer.training_log import TrainingLog

MEASURED = [
    quality("a", 30, 29, 28, 32, category="face"),
    quality("b", 32, 33, 34, 31, category="scene"),
    quality("b", 60, 40, 41, 55, category="scene", protocol="untouched"),
]
CLIPS = [rung(100, 30.0), rung(200, 40.0)]


def test_tiles_are_the_students_key_figures() -> None:
    shown = {tile["label"]: tile for tile in tiles(MEASURED, CLIPS)}
    assert shown["PSNR gain"]["value"] == "+0.50 dB"
    assert shown["PSNR gain"]["note"] == "mean of 1 protocols"
    assert shown["SSIM ≥ 0.90"]["value"] == "100%"
    assert shown["Made worse"]["value"] == "1"
    assert shown["Made worse"]["is_bad"]
    assert shown["Sharp pictures kept"]["value"] == "55.0 dB"
    assert shown["BD-rate"]["value"] == "\N{MINUS SIGN}20.0 %"
    assert not shown["BD-rate"]["is_bad"]
    assert shown["Speed"]["value"] == "333 FPS"


def test_tiles_are_left_out_where_nothing_was_measured() -> None:
    assert [tile["label"] for tile in tiles([], CLIPS)] == ["BD-rate"]
    assert "BD-rate" not in {tile["label"] for tile in tiles(MEASURED, [])}


def test_scores_have_a_cell_for_each_method() -> None:
    both = [*MEASURED, replace(MEASURED[0], region="whole")]
    crop, whole = score_sections(both)
    assert (crop["title"], crop["pictures"]) == ("256x256 centre crops", 2)
    assert [row["protocol"] for row in crop["rows"]] == ["webcam", "untouched"]
    assert [method["number"] for method in crop["methods"]] == [0, 1, 2, 3]
    cells = crop["rows"][0]["cells"]
    assert [cell["psnr"] for cell in cells] == ["31.00", "31.00", "31.00", "31.50"]
    assert [cell["change"] for cell in cells] == ["", "+0.00", "+0.00", "+0.50"]
    assert [cell["is_best"] for cell in cells] == [False, False, False, True]
    assert cells[3]["worse"] == "1"
    assert whole["rows"][0]["cells"][3]["change"] == "+2.00"


def test_other_methods_have_colours_of_their_own() -> None:
    extended = [replace(q, psnr_db={**q.psnr_db, "teacher": 35.0}, ssim={**q.ssim, "teacher": 0.9})
                for q in MEASURED]  # fmt: skip
    (section,) = score_sections(extended)
    assert section["methods"][-1] == {"name": "teacher", "number": 4}


def test_categories_have_bars_and_a_cell_for_each_protocol() -> None:
    section = category_section(MEASURED)
    assert section is not None
    assert section["names"] == ["face", "scene"]
    assert [row["protocol"] for row in section["rows"]] == ["webcam"]
    assert [cell["change"] for cell in section["rows"][0]["cells"]] == [
        "+2.00",
        "\N{MINUS SIGN}1.00",
    ]
    assert [cell["direction"] for cell in section["rows"][0]["cells"]] == ["good", "bad"]
    assert section["chart"].count("<rect") == 2 * 3
    assert "face (1)" in section["chart"]
    assert category_section(MEASURED[:1]) is None


def test_many_small_categories_are_counted_instead_of_drawn() -> None:
    measured = [quality(f"{n}", 30, 30, 30, 31, category=f"kind{n:02}") for n in range(15)]
    section = category_section(measured)
    assert section is not None
    assert (len(section["names"]), section["left_out"]) == (12, 3)


def test_clips_have_curves_bd_rates_and_flicker() -> None:
    assert clip_section([]) is None
    section = clip_section([*CLIPS, rung(100, 30.0, codec="vp9")])
    assert section is not None
    assert [chart["title"] for chart in section["charts"]] == [
        "talk.mp4, h264, 48x40",
        "talk.mp4, vp9, 48x40",
    ]
    shown = section["rows"][0]["groups"]
    titles = [group["title"] for table in section["tables"] for group in table["groups"]]
    assert list(shown) == titles
    psnr, ssim, flicker, worse = shown.values()
    assert psnr[2] == {"text": "\N{MINUS SIGN}20.0 %", "direction": "good"}
    assert ssim[2]["text"] == "+0.0 %"
    assert [cell["text"] for cell in flicker] == ["1.00", "1.20", "1.30", "0.90"]
    rungs = len([each for each in CLIPS if each.codec == "h264"])
    assert [cell["text"] for cell in worse] == [f"{n * rungs} of {3 * rungs}" for n in (3, 1, 0)]
    assert [cell["direction"] for cell in worse] == ["bad", "bad", ""]
    assert section["rows"][1]["groups"]["BD-rate by PSNR"][0]["text"] == "\N{EN DASH}"


def test_the_worst_are_listed_for_each_protocol() -> None:
    region, lists = worst_lists(MEASURED)
    assert region == "256x256 centre crops"
    assert [row["picture"] for row in lists[0]["rows"]] == ["b", "a"]
    assert lists[0]["rows"][0]["change"] == "\N{MINUS SIGN}1.00"


def test_speed_is_shown_for_pictures_and_for_frames() -> None:
    rows = speed_rows(MEASURED, CLIPS)
    assert [(row["where"], row["method"], row["median"]) for row in rows[2:4]] == [
        ("256x256 centre crops", "student", "3.00"),
        ("frames of clips, 48x40", "unsharp", "4.00"),
    ]


def test_training_charts_are_drawn_of_what_the_log_has() -> None:
    curve = [(1.0, 0.5), (2.0, 0.25)]
    log = TrainingLog(
        dict.fromkeys(("step_s", "loss", "l1", "psnr_db", "rate", "images_per_s"), curve),
        {"metric": curve, "gain_db webcam": curve, "untouched_psnr_db": curve},
    )
    charts = {chart["title"]: chart for chart in training_charts(log)}
    assert [line["name"] for line in charts["Validation"]["legend"]] == ["metric", "gain_db webcam"]
    names = [line["name"] for line in charts["Loss and its weighted terms"]["legend"]]
    assert names == ["loss", "l1", "step_s"]
    assert len(charts) == 4
    assert training_charts(TrainingLog({}, {})) == []


@pytest.mark.parametrize("has_lpips", [False, True])
def test_notes_define_every_measure_and_method(has_lpips: bool) -> None:
    measured = [replace(q, lpips=q.ssim if has_lpips else {}) for q in MEASURED]
    notes = dict(method_notes(measured, CLIPS))
    assert {"SSIM", "PSNR", "input", "unsharp", "cas", "student", "Seed", "BD-rate"} <= notes.keys()
    assert ("LPIPS" in notes) == has_lpips
    assert "window 11, sigma 1.5" in notes["SSIM"]


def test_a_method_of_clips_alone_is_noted_too() -> None:
    clip = CLIPS[0]
    fused = replace(clip, psnr_db=clip.psnr_db | {LOOK_AHEAD: 30.0})
    assert dict(method_notes((), [fused]))[LOOK_AHEAD] == note_of(LOOK_AHEAD)
    assert LOOK_AHEAD not in dict(method_notes((), [clip]))
