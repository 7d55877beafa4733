"""Which student is best, where several are fast enough: the rule of doctor and of camera's auto."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loading torch takes seconds
    from service.model.checkpoint import Facts

__all__ = ["best_student", "mean_psnr_db"]

_ALIKE_DB = 0.1  # of two students that differ by less the faster one is better


def best_student(scores_db: Mapping[str, float | None]) -> str:
    """The best by score, the fastest of those that are alike; the last where scores are missing.

    Args:
        scores_db: Of each student, faster ones first; at least one.
    """
    known = {student: score for student, score in scores_db.items() if score is not None}
    if len(known) < len(scores_db):
        return list(scores_db)[-1]
    best_db = max(known.values())
    return next(student for student, score in known.items() if score > best_db - _ALIKE_DB)


def mean_psnr_db(facts: Facts) -> float | None:
    """A student's score over the kinds of degraded pictures; None where it has none."""
    values = [score.psnr_db for kind, score in facts.scores.items() if kind != "untouched"]
    return round(statistics.fmean(values), 2) if values else None
