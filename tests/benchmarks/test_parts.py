"""benchmarks.parts: every part of a student is found in what OpenVINO counts."""

from __future__ import annotations

import pytest

from benchmarks.parts import PARTS, part_costs


@pytest.mark.parametrize(("name", "absent"), [("nano", {"spatial_attention"}), ("small", set())])
def test_every_part_has_its_time(name: str, absent: set[str]) -> None:
    costs = part_costs(name, (64, 64), precision="fp32")
    assert costs.parts_ms.keys() == {*PARTS, "rest"} - absent
    assert costs.parts_ms["blocks"] > 0
    assert costs.gflops > 0
