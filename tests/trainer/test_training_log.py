"""The log of a run, read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer.training_log import read_training_log


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_training_and_validation_are_curves_of_their_own(tmp_path: Path) -> None:
    path = write(
        tmp_path / "log.jsonl",
        {"step": 50, "loss": 0.5, "rate": 0.1},
        {"validation": True, "step": 50, "metric": 0.25},
        {"step": 100, "loss": 0.25, "rate": 0.1},
    )
    log = read_training_log(path)
    assert log.training == {"loss": [(50, 0.5), (100, 0.25)], "rate": [(50, 0.1), (100, 0.1)]}
    assert log.validation == {"metric": [(50, 0.25)]}


def test_a_resumed_run_repeats_steps_and_the_later_line_counts(tmp_path: Path) -> None:
    lines = [{"step": step, "loss": loss} for step, loss in ((50, 1), (100, 2), (50, 3))]
    assert read_training_log(write(tmp_path / "log", *lines)).training == {
        "loss": [(50, 3), (100, 2)]
    }


def test_lines_that_are_cut_off_or_hold_no_numbers_are_left_out(tmp_path: Path) -> None:
    path = write(
        tmp_path / "log",
        [1],
        {"loss": 1},
        {"step": "x", "loss": 1},
        {"step": 1, "loss": float("nan"), "note": "text", "is_late": True, "huge": 10**400},
        {"step": 2, "loss": float("inf")},
        {"step": 3, "loss": 4},
    )
    with path.open("ab") as file:
        file.write(b'\xff\xfe\n{"step": 4, "lo')
    assert read_training_log(path).training == {"loss": [(3, 4)]}


def test_long_runs_are_thinned_to_means_of_neighbours(tmp_path: Path) -> None:
    path = write(tmp_path / "log", *({"step": n, "loss": n} for n in range(1, 601)))
    curve = read_training_log(path).training["loss"]
    assert len(curve) == 300
    assert curve[0] == (2, 1.5)
    assert curve[-1] == (600, 599.5)


def test_a_log_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_training_log(tmp_path / "none")
