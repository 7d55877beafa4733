"""An evaluation written down.

A table for people, JSON for programs, scores for the checkpoint's header.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.table import Table

from service.model.checkpoint import Score
from trainer.evaluation import BASELINE_STRENGTH, METHODS, Quality, Region, harm_count
from trainer.quality import PSNR_CEILING_DB

__all__ = ["SSIM_NOTE", "header_scores", "report_json", "report_table"]

SSIM_NOTE = (
    "SSIM: Gaussian window 11, sigma 1.5, each RGB channel by itself and averaged, range 1.0, "
    "no border crop"
)
_GOOD_SSIM = 0.90


def _grouped(
    measured: Sequence[Quality],
) -> dict[tuple[Region, str], list[Quality]]:
    groups: dict[tuple[Region, str], list[Quality]] = {}
    for quality in measured:
        groups.setdefault((quality.region, quality.protocol), []).append(quality)
    return groups


def _means(group: Sequence[Quality], method: str) -> dict[str, float | int]:
    psnrs = [q.psnr_db[method] for q in group]
    ssims = [q.ssim[method] for q in group]
    means: dict[str, float | int] = {
        "psnr_db": round(float(np.mean(psnrs)), 3),
        "ssim": round(float(np.mean(ssims)), 4),
        "share_ssim_090": round(float(np.mean([s >= _GOOD_SSIM for s in ssims])), 3),
    }
    if method != "input":
        means["made_worse"] = harm_count(group, method)
    return means


def report_json(
    measured: Sequence[Quality], *, model_id: str, strength: float
) -> dict[str, object]:
    """Means by region, protocol and method, and each picture's values."""
    groups = _grouped(measured)
    regions: dict[str, dict[str, object]] = {}
    for (region, protocol), group in groups.items():
        rows: dict[str, object] = {method: _means(group, method) for method in METHODS}
        regions.setdefault(region, {})[protocol] = {"pictures": len(group), **rows}
    return {
        "model": model_id,
        "strength": strength,
        "baseline": f"unsharp mask, 3x3 Gaussian, strength {BASELINE_STRENGTH}",
        "ssim": SSIM_NOTE,
        "psnr": f"of each picture, at most {PSNR_CEILING_DB:g} dB, then averaged",
        "means": regions,
        "pictures": [
            {
                "picture": q.picture,
                "region": q.region,
                "protocol": q.protocol,
                "psnr_db": {m: round(v, 3) for m, v in q.psnr_db.items()},
                "ssim": {m: round(v, 4) for m, v in q.ssim.items()},
            }
            for q in measured
        ],
    }


def report_table(measured: Sequence[Quality], region: Region) -> Table:
    """PSNR / SSIM / share of pictures with SSIM >= 0.90 of each method.

    And how many pictures each made worse.
    """
    table = Table(
        title=f"{'256x256 centre crops' if region == 'crop' else 'whole pictures'}: "
        "PSNR dB / SSIM / share with SSIM >= 0.90 / made worse"
    )
    table.add_column("protocol")
    for name in ("n", *METHODS):
        table.add_column(name, justify="right")
    for (group_region, protocol), group in _grouped(measured).items():
        if group_region != region:
            continue
        cells = []
        for method in METHODS:
            m = _means(group, method)
            cell = f"{m['psnr_db']:.2f} / {m['ssim']:.4f} / {m['share_ssim_090']:.0%}"
            cells.append(cell + (f" / {m['made_worse']}" if "made_worse" in m else ""))
        table.add_row(protocol, str(len(group)), *cells)
    return table


def header_scores(measured: Sequence[Quality], region: Region) -> dict[str, Score]:
    """The student's mean scores by protocol, as a checkpoint's header holds them."""
    scores = {}
    for (group_region, protocol), group in _grouped(measured).items():
        if group_region != region:
            continue
        before, after = _means(group, "input"), _means(group, "student")
        scores[protocol] = Score(
            pictures=len(group),
            input_psnr_db=before["psnr_db"],
            psnr_db=after["psnr_db"],
            input_ssim=before["ssim"],
            ssim=after["ssim"],
            worse_count=int(after["made_worse"]),
        )
    return scores
