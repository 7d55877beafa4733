"""The settings of a run: ranges and words."""

from __future__ import annotations

from dataclasses import fields

import pytest

from trainer.config import DistillConfig, setting_help


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be 1 to inf, not 0"),
        ({"rate": 2.0}, "rate must be 0 to 1, not 2"),
        ({"ema": 1.0}, "ema must be 0 to 0"),
        ({"clean_share": -0.1}, "clean_share must be 0 to 1"),
        ({"precision": "int8"}, "precision must be auto, fp32, bf16 or fp16"),
        ({"l1": 0.0, "ssim": 0.0, "edge": 0.0}, "at least one loss term"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(
    change: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        DistillConfig(**change)  # type: ignore[arg-type]


def test_every_setting_says_what_it_is() -> None:
    assert all(setting_help(setting.name) for setting in fields(DistillConfig))
