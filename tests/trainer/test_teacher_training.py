"""A teacher's run: what it starts from, and that it is told the kinds of degradation."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from service.model.checkpoint import load_checkpoint
from service.model.sharpener import bundled_checkpoint
from trainer.config import RunOptions, TeacherConfig
from trainer.nafnet import TEACHERS, NAFNetConfig
from trainer.picture_set import PictureSet
from trainer.run import Run
from trainer.teacher_file import load_teacher
from trainer.teacher_training import teacher_task, train_teacher

CONFIG = TeacherConfig(shape="told", steps=4, batch=2, crop=64, warmup=2, precision="fp32")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape with an estimator that is small enough for a test."""
    monkeypatch.setitem(TEACHERS, "told", NAFNetConfig(4, (1,), 1, (1,), kinds=10))


def options(out: Path, **changes: Any) -> RunOptions:
    return RunOptions(data=Path("unused"), out=out, device="cpu", workers=0, log_every=1, **changes)


def begun(pictures: PictureSet, config: TeacherConfig, out: Path) -> Run:
    task, named = teacher_task(pictures, config, options(out), device=CPU)
    return Run(task, pictures, named, options(out), device=CPU)


def terms_of(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_run_ends_with_a_teacher_and_resumes_as_it_was(
    pictures: PictureSet, tmp_path: Path
) -> None:
    path = train_teacher(pictures, CONFIG, options(tmp_path))
    teacher = load_teacher(path)
    assert teacher.facts.training_steps == 4
    assert teacher.facts.training_config["shape"] == "told"
    assert teacher.network.config == TEACHERS["told"]
    assert begun(pictures, CONFIG, tmp_path).step == 4


def test_the_kinds_are_learned_from_what_was_done_to_the_crops(
    pictures: PictureSet, tmp_path: Path
) -> None:
    config = replace(
        CONFIG, steps=60, batch=8, rate=5e-3, warmup=5, clean_share=0.2, crop_set=32, routing=0.1
    )
    train_teacher(pictures, config, options(tmp_path))
    routed = [line["routing"] for line in terms_of(tmp_path)]
    assert routed[0] == pytest.approx(0.1 * math.log(10), rel=0.2)
    assert sum(routed[-10:]) < 0.8 * sum(routed[:10])


def test_the_routing_term_is_left_out_where_a_shape_has_no_kinds(
    pictures: PictureSet, tmp_path: Path
) -> None:
    train_teacher(pictures, CONFIG, options(tmp_path / "told"))
    assert "routing" in terms_of(tmp_path / "told")[0]
    train_teacher(pictures, replace(CONFIG, shape="tiny"), options(tmp_path / "tiny"))
    assert "routing" not in terms_of(tmp_path / "tiny")[0]


def test_the_estimator_of_a_bundled_student_is_the_start(
    pictures: PictureSet, tmp_path: Path
) -> None:
    run = begun(pictures, replace(CONFIG, estimator="nano"), tmp_path)
    student = load_checkpoint(bundled_checkpoint("nano"))
    state = run.network.state_dict()
    for part in ("estimator", "router"):
        for name, tensor in getattr(student.network, part).state_dict().items():
            assert torch.equal(state[f"diagnosis.{part}.{name}"], tensor), name
    # The settings name the student by what is in it, since a bundled one changes.
    assert getattr(run.config, "estimator") == student.model_id  # noqa: B009


def test_an_estimator_for_a_shape_without_one_is_refused(
    pictures: PictureSet, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="Choose a shape and a student that agree"):
        begun(pictures, replace(CONFIG, shape="tiny", estimator="nano"), tmp_path)
