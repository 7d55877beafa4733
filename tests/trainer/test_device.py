"""Where a run computes, and in which number format."""

from __future__ import annotations

import pytest
import torch

from trainer.device import choose_precision

CPU = torch.device("cpu")
_CHECKS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


@pytest.mark.parametrize(
    ("abilities", "expected"),
    [
        ((), torch.float32),
        (("_is_avx512_bf16_supported",), torch.bfloat16),
        (("_is_amx_tile_supported",), torch.bfloat16),
    ],
)
def test_a_cpu_trains_in_bf16_where_it_multiplies_in_it(
    monkeypatch: pytest.MonkeyPatch, abilities: tuple[str, ...], expected: torch.dtype
) -> None:
    for check in _CHECKS:
        monkeypatch.setattr(torch.cpu, check, lambda has=check in abilities: has, raising=False)
    assert choose_precision("auto", CPU) == expected
    assert choose_precision("fp32", CPU) == torch.float32


def test_an_older_torch_that_cannot_tell_gets_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    for check in _CHECKS:
        monkeypatch.delattr(torch.cpu, check, raising=False)
    assert choose_precision("auto", CPU) == torch.float32
