"""Means over pictures: by protocol, by category, and how fast each method was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from trainer.evaluation import UNTOUCHED, Quality, Region, change_db, harm_count, worst
from trainer.speed import Speed, speed_of

__all__ = [
    "GOOD_SSIM",
    "Means",
    "categories_of",
    "degraded_ones",
    "grouped",
    "mean_change_db",
    "mean_scores",
    "methods_of",
    "regions_of",
    "speeds",
    "worst_json",
]

GOOD_SSIM = 0.90
Means = dict[str, float | int]
_Key = TypeVar("_Key")
_Measured = TypeVar("_Measured")


def grouped(
    measured: Sequence[_Measured], key: Callable[[_Measured], _Key]
) -> dict[_Key, list[_Measured]]:
    """The measurements by what `key` says of them, in the order of first appearance."""
    groups: dict[_Key, list[_Measured]] = {}
    for quality in measured:
        groups.setdefault(key(quality), []).append(quality)
    return groups


def methods_of(measured: Sequence[Quality]) -> list[str]:
    """The methods that every picture was measured with, `input` first."""
    return list(measured[0].psnr_db) if measured else []


def regions_of(measured: Sequence[Quality]) -> list[Region]:
    return list(grouped(measured, lambda q: q.region))


def categories_of(measured: Sequence[Quality]) -> list[str]:
    """By number of pictures, the largest first."""
    counts = {
        category: len({q.picture for q in group})
        for category, group in grouped(measured, lambda q: q.category).items()
    }
    return sorted(counts, key=lambda category: (-counts[category], category))


def mean_scores(group: Sequence[Quality], method: str) -> Means:
    """PSNR, SSIM, LPIPS where measured, share of pictures with SSIM >= 0.90, number made worse."""
    psnrs = [q.psnr_db[method] for q in group]
    ssims = [q.ssim[method] for q in group]
    means: Means = {
        "psnr_db": round(float(np.mean(psnrs)), 3),
        "ssim": round(float(np.mean(ssims)), 4),
        "share_ssim_090": round(float(np.mean([s >= GOOD_SSIM for s in ssims])), 3),
    }
    if all(q.lpips for q in group):
        means["lpips"] = round(float(np.mean([q.lpips[method] for q in group])), 4)
    if method != "input":
        means["made_worse"] = harm_count(group, method)
    return means


def degraded_ones(measured: Sequence[Quality]) -> list[Quality]:
    """All but the untouched pictures."""
    return [q for q in measured if q.protocol != UNTOUCHED]


def mean_change_db(group: Sequence[Quality], method: str) -> float | None:
    """The mean change of PSNR over the degraded pictures, in dB; None if there are none."""
    changes = [change_db(q, method) for q in degraded_ones(group)]
    return float(np.mean(changes)) if changes else None


def worst_json(group: Sequence[Quality], method: str) -> list[dict[str, str | float]]:
    """The five pictures that gained least or lost most, with what the method did to their PSNR."""
    return [
        {"picture": q.picture, "change_db": round(change_db(q, method), 3)}
        for q in worst(group, method)
    ]


def speeds(measured: Sequence[Quality]) -> dict[str, Speed]:
    """By method; empty where nothing was timed."""
    return {
        method: speed_of([q.time_ms[method] for q in measured if method in q.time_ms])
        for method in methods_of(measured)
        if any(method in q.time_ms for q in measured)
    }
