"""What a run tells while it goes on."""

from __future__ import annotations

import errno
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.run_log import RunLog

LINE = {"step": 1, "loss": 0.5, "psnr_db": 30.0, "images_per_s": 2.0}


@pytest.fixture
def log(tmp_path: Path) -> RunLog:
    return RunLog(tmp_path, "a run", steps=3, is_writing=True, has_tensorboard=False)


def test_a_line_that_cannot_be_written_is_warned_of_once_and_the_run_goes_on(
    log: RunLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log.jsonl"
    path.mkdir()
    with caplog.at_level(logging.WARNING):
        log.training(LINE)
        log.validation({"step": 1, "metric": 0.25})
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} cannot be written (Is a directory): what it lacks is lost, the run goes on."
    ]
    path.rmdir()
    log.training(LINE)
    assert json.loads(path.read_text()) == LINE


def test_a_line_that_was_cut_off_is_ended_before_the_next_one(log: RunLog, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo')
    log.training(LINE)
    log.training(LINE)
    lines = path.read_text().split("\n")
    assert lines[:2] == ['{"step": 1}', '{"step": 2, "lo']
    assert [json.loads(line) for line in lines[2:4]] == [LINE, LINE]
    assert lines[4:] == [""]


def test_processes_but_the_first_write_nothing(tmp_path: Path) -> None:
    log = RunLog(tmp_path, "a run", steps=3, is_writing=False, has_tensorboard=False)
    log.training(LINE)
    assert not list(tmp_path.iterdir())


class FullDisk:
    """A TensorBoard writer that fails from its first figure on."""

    def __getattr__(self, name: str) -> Any:
        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        return fail


def test_tensorboard_on_a_full_disk_is_given_up_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("trainer.run_log._board", lambda _folder: FullDisk())
    with RunLog(tmp_path, "a run", steps=3, is_writing=True, has_tensorboard=True) as log:
        log.training(LINE)
        log.pictures(1, torch.zeros(3, 4, 4))
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'tensorboard'} cannot be written (No space left on device): what it lacks "
        "is lost, the run goes on."
    ]
    assert json.loads((tmp_path / "log.jsonl").read_text()) == LINE
