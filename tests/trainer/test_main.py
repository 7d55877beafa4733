"""The command line: pictures in, a checkpoint and a report out, plain words on mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.model.checkpoint import load_checkpoint
from trainer.__main__ import main
from trainer.degradation import PROTOCOLS

QUICK = ("--size", "nano", "--steps", "2", "--batch", "2", "--crop", "64", "--workers", "0")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    out = tmp_path_factory.mktemp("run")
    assert main(["distill", "--data", str(samples), "--out", str(out), *QUICK]) == 0
    return out / "student.safetensors"


def test_distill_writes_a_checkpoint_that_loads(checkpoint: Path) -> None:
    assert load_checkpoint(checkpoint).facts.training_steps == 2


def test_a_second_call_with_the_same_settings_finds_nothing_left_to_do(
    checkpoint: Path, samples: Path
) -> None:
    before = load_checkpoint(checkpoint).network.state_dict()
    out = checkpoint.parent
    assert main(["distill", "--data", str(samples), "--out", str(out), *QUICK]) == 0
    after = load_checkpoint(checkpoint).network.state_dict()
    assert all(bool((after[name] == tensor).all()) for name, tensor in before.items())


def test_evaluate_prints_tables_writes_json_and_scores(
    checkpoint: Path, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    arguments = ["--checkpoint", str(checkpoint), "--data", str(samples), "--region", "crop"]
    options = ["--limit", "2", "--json", str(report), "--find-strength", "--write-scores"]
    assert main(["evaluate", *arguments, *options]) == 0
    printed = capsys.readouterr().out
    for column in ("input", "unsharp", "student", *PROTOCOLS):
        assert column in printed
    assert json.loads(report.read_text())["means"]["crop"].keys() == PROTOCOLS.keys()
    facts = load_checkpoint(checkpoint).facts
    assert facts.scores.keys() == PROTOCOLS.keys()
    assert facts.default_strength in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["distill", "--data", "nowhere", "--out", "{out}"], "holds no pictures"),
        (
            ["distill", "--data", "{samples}", "--out", "{out}", "--rate", "7"],
            "rate must be 0 to 1",
        ),
        (
            ["distill", "--data", "{samples}", "--out", "{out}", "--size", "big"],
            "size must be one of",
        ),
        (["evaluate", "--data", "nowhere"], "holds no pictures"),
        (["evaluate", "--data", "x", "--checkpoint", "none"], "no such file"),
        (["evaluate", "--data", "x", "--strength", "9"], "--strength must be 0 to 2"),
    ],
)
def test_mistakes_are_said_in_one_line_and_exit_with_2(
    arguments: list[str],
    message: str,
    samples: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [argument.format(samples=samples, out=tmp_path) for argument in arguments]
    assert main(filled) == 2
    errors = " ".join(capsys.readouterr().err.split())
    assert "error:" in errors
    assert message in errors
    assert "Traceback" not in errors
