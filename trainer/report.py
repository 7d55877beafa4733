"""An evaluation written down.

A table for people, JSON for programs, scores for the checkpoint's header; `report_html` draws the
page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.markup import escape
from rich.table import Table

from service.model.checkpoint import Score
from trainer.clip_evaluation import (
    FLICKER_NOTE,
    LOOK_AHEAD,
    ClipQuality,
    bd_rates,
    frames_made_worse,
    ladders,
    note_of,
)
from trainer.evaluation import SEED, Quality, Region, harm_count
from trainer.methods import METHOD_NOTES
from trainer.quality import PSNR_CEILING_DB
from trainer.still_scene import STILL_NOTE, Stillness, flicker_ratios
from trainer.summary import (
    categories_of,
    degraded_ones,
    grouped,
    mean_change_db,
    mean_scores,
    methods_of,
    speeds,
    worst_json,
)

__all__ = [
    "BD_RATE_NOTE",
    "PSNR_NOTE",
    "SSIM_NOTE",
    "clip_table",
    "header_scores",
    "report_json",
    "report_table",
    "speed_table",
    "still_table",
    "worst_table",
]

SSIM_NOTE = (
    "SSIM: Gaussian window 11, sigma 1.5, each RGB channel by itself and averaged, range 1.0, "
    "no border crop"
)
PSNR_NOTE = f"of each picture, at most {PSNR_CEILING_DB:g} dB, then averaged"
BD_RATE_NOTE = (
    "BD-rate against plain decoding (VCEG-M33, piecewise cubic): how much less (negative) or more "
    "bit rate the method needs for the same quality"
)


def report_json(
    measured: Sequence[Quality],
    *,
    model_id: str,
    strength: float,
    clips: Sequence[ClipQuality] = (),
    still: Sequence[Stillness] = (),
    command: str = "",
    created: str | None = None,
) -> dict[str, object]:
    """Means by region, protocol and method, and each picture's values.

    Args:
        clips: results of the codec ladder.
        still: of still scenes.
        command: how the evaluation was run.
        created: its date; None = now.
    """
    report: dict[str, object] = {
        "model": model_id,
        "strength": strength,
        "created": created or datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "seeds": {"evaluation": SEED},
        "baseline": METHOD_NOTES["unsharp"],
        "methods": {method: note_of(method) for method in methods_of(measured)},
        "ssim": SSIM_NOTE,
        "psnr": PSNR_NOTE,
        "means": _means_json(measured),
        "categories": _categories_json(measured),
        "worst": _worst_json(measured),
        "speed": _speed_json(measured),
        "pictures": [_picture_json(quality) for quality in measured],
    }
    if clips:
        report["clips"] = {
            "flicker": FLICKER_NOTE,
            "methods": {LOOK_AHEAD: note_of(LOOK_AHEAD)} if LOOK_AHEAD in clips[0].psnr_db else {},
            "bd_rate": BD_RATE_NOTE,
            "bd_rates": [asdict(rate) for rate in bd_rates(clips)],
            "rungs": [_rung_json(quality) for quality in clips],
        }
    if still:
        report["still"] = _still_json(still)
    return report


def _still_json(still: Sequence[Stillness]) -> dict[str, object]:
    return {
        "note": STILL_NOTE,
        "ratios": [
            {"noise": noise, "method": method, "mean": round(mean, 3), "worst": round(worst, 3)}
            for noise, methods in flicker_ratios(still).items()
            for method, (mean, worst) in methods.items()
        ],
        "scenes": [
            {
                "picture": scene.picture,
                "noise": scene.noise,
                "difference": _rounded(scene.difference, 3),
            }
            for scene in still
        ],
    }


def _means_json(measured: Sequence[Quality]) -> dict[str, dict[str, object]]:
    means: dict[str, dict[str, object]] = {}
    for (region, protocol), group in grouped(measured, lambda q: (q.region, q.protocol)).items():
        rows: dict[str, object] = {
            method: mean_scores(group, method) for method in methods_of(group)
        }
        means.setdefault(region, {})[protocol] = {"pictures": len(group), **rows}
    return means


def _categories_json(measured: Sequence[Quality]) -> dict[str, dict[str, object]]:
    """By region, category, protocol and method, as `means`."""
    regions: dict[str, dict[str, object]] = {}
    for region, in_region in grouped(measured, lambda q: q.region).items():
        by_category = grouped(in_region, lambda q: q.category)
        regions[region] = {
            category: _means_json(by_category[category])[region]
            for category in categories_of(in_region)
        }
    return regions


def _worst_json(measured: Sequence[Quality]) -> dict[str, dict[str, object]]:
    """By region, protocol and method: the five pictures with the lowest change of PSNR."""
    worst: dict[str, dict[str, object]] = {}
    for (region, protocol), group in grouped(measured, lambda q: (q.region, q.protocol)).items():
        worst.setdefault(region, {})[protocol] = {
            method: worst_json(group, method) for method in methods_of(group) if method != "input"
        }
    return worst


def _speed_json(measured: Sequence[Quality]) -> dict[str, object]:
    return {
        region: {method: speed.to_json() for method, speed in speeds(group).items()}
        for region, group in grouped(measured, lambda q: q.region).items()
    }


def _picture_json(quality: Quality) -> dict[str, Any]:
    row: dict[str, Any] = {
        "picture": quality.picture,
        "region": quality.region,
        "protocol": quality.protocol,
        "category": quality.category,
        "psnr_db": _rounded(quality.psnr_db, 3),
        "ssim": _rounded(quality.ssim, 4),
    }
    if quality.lpips:
        row["lpips"] = _rounded(quality.lpips, 4)
    return row


def _rung_json(quality: ClipQuality) -> dict[str, Any]:
    return {
        "clip": quality.clip,
        "codec": quality.codec,
        "target_kbps": quality.target_kbps,
        "rate_kbps": quality.rate_kbps,
        "frames": quality.frame_count,
        "size_px": list(quality.size_px),
        "psnr_db": _rounded(quality.psnr_db, 3),
        "ssim": _rounded(quality.ssim, 4),
        "flicker": _rounded(quality.flicker, 3),
        "frames_made_worse": quality.worse_count,
        "speed": {method: speed.to_json() for method, speed in quality.speed.items()},
    }


def _rounded(values: Mapping[str, float], digits: int) -> dict[str, float]:
    return {name: round(value, digits) for name, value in values.items()}


def report_table(measured: Sequence[Quality], region: Region) -> Table:
    """One row for each protocol and method of a region.

    PSNR, SSIM, LPIPS where measured, share of pictures with SSIM >= 0.90, how many pictures the
    method made worse, and the worst of them; what the student did to all that were degraded.
    """
    in_region = [q for q in measured if q.region == region]
    has_lpips = bool(in_region) and all(q.lpips for q in in_region)
    table = Table(
        title="256x256 centre crops" if region == "crop" else "whole pictures",
        caption=_gain_note(in_region, "student"),
    )
    table.add_column("protocol")
    table.add_column("method")
    for name in ("PSNR dB", "SSIM", *(("LPIPS",) if has_lpips else ()), "SSIM >= 0.90"):
        table.add_column(name, justify="right")
    table.add_column("made worse", justify="right")
    table.add_column("worst picture", overflow="fold")
    for protocol, group in grouped(in_region, lambda q: q.protocol).items():
        scores = {method: mean_scores(group, method) for method in methods_of(group)}
        best = max(scores, key=lambda method: scores[method]["psnr_db"])
        for method, means in scores.items():
            cells = [f"{means['psnr_db']:.2f}", f"{means['ssim']:.4f}"]
            cells += [f"{means['lpips']:.4f}"] if has_lpips else []
            cells.append(f"{means['share_ssim_090']:.0%}")
            if method == "input":
                cells += ["", ""]
            else:
                lowest = worst_json(group, method)[0]
                cells += [
                    f"{means['made_worse']} of {len(group)}",
                    f"{lowest['change_db']:+.2f} dB {escape(str(lowest['picture']))}",
                ]
            is_first, is_last = method == "input", method == list(scores)[-1]
            table.add_row(
                protocol if is_first else "",
                method,
                *cells,
                style="bold" if method == best else None,
                end_section=is_last,
            )
    return table


def _gain_note(measured: Sequence[Quality], method: str) -> str | None:
    degraded = degraded_ones(measured)
    gain = mean_change_db(degraded, method)
    if gain is None:
        return None
    worse = harm_count(degraded, method)
    return f"{method}: {gain:+.2f} dB on average; {worse} of {len(degraded)} degraded made worse"


def worst_table(measured: Sequence[Quality], region: Region, method: str = "student") -> Table:
    """For each protocol the five pictures that gained least or lost most, by name."""
    table = Table(title=f"{method}: the five lowest changes of PSNR, dB")
    table.add_column("protocol")
    table.add_column("pictures", overflow="fold")
    in_region = [q for q in measured if q.region == region]
    for protocol, group in grouped(in_region, lambda q: q.protocol).items():
        lowest = [f"{row['change_db']:+.2f} {row['picture']}" for row in worst_json(group, method)]
        table.add_row(protocol, escape(", ".join(lowest)))
    return table


def speed_table(measured: Sequence[Quality]) -> Table:
    """Median and 95th percentile of one call, and the rate that follows, by region and method."""
    table = Table(title="time of one call, measured while evaluating")
    for name in ("pictures", "method"):
        table.add_column(name)
    for name in ("median ms", "p95 ms", "FPS"):
        table.add_column(name, justify="right")
    for region, group in grouped(measured, lambda q: q.region).items():
        for method, speed in speeds(group).items():
            cells = (f"{speed.median_ms:.2f}", f"{speed.p95_ms:.2f}", f"{speed.fps:.0f}")
            table.add_row(region, method, *cells)
    return table


def clip_table(clips: Sequence[ClipQuality]) -> Table:
    """One row for each clip, codec and method: the scores at each rate, BD-rate, frames worse."""
    table = Table(title="codec ladder: PSNR dB / SSIM / flicker", caption=f"{BD_RATE_NOTE}.")
    for name in ("clip", "codec", "method"):
        table.add_column(name, overflow="fold")
    for kbps in sorted({quality.target_kbps for quality in clips}):
        table.add_column(f"{kbps} kbit/s", justify="right")
    table.add_column("BD-rate", justify="right")
    table.add_column("made worse", justify="right")
    percents = {(row.clip, row.codec, row.method): row.psnr_percent for row in bd_rates(clips)}
    for ladder in ladders(clips):
        by_rate = {quality.target_kbps: quality for quality in ladder}
        for method in ladder[0].psnr_db:
            first, last = ladder[0], list(ladder[0].psnr_db)[-1]
            percent = percents.get((first.clip, first.codec, method))
            is_first = method == "input"
            table.add_row(
                escape(first.clip) if is_first else "",
                first.codec if is_first else "",
                method,
                *(
                    f"{q.psnr_db[method]:.2f} / {q.ssim[method]:.3f} / {q.flicker[method]:.2f}"
                    for _, q in sorted(by_rate.items())
                ),
                "" if percent is None else f"{percent:+.1f} %",
                "" if method == "input" else _frames_worse(ladder, method),
                end_section=method == last,
            )
    return table


def _frames_worse(ladder: Sequence[ClipQuality], method: str) -> str:
    worse, frames = frames_made_worse(ladder, method)
    return f"{worse} of {frames}"


def still_table(still: Sequence[Stillness]) -> Table:
    """One row for each level of noise: how much each method flickers beside its input."""
    ratios = flicker_ratios(still)
    table = Table(
        title="still scenes: flicker beside the input's, mean (worst picture)",
        caption=f"{STILL_NOTE}.",
    )
    table.add_column("noise", justify="right")
    for method in next(iter(ratios.values())):
        table.add_column(method, justify="right")
    for noise, methods in ratios.items():
        cells = (f"{mean:.2f} ({worst:.2f})" for mean, worst in methods.values())
        table.add_row(f"{noise:g}", *cells)
    return table


def header_scores(measured: Sequence[Quality], region: Region) -> dict[str, Score]:
    """The student's mean scores by protocol, as a checkpoint's header holds them."""
    scores = {}
    in_region = [q for q in measured if q.region == region]
    for protocol, group in grouped(in_region, lambda q: q.protocol).items():
        before, after = mean_scores(group, "input"), mean_scores(group, "student")
        scores[protocol] = Score(
            pictures=len(group),
            input_psnr_db=before["psnr_db"],
            psnr_db=after["psnr_db"],
            input_ssim=before["ssim"],
            ssim=after["ssim"],
            worse_count=int(after["made_worse"]),
        )
    return scores
