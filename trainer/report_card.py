"""What the HTML report shows, as plain values: rows, cells, tiles and charts.

`report_html` puts them into the page. Texts are not escaped here; the template does that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.charts import Series, bar_chart, line_chart
from trainer.clip_evaluation import (
    FLICKER_NOTE,
    ClipQuality,
    bd_rates,
    frames_made_worse,
    ladders,
    note_of,
)
from trainer.evaluation import CROP_PX, SEED, UNTOUCHED, Quality, Region, harm_count
from trainer.report import BD_RATE_NOTE, PSNR_NOTE, SSIM_NOTE
from trainer.still_scene import STILL_NOTE, Stillness, flicker_ratios
from trainer.summary import (
    GOOD_SSIM,
    categories_of,
    degraded_ones,
    grouped,
    mean_change_db,
    mean_scores,
    methods_of,
    speeds,
    worst_json,
)
from trainer.training_log import TrainingLog

__all__ = [
    "category_section",
    "clip_section",
    "method_notes",
    "score_sections",
    "speed_rows",
    "still_section",
    "tiles",
    "training_charts",
    "worst_lists",
]

_TITLES: dict[Region, str] = {
    "crop": f"{CROP_PX}x{CROP_PX} centre crops",
    "whole": "whole pictures",
}
_COLOURS = {"input": 0, "unsharp": 1, "cas": 2, "student": 3}
_OTHER_COLOURS = (4, 5)
_MOST_CATEGORIES = 12
_FULL_COLOUR_DB = 3.0
_MOST_LINES = 6
_RATE_PSNR, _RATE_SSIM = "BD-rate by PSNR", "BD-rate by SSIM"
_FLICKER, _WORSE = "flicker, mean over the rates", "frames made worse"


def tiles(measured: Sequence[Quality], clips: Sequence[ClipQuality]) -> list[dict[str, Any]]:
    """The key figures of the student, from the crops where there are any."""
    group = _main_region(measured)
    degraded = degraded_ones(group)
    shown = []
    if degraded:
        gain = mean_change_db(degraded, "student") or 0.0
        harmed = harm_count(degraded, "student")
        shares = [
            float(np.mean([q.ssim[method] >= GOOD_SSIM for q in degraded]))
            for method in ("input", "student")
        ]
        protocols = len({q.protocol for q in degraded})
        shown += [
            _tile("PSNR gain", f"{_signed(gain)} dB", f"mean of {protocols} protocols", gain < 0),
            _tile(
                "SSIM ≥ 0.90",
                f"{shares[1]:.0%}",
                f"of degraded pictures; input {shares[0]:.0%}",
                shares[1] < shares[0],
            ),
            _tile("Made worse", f"{harmed}", f"of {len(degraded)}, by over 0.05 dB", harmed > 0),
        ]
    untouched = [q.psnr_db["student"] for q in group if q.protocol == UNTOUCHED]
    if untouched:
        kept = float(np.mean(untouched))
        shown.append(_tile("Sharp pictures kept", f"{kept:.1f} dB", "60 dB: unchanged", kept < 40))
    rates = [
        rate.psnr_percent
        for rate in bd_rates(clips)
        if rate.method == "student" and rate.psnr_percent is not None
    ]
    if rates:
        saved = float(np.mean(rates))
        shown.append(
            _tile("BD-rate", f"{_signed(saved, 1)} %", "bit rate at equal PSNR, mean", saved > 0)
        )
    speed = speeds(group).get("student")
    if speed:
        note = f"{speed.median_ms:.1f} ms median, {speed.p95_ms:.1f} ms p95"
        shown.append(_tile("Speed", f"{speed.fps:.0f} FPS", note, False))
    return shown


def _tile(label: str, value: str, note: str, is_bad: bool) -> dict[str, Any]:
    return {"label": label, "value": value, "note": note, "is_bad": is_bad}


def _main_region(measured: Sequence[Quality]) -> list[Quality]:
    regions = grouped(measured, lambda q: q.region)
    return regions.get("crop") or regions.get("whole") or []


def _numbered(methods: Sequence[str]) -> list[dict[str, Any]]:
    """Methods with the numbers of their colours."""
    others = [method for method in methods if method not in _COLOURS]
    return [
        {
            "name": method,
            "number": _COLOURS[method]
            if method in _COLOURS
            else _OTHER_COLOURS[others.index(method) % len(_OTHER_COLOURS)],
        }
        for method in methods
    ]


def score_sections(measured: Sequence[Quality]) -> list[dict[str, Any]]:
    """One table a region, one row a protocol, one cell a method."""
    return [
        {
            "key": region,
            "title": _TITLES[region],
            "pictures": len({q.picture for q in group}),
            "methods": _numbered(methods_of(group)),
            "rows": [
                {"protocol": protocol, "cells": list(_score_cells(in_protocol))}
                for protocol, in_protocol in grouped(group, lambda q: q.protocol).items()
            ],
        }
        for region, group in grouped(measured, lambda q: q.region).items()
    ]


def _score_cells(group: Sequence[Quality]) -> Iterator[dict[str, Any]]:
    scores = {method: mean_scores(group, method) for method in methods_of(group)}
    best = max(means["psnr_db"] for means in scores.values())
    for method, means in scores.items():
        change = means["psnr_db"] - scores["input"]["psnr_db"]
        is_input = method == "input"
        yield {
            "psnr": f"{means['psnr_db']:.2f}",
            "change": "" if is_input else _signed(change),
            "direction": _direction(change),
            "ssim": f"{means['ssim']:.4f}",
            "share": f"{means['share_ssim_090']:.0%}",
            "lpips": f"{means['lpips']:.4f}" if "lpips" in means else "",
            "worse": "" if is_input else str(means["made_worse"]),
            "has_worse": means.get("made_worse", 0) > 0,
            "is_best": means["psnr_db"] == best,
        }


def category_section(measured: Sequence[Quality]) -> dict[str, Any] | None:
    """Bars of each method's mean gain, and the student's gain by protocol; None for one kind."""
    group = _main_region(measured)
    names = categories_of(group)
    if len(names) < 2:
        return None
    shown = names[:_MOST_CATEGORIES]
    by_category = grouped(group, lambda q: q.category)
    methods = [m for m in _numbered(methods_of(group)) if m["name"] != "input"]
    bars = {
        f"{name} ({len({q.picture for q in by_category[name]})})": [
            (method["name"], method["number"], change)
            for method in methods
            if (change := mean_change_db(by_category[name], method["name"])) is not None
        ]
        for name in shown
    }
    return {
        "methods": methods,
        "chart": bar_chart("Mean change of PSNR by category", bars, unit="dB"),
        "names": shown,
        "left_out": len(names) - len(shown),
        "rows": [
            {"protocol": protocol, "cells": [_heat_cell(in_protocol, name) for name in shown]}
            for protocol, in_protocol in grouped(group, lambda q: q.protocol).items()
            if protocol != UNTOUCHED
        ],
    }


def _heat_cell(group: Sequence[Quality], category: str) -> dict[str, Any] | None:
    change = mean_change_db([q for q in group if q.category == category], "student")
    if change is None:
        return None
    return {
        "change": _signed(change),
        "direction": _direction(change),
        "share": f"{min(abs(change) / _FULL_COLOUR_DB, 1):.2f}",
    }


def clip_section(clips: Sequence[ClipQuality]) -> dict[str, Any] | None:
    """Rate-distortion curves, BD-rates and flicker of each clip and codec."""
    if not clips:
        return None
    methods = _numbered(list(clips[0].psnr_db))
    percents = {(rate.clip, rate.codec, rate.method): rate for rate in bd_rates(clips)}
    others = [method for method in methods if method["name"] != "input"]
    rows = []
    for ladder in ladders(clips):
        clip, codec = ladder[0].clip, ladder[0].codec
        found = [percents[clip, codec, method["name"]] for method in others]
        flickers = [
            float(np.mean([rung.flicker[method["name"]] for rung in ladder])) for method in methods
        ]
        groups = {
            _RATE_PSNR: [_rate_cell(rate.psnr_percent) for rate in found],
            _RATE_SSIM: [_rate_cell(rate.ssim_percent) for rate in found],
            _FLICKER: [{"text": f"{value:.2f}", "direction": ""} for value in flickers],
            _WORSE: [_worse_cell(*frames_made_worse(ladder, each["name"])) for each in others],
        }
        rows.append({"clip": clip, "codec": codec, "groups": groups})
    titles = {
        "BD-rate": {_RATE_PSNR: others, _RATE_SSIM: others},
        "Flicker and harm": {_FLICKER: methods, _WORSE: others},
    }
    return {
        "methods": methods,
        "tables": [
            {
                "name": name,
                "groups": [{"title": title, "methods": shown} for title, shown in groups.items()],
            }
            for name, groups in titles.items()
        ],
        "charts": [_rate_chart(ladder, methods) for ladder in ladders(clips)],
        "rows": rows,
        "bd_rate_note": BD_RATE_NOTE,
        "flicker_note": _sentence(FLICKER_NOTE),
    }


def _rate_chart(ladder: Sequence[ClipQuality], methods: Sequence[Mapping[str, Any]]) -> Any:
    height, width = ladder[0].size_px
    title = f"{ladder[0].clip}, {ladder[0].codec}, {width}x{height}"
    lines = [
        Series(
            method["name"],
            method["number"],
            [(rung.rate_kbps, rung.psnr_db[method["name"]]) for rung in ladder],
        )
        for method in methods
    ]
    return {
        "title": title,
        "svg": line_chart(title, lines, x_label="kbit/s", y_label="PSNR, dB"),
    }


def _rate_cell(percent: float | None) -> dict[str, str]:
    if percent is None:
        return {"text": "\N{EN DASH}", "direction": ""}
    return {"text": f"{_signed(percent, 1)} %", "direction": _direction(-percent)}


def _worse_cell(worse: int, frames: int) -> dict[str, str]:
    return {"text": f"{worse} of {frames}", "direction": "bad" if worse else ""}


def still_section(still: Sequence[Stillness]) -> dict[str, Any] | None:
    """How much each method flickers beside its input where nothing moves, by level of noise."""
    if not still:
        return None
    ratios = flicker_ratios(still)
    return {
        "note": _sentence(STILL_NOTE),
        "methods": list(next(iter(ratios.values()))),
        "rows": [
            {
                "noise": f"{noise:g}",
                "cells": [
                    {"text": f"{mean:.2f} ({worst:.2f})", "direction": _direction(1 - mean)}
                    for mean, worst in methods.values()
                ],
            }
            for noise, methods in ratios.items()
        ],
    }


def worst_lists(measured: Sequence[Quality]) -> tuple[str, list[dict[str, Any]]]:
    """Which region, and for each protocol the five pictures with the lowest change of PSNR."""
    group = _main_region(measured)
    lists = [
        {
            "protocol": protocol,
            "rows": [
                {
                    "picture": row["picture"],
                    "change": _signed(float(row["change_db"])),
                    "direction": _direction(float(row["change_db"])),
                }
                for row in worst_json(in_protocol, "student")
            ],
        }
        for protocol, in_protocol in grouped(group, lambda q: q.protocol).items()
    ]
    return (_TITLES[group[0].region] if group else ""), lists


def speed_rows(measured: Sequence[Quality], clips: Sequence[ClipQuality]) -> list[dict[str, str]]:
    """Times by region and method, then those of the clips' frames by size."""
    rows = []
    for region, group in grouped(measured, lambda q: q.region).items():
        for method, speed in speeds(group).items():
            rows.append(
                _speed_row(_TITLES[region], method, speed.median_ms, speed.p95_ms, speed.fps)
            )
    sizes: dict[tuple[int, int], list[ClipQuality]] = {}
    for clip in clips:
        sizes.setdefault(clip.size_px, []).append(clip)
    for (height, width), rungs in sizes.items():
        for method in rungs[0].speed:
            # Of rungs with as many frames, the median of medians and the largest p95.
            median_ms = float(np.median([rung.speed[method].median_ms for rung in rungs]))
            p95_ms = max(rung.speed[method].p95_ms for rung in rungs)
            where = f"frames of clips, {width}x{height}"
            rows.append(_speed_row(where, method, median_ms, p95_ms, 1000 / max(median_ms, 1e-6)))
    return rows


def _speed_row(
    where: str, method: str, median_ms: float, p95_ms: float, fps: float
) -> dict[str, str]:
    return {
        "where": where,
        "method": method,
        "median": f"{median_ms:.2f}",
        "p95": f"{p95_ms:.2f}",
        "fps": f"{fps:.0f}",
    }


def training_charts(log: TrainingLog) -> list[dict[str, Any]]:
    """Loss terms, PSNR, validation and learning rate over the steps, as far as the log has them."""
    curves = log.training
    aside = {"psnr_db", "rate", "images_per_s"}
    terms = ["loss", *sorted(curves.keys() - aside - {"loss"})]
    gains = sorted(name for name in log.validation if name.startswith("gain_db "))
    validation = ["metric", *gains] if "metric" in log.validation else sorted(log.validation)
    charts = [
        _training_chart("Loss and its weighted terms", curves, terms, "loss", has_log_y=True),
        _training_chart("PSNR of the training crops", curves, ["psnr_db"], "dB"),
        _training_chart("Validation", log.validation, validation, "gain"),
        _training_chart("Learning rate", curves, ["rate"], "rate"),
    ]
    return [chart for chart in charts if chart is not None]


def _training_chart(
    title: str,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    names: Sequence[str],
    y_label: str,
    *,
    has_log_y: bool = False,
) -> dict[str, Any] | None:
    names = [name for name in names if name in curves][:_MOST_LINES]
    if not names:
        return None
    numbers = (3, 1, 2, 4, 5, 0)
    lines = [
        Series(name, number, curves[name], has_marks=False)
        for name, number in zip(names, numbers, strict=False)
    ]
    return {
        "title": title,
        "legend": [{"name": line.name, "number": line.number} for line in lines],
        "svg": line_chart(title, lines, x_label="step", y_label=y_label, has_log_y=has_log_y),
    }


def method_notes(
    measured: Sequence[Quality], clips: Sequence[ClipQuality]
) -> list[tuple[str, str]]:
    """What each figure means and each method is."""
    methods = dict.fromkeys([*methods_of(measured), *(clips[0].psnr_db if clips else ())])
    notes = [("SSIM", SSIM_NOTE.removeprefix("SSIM: ")), ("PSNR", PSNR_NOTE)]
    if any(q.lpips for q in measured):
        notes.append(("LPIPS", "version 0.1 (arXiv 1801.03924), averaged; lower is better"))
    notes += [(method, note_of(method)) for method in methods]
    notes.append(
        ("Seed", f"{SEED}, with the names of protocol and picture: the same inputs every time")
    )
    if clips:
        notes.append(("BD-rate", BD_RATE_NOTE.removeprefix("BD-rate ")))
        notes.append(("Flicker", FLICKER_NOTE.removeprefix("flicker: ")))
    return notes


def _direction(change: float) -> str:
    return "good" if change > 0.005 else "bad" if change < -0.005 else ""


def _signed(value: float, digits: int = 2) -> str:
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
