"""A run's `log.jsonl` read back: curves by name, for charts.

Lines are JSON objects with a `step`; those with `"validation": true` hold the validation's figures.
A run that was resumed from an older state repeats steps: the later line counts. Lines that are cut
off or are not such objects are left out, since a run may be writing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["TrainingLog", "read_training_log"]

Curve = list[tuple[float, float]]

_MOST_POINTS = 300


@dataclass(frozen=True, slots=True)
class TrainingLog:
    """Curves as (step, value), by name; of each at most 300 points, means of neighbours."""

    training: Mapping[str, Curve]
    validation: Mapping[str, Curve]


def read_training_log(path: Path) -> TrainingLog:
    """Reads the finite numbers of every line.

    Raises:
        OSError: the file cannot be read.
    """
    found: dict[bool, dict[str, dict[float, float]]] = {False: {}, True: {}}
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            line = _parsed(text)
            if line is None:
                continue
            curves = found[line.get("validation") is True]
            for name, value in line.items():
                if name != "step" and _is_finite(value):
                    curves.setdefault(name, {})[float(line["step"])] = float(value)
    training, validation = (
        {name: _thinned(sorted(values.items())) for name, values in found[kind].items()}
        for kind in (False, True)
    )
    return TrainingLog(training, validation)


def _parsed(text: str) -> dict[str, float] | None:
    try:
        line = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None
    return line if isinstance(line, dict) and _is_finite(line.get("step")) else None


def _is_finite(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return -1e300 < value < 1e300  # false for NaN; and integers may be too large for a float


def _thinned(points: Curve) -> Curve:
    size = math.ceil(len(points) / _MOST_POINTS)
    groups = (points[start : start + size] for start in range(0, len(points), max(size, 1)))
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]
