"""Where a run computes, and in which number format."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from service.errors import BackendUnavailable
from trainer import device
from trainer.device import choose_device, choose_precision

CPU = torch.device("cpu")
_CHECKS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


def pretend(monkeypatch: pytest.MonkeyPatch, *abilities: str) -> None:
    for check in _CHECKS:
        monkeypatch.setattr(torch.cpu, check, lambda has=check in abilities: has, raising=False)


@pytest.fixture(autouse=True)
def _measured_anew() -> Iterator[None]:
    device._bf16_is_faster.cache_clear()
    yield
    device._bf16_is_faster.cache_clear()


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "xpu"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(BackendUnavailable):
        choose_device(name)


def test_a_cpu_is_always_there() -> None:
    assert choose_device("cpu") == CPU


def test_a_cpu_without_bf16_trains_in_fp32_and_is_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(device, "is_faster", None)
    assert choose_precision("auto", CPU) == torch.float32


@pytest.mark.parametrize("ability", _CHECKS)
@pytest.mark.parametrize(
    ("is_faster", "expected"), [(True, torch.bfloat16), (False, torch.float32)]
)
def test_a_cpu_trains_in_bf16_where_that_is_faster(
    monkeypatch: pytest.MonkeyPatch, ability: str, is_faster: bool, expected: torch.dtype
) -> None:
    pretend(monkeypatch, ability)
    monkeypatch.setattr(device, "is_faster", lambda *_: is_faster)
    assert choose_precision("auto", CPU) == expected
    assert choose_precision("fp32", CPU) == torch.float32


def test_measuring_changes_neither_threads_nor_random_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, *_CHECKS)
    before = (torch.get_num_threads(), torch.get_rng_state().tolist())
    assert choose_precision("auto", CPU) in (torch.bfloat16, torch.float32)
    assert (torch.get_num_threads(), torch.get_rng_state().tolist()) == before


def test_an_older_torch_that_cannot_tell_gets_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    for check in _CHECKS:
        monkeypatch.delattr(torch.cpu, check, raising=False)
    assert choose_precision("auto", CPU) == torch.float32
