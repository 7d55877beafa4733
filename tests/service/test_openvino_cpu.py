"""What OpenVINO calculates in on this CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.model import openvino_cpu
from service.model.openvino_cpu import cpu_precision, openvino_abilities


@pytest.fixture(autouse=True)
def _measured_anew() -> Iterator[None]:
    openvino_cpu._bf16_is_faster.cache_clear()
    yield
    openvino_cpu._bf16_is_faster.cache_clear()


def test_auto_is_fp32_on_a_cpu_without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_cpu, "openvino_abilities", lambda: ("FP32", "INT8"))
    assert cpu_precision("auto") == "fp32"


@pytest.mark.parametrize(("is_faster", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_bf16_where_that_is_faster(
    monkeypatch: pytest.MonkeyPatch, is_faster: bool, expected: str
) -> None:
    if "BF16" not in openvino_abilities():
        monkeypatch.setattr(openvino_cpu, "openvino_abilities", lambda: ("FP32", "BF16"))
        monkeypatch.setattr(openvino_cpu, "precision_hint", lambda _: {})
    monkeypatch.setattr(openvino_cpu, "is_faster", lambda *_: is_faster)
    assert cpu_precision("auto") == expected


def test_the_machine_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_cpu, "openvino_abilities", lambda: ("FP32", "BF16"))
    monkeypatch.setattr(openvino_cpu, "precision_hint", lambda _: {})
    answers = iter([True, False])
    monkeypatch.setattr(openvino_cpu, "is_faster", lambda *_: next(answers))
    assert [cpu_precision("auto"), cpu_precision("auto")] == ["bf16", "bf16"]


def test_what_is_timed_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_cpu, "openvino_abilities", lambda: ("FP32", "BF16"))
    monkeypatch.setattr(openvino_cpu, "precision_hint", lambda _: {})
    assert cpu_precision("auto") in ("bf16", "fp32")


@pytest.mark.parametrize("asked", ["fp32", "bf16"])
def test_what_was_asked_for_is_not_measured(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setattr(openvino_cpu, "openvino_core", None)
    assert cpu_precision(asked) == asked
