"""The settings of a run: ranges, choices and what goes together."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from trainer.config import DistillConfig, RunOptions, TeacherConfig, setting_help


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be 1 to inf, not 0"),
        ({"rate": 2.0}, "rate must be 0 to 1, not 2"),
        ({"ema": 1.0}, "ema must be 0 to 0"),
        ({"clean_share": -0.1}, "clean_share must be 0 to 1"),
        ({"psnr": float("inf")}, "psnr must be a finite number, not inf"),
        ({"rate": float("nan")}, "rate must be 0 to 1, not nan"),
        ({"clip": float("nan")}, "clip must be 1e-06 to inf, not nan"),
        ({"precision": "int8"}, "precision must be auto, fp32, bf16 or fp16"),
        ({"metric": "mse"}, "metric must be psnr or ssim"),
        ({"psnr": 0.0, "ssim": 0.0}, "at least one loss term"),
        ({"batch": 6, "accumulate": 4}, "batch .6. must be a multiple of accumulate"),
        ({"batch": 6, "crop_set": 100}, "crop_set .100. must be a multiple of batch"),
        ({"patience": 3}, "patience needs validate_every"),
        ({"teacher_output": 1.0}, "teacher_features above 0, come together"),
        (
            {"teacher": "teacher.safetensors"},
            "teacher_features above 0, come together",
        ),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_what_is_allowed(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        DistillConfig(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"workers": -1}, {"save_every": 0}, {"max_minutes": -1.0}])
def test_options_have_ranges_too(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="or more, not"):
        RunOptions(data=Path("a"), out=Path("b"), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["max_minutes", "cache_gb"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_an_option_that_is_no_finite_number_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a finite number, not {value}"):
        RunOptions(data=Path("a"), out=Path("b"), **{name: float(value)})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [DistillConfig, TeacherConfig])
def test_every_setting_says_what_it_is(kind: type[DistillConfig] | type[TeacherConfig]) -> None:
    assert all(setting_help(setting.name, kind) for setting in fields(kind))


def test_a_teacher_begins_by_l1() -> None:
    weights = {term: weight for term, weight in TeacherConfig().loss_weights.items() if weight}
    assert weights == {"l1": 1.0, "routing": 0.01}
    assert TeacherConfig().clean_share < DistillConfig().clean_share


def test_a_teacher_has_no_terms_of_distillation() -> None:
    assert "teacher_output" not in TeacherConfig().loss_weights
    assert "teacher_output" in DistillConfig().loss_weights


def test_an_expert_is_restarted_by_the_names_of_two_kinds() -> None:
    config = DistillConfig(init="small.safetensors", restart="video = jpeg")
    assert config.restarted_experts() == (9, 8)
    for restart, init in (("video", "a"), ("video=radio", "a"), ("video=jpeg", "")):
        with pytest.raises(ValueError, match="restart is expert=other"):
            DistillConfig(init=init, restart=restart)


def test_crops_of_a_kind_count_by_their_factors() -> None:
    config = DistillConfig(
        harm=0.1, harm_kinds="aliased large = 3, jpeg=0.5", ssim=0.1, ssim_kinds="camera=2"
    )
    assert config.kind_factors() == {
        "harm": {"aliased large": 3.0, "jpeg": 0.5},
        "ssim": {"camera": 2.0},
    }
    assert DistillConfig(harm=0.1).kind_factors() == {}
    with pytest.raises(ValueError, match="unknown kind 'fog'"):
        DistillConfig(harm=0.1, harm_kinds="fog=1")
    for harm, routing in ((0.0, 0.1), (0.1, 0.0)):
        with pytest.raises(ValueError, match="harm_kinds needs harm and routing above 0"):
            DistillConfig(harm_kinds="jpeg=2", harm=harm, routing=routing)
    with pytest.raises(ValueError, match="ssim_kinds needs ssim and routing above 0"):
        DistillConfig(ssim_kinds="jpeg=2", ssim=0.0)


def test_what_is_drawn_on_crops_needs_the_loader_to_degrade() -> None:
    with pytest.raises(ValueError, match="overlay_share needs the loader to degrade"):
        DistillConfig(overlay_share=0.2, degrade_on="device")
