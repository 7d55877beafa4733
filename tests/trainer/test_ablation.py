"""Ablation: which variants there are, and a table of what each gains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from trainer.ablation import ablate, ablation_table, variants
from trainer.config import DistillConfig, RunOptions
from trainer.picture_set import PictureSet


def names(**changes: object) -> list[str]:
    return list(variants(DistillConfig(**changes)))  # type: ignore[arg-type]


def test_each_term_is_switched_off_once() -> None:
    assert names() == ["all terms", "without psnr", "without ssim", "without routing"]


def test_the_last_term_that_says_what_is_wanted_stays() -> None:
    assert names(ssim=0.0) == ["all terms", "without routing"]


def test_terms_and_routing_are_switched_off_with_what_needs_both() -> None:
    made = variants(DistillConfig(harm=0.1, harm_kinds="camera=2", ssim_kinds="camera=2"))
    assert {"without harm", "without ssim", "without routing"} <= made.keys()


def test_the_teacher_is_switched_off_with_all_of_its_terms() -> None:
    found = variants(
        DistillConfig(teacher="t", teacher_output=1.0, teacher_features=0.1, routing=0.0)
    )
    assert list(found)[3:] == [
        "without teacher_output",
        "without teacher_features",
        "without the teacher",
    ]
    assert found["without the teacher"].teacher == ""
    assert names(teacher="t", teacher_output=1.0, routing=0.0)[3:] == ["without the teacher"]


def test_an_ablation_needs_pictures_to_measure_on(tmp_path: Path, pictures: PictureSet) -> None:
    with pytest.raises(ValueError, match="pass --validation"):
        ablate(pictures, DistillConfig(), RunOptions(data=tmp_path, out=tmp_path))


def test_variants_that_had_no_time_are_not_compared(
    tmp_path: Path, pictures: PictureSet, samples: Path
) -> None:
    config = DistillConfig(
        size="nano", steps=2, batch=2, crop=64, warmup=1, routing=0.0, validation_pictures=2
    )
    options = RunOptions(
        data=samples, out=tmp_path, validation=samples, device="cpu", workers=0, threads=1
    )
    with pytest.raises(TimeoutError, match="variant 1 of 3, all terms: run again"):
        ablate(pictures, config, replace(options, max_minutes=1e-6))
    assert len(ablate(pictures, config, options)) == 3


def test_every_variant_is_trained_and_measured(
    tmp_path: Path, pictures: PictureSet, samples: Path
) -> None:
    config = DistillConfig(
        size="nano",
        steps=2,
        batch=2,
        crop=64,
        warmup=1,
        routing=0.0,
        validation_pictures=2,
    )
    options = RunOptions(
        data=samples, out=tmp_path, validation=samples, device="cpu", workers=0, threads=1
    )
    begun: list[str] = []
    rows = ablate(
        pictures, config, options, on_variant=lambda name, _at, _count: begun.append(name)
    )
    assert begun == [row.variant for row in rows] == ["all terms", "without psnr", "without ssim"]
    assert all(
        (tmp_path / name.replace(" ", "-") / "student.safetensors").exists() for name in begun
    )
    console = Console(width=200, record=True)
    console.print(ablation_table(rows))
    printed = console.export_text()
    assert "without ssim" in printed
    assert "webcam" in printed
