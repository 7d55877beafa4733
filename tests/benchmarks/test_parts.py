"""benchmarks.parts: the parts of a student are found in what OpenVINO counts."""

from __future__ import annotations

import pytest

from benchmarks.parts import part_costs


@pytest.mark.parametrize("name", ["nano", "small"])
def test_the_costly_parts_have_their_times(name: str) -> None:
    parts_ms = part_costs(name, (64, 64), precision="fp32").parts_ms
    assert min(parts_ms[part] for part in ("head", "blocks", "tail")) > 0
    assert parts_ms["blocks"] > parts_ms["head"]
