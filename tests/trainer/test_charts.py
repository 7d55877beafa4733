"""Charts: points where they belong, well-formed SVG whatever the names are."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from trainer.charts import Series, bar_chart, line_chart, ticks


def elements(svg: Markup, tag: str, kind: str = "") -> list[ElementTree.Element]:
    found = ElementTree.fromstring(svg).iter(tag)
    return [
        element for element in found if kind in (element.get("class") or "").split() or not kind
    ]


def points(svg: Markup) -> list[tuple[float, float]]:
    (line,) = elements(svg, "polyline")
    pairs = [pair.split(",") for pair in (line.get("points") or "").split()]
    return [(float(x), float(y)) for x, y in pairs]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (97, 452, [100, 200, 300, 400]),
        (-0.4, 1.3, [0, 0.5, 1]),
        (0.3, 0.4, [0.3, 0.32, 0.34, 0.36, 0.38, 0.4]),
        (1.1, 1.9, [1.2, 1.4, 1.6, 1.8]),
    ],
)
def test_ticks_are_round_and_within(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_a_line_rises_from_left_to_right_in_proportion() -> None:
    line = Series("psnr", 3, [(100, 30), (200, 31), (400, 33)])
    svg = line_chart("PSNR", [line], x_label="kbit/s", y_label="dB")
    (x1, y1), (x2, y2), (x3, y3) = points(svg)
    assert x1 < x2 < x3
    assert y1 > y2 > y3
    assert (x3 - x2) / (x2 - x1) == pytest.approx(2, rel=0.01)
    assert (y2 - y3) / (y1 - y2) == pytest.approx(2, rel=0.01)
    assert len(elements(svg, "circle", "series-3")) == 3
    assert {"kbit/s", "dB"} <= {text.text for text in elements(svg, "text")}


def test_a_logarithmic_axis_spaces_factors_evenly_and_drops_what_it_cannot_show() -> None:
    line = Series("loss", 0, [(0, 0.1), (1, 0.01), (2, 0.0), (3, 0.001)], has_marks=False)
    svg = line_chart("loss", [line], x_label="step", y_label="loss", has_log_y=True)
    (_, y1), (_, y2), (_, y3) = points(svg)
    assert y2 - y1 == pytest.approx(y3 - y2, abs=0.2)
    assert elements(svg, "circle") == []


def test_bars_start_at_zero_and_show_their_values() -> None:
    svg = bar_chart("gain", {"face": [("cas", 2, 0.5), ("student", 3, -1.0)]}, unit="dB")
    zero = float(elements(svg, "line", "zero")[0].get("x1") or "nan")
    gain, loss = elements(svg, "rect")
    assert float(gain.get("x") or "nan") == zero
    widths = [float(bar.get("width") or "nan") for bar in (gain, loss)]
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.02)
    assert float(loss.get("x") or "nan") + widths[1] == pytest.approx(zero, abs=0.11)
    texts = [text.text for text in elements(svg, "text")]
    assert {"+0.50", "-1.00", "face"} <= set(texts)


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-9, 1e9])
def test_equal_and_extreme_values_can_be_drawn(value: float) -> None:
    svg = line_chart("t", [Series("s", 0, [(1, value), (2, value)])], x_label="x", y_label="y")
    assert len({y for _, y in points(svg)}) == 1
    assert elements(bar_chart("t", {"a": [("s", 0, value)]}, unit="dB"), "rect")


def test_nothing_to_draw_is_said() -> None:
    assert "nothing to draw" in line_chart("t", [], x_label="x", y_label="y")
    assert "nothing to draw" in bar_chart("t", {}, unit="dB")


def test_names_are_text() -> None:
    name = '</text><script>alert("x")</script>'
    line = Series(name, 0, [(1, 1), (2, 2)])
    for svg in (
        line_chart(name, [line], x_label=name, y_label=name),
        bar_chart(name, {name: [(name, 0, 1.0)]}, unit=name),
    ):
        assert elements(svg, "script") == []
        assert ElementTree.fromstring(svg).get("aria-label") == name
