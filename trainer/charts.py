"""Charts as inline SVG: lines and grouped bars, coloured by the page's style sheet.

Numbers come out; what they are drawn on is the page's affair: series number i has the class
`series-i`. All text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

__all__ = ["Series", "bar_chart", "line_chart", "ticks"]

_WIDTH, _HEIGHT = 460, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 68, 14, 12, 44
_BAR_PX, _GROUP_GAP_PX, _BAR_LABEL_PX = 11, 12, 92


@dataclass(frozen=True, slots=True)
class Series:
    """One line.

    Attributes:
        number: which colour it has.
        points: (x, y), finite, by rising x.
        has_marks: show each point.
    """

    name: str
    number: int
    points: Sequence[tuple[float, float]]
    has_marks: bool = True


def line_chart(
    title: str, series: Sequence[Series], *, x_label: str, y_label: str, has_log_y: bool = False
) -> Markup:
    """Lines over a common x, as one SVG element.

    Args:
        has_log_y: the y axis is logarithmic; points that are not above 0 are left out.
    """
    shown = [_above_zero(line) for line in series] if has_log_y else list(series)
    points = [point for line in shown for point in line.points]
    if not points:
        return Markup('<p class="empty">{}</p>').format(f"{title}: nothing to draw")
    x_axis = _Axis.over([x for x, _ in points], _LEFT, _WIDTH - _RIGHT)
    y_axis = _Axis.over([y for _, y in points], _HEIGHT - _BOTTOM, _TOP, is_log=has_log_y)
    parts = [_grid(x_axis, y_axis, x_label, y_label)]
    for line in shown:
        path = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in line.points)
        parts.append(
            Markup('<polyline class="line series-{}" points="{}"/>').format(line.number, path)
        )
        if line.has_marks:
            parts += [
                Markup('<circle class="mark series-{}" cx="{}" cy="{}" r="3.5">{}</circle>').format(
                    line.number,
                    f"{x_axis.at(x):.1f}",
                    f"{y_axis.at(y):.1f}",
                    Markup("<title>{}</title>").format(f"{line.name}: {x:.4g} → {y:.4g}"),
                )
                for x, y in line.points
            ]
    return _svg(title, _HEIGHT, parts)


def bar_chart(
    title: str, groups: Mapping[str, Sequence[tuple[str, int, float]]], *, unit: str
) -> Markup:
    """Groups of horizontal bars from a common zero, as one SVG element.

    Args:
        groups: by label, the bars as (name, colour number, finite value).
    """
    values = [value for bars in groups.values() for _, _, value in bars]
    if not values:
        return Markup('<p class="empty">{}</p>').format(f"{title}: nothing to draw")
    axis = _Axis.over([0.0, *values], _BAR_LABEL_PX, _WIDTH - 44, has_labels_before=True)
    heights = [len(bars) * _BAR_PX + _GROUP_GAP_PX for bars in groups.values()]
    bottom = _TOP + sum(heights)
    parts = [
        Markup('<line class="grid" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>{3}').format(
            f"{axis.at(tick):.1f}",
            _TOP,
            bottom,
            _text(axis.at(tick), bottom + 16, axis.label(tick)),
        )
        for tick in axis.ticks
    ]
    parts.append(_text((_BAR_LABEL_PX + _WIDTH - 44) / 2, bottom + 34, unit, "axis-label"))
    top = float(_TOP)
    for (label, bars), height in zip(groups.items(), heights, strict=True):
        middle = top + (height - _GROUP_GAP_PX) / 2 + 4
        parts.append(_text(_BAR_LABEL_PX - 10, middle, _shortened(label, 14), "name"))
        for name, number, value in bars:
            parts.append(_bar(axis, top, number, value, f"{label}, {name}: {value:+.2f} {unit}"))
            top += _BAR_PX
        top += _GROUP_GAP_PX
    zero = f"{axis.at(0):.1f}"
    parts.append(
        Markup('<line class="zero" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(
            zero, _TOP, bottom
        )
    )
    return _svg(title, bottom + 44, parts)


def _bar(axis: _Axis, top: float, number: int, value: float, note: str) -> Markup:
    start, end = sorted((axis.at(0), axis.at(value)))
    bar = Markup(
        '<rect class="bar series-{}" x="{}" y="{}" width="{}" height="{}" rx="1.5">{}</rect>'
    ).format(
        number,
        f"{start:.1f}",
        f"{top + 1:.1f}",
        f"{max(end - start, 0.5):.1f}",
        _BAR_PX - 2,
        Markup("<title>{}</title>").format(note),
    )
    outside = end + 4 if value >= 0 else start - 4
    kind = "value" if value >= 0 else "value before"
    return bar + _text(outside, top + _BAR_PX - 2, f"{value:+.2f}", kind)


@dataclass(frozen=True, slots=True)
class _Axis:
    """From values to positions in px."""

    low: float
    high: float
    first_px: float
    last_px: float
    ticks: Sequence[float]
    is_log: bool = False

    @classmethod
    def over(
        cls,
        values: Sequence[float],
        first_px: float,
        last_px: float,
        *,
        is_log: bool = False,
        has_labels_before: bool = False,
    ) -> _Axis:
        low, high = min(values), max(values)
        if is_log:
            low, high = math.log10(low), math.log10(high)
        if high - low < 1e-9 * max(1.0, abs(high)):
            low, high = low - 0.5, high + 0.5
        if low < 0 and has_labels_before:
            low -= 0.15 * (high - low)
        marks = ticks(low, high)
        return cls(min(low, marks[0]), max(high, marks[-1]), first_px, last_px, marks, is_log)

    def at(self, value: float) -> float:
        return self._place(math.log10(value) if self.is_log else value)

    def tick_at(self, tick: float) -> float:
        """A tick of a logarithmic axis is an exponent."""
        return self._place(tick)

    def label(self, tick: float) -> str:
        if self.is_log:
            return f"{10**tick:.2g}"
        if abs(tick) >= 10_000:
            return f"{tick:,.0f}"
        # Rounding leaves traces such as 5e-17 where the tick is zero.
        return f"{0 if abs(tick) < 1e-9 * (self.high - self.low) else tick:.4g}"

    def _place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.first_px + share * (self.last_px - self.first_px)


def ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers within `low` to `high`, evenly spaced: 1, 2 or 5 times 10^n.

    At least two, even where only one round number lies within.
    """
    rough = (high - low) / 5
    magnitude = 10.0 ** math.floor(math.log10(rough))
    least = rough * (1 - 1e-9)
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= least)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    marks = [number * step for number in range(first, last + 1)]
    return marks if len(marks) > 1 else [first * step, (first + 1) * step]


def _above_zero(line: Series) -> Series:
    points = [point for point in line.points if point[1] > 0]
    return Series(line.name, line.number, points, line.has_marks)


def _grid(x_axis: _Axis, y_axis: _Axis, x_label: str, y_label: str) -> Markup:
    parts = []
    for tick in y_axis.ticks:
        y = y_axis.tick_at(tick)
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(
                _LEFT, _WIDTH - _RIGHT, y=f"{y:.1f}"
            )
        )
        parts.append(_text(_LEFT - 8, y + 4, y_axis.label(tick), "name"))
    for tick in x_axis.ticks:
        parts.append(_text(x_axis.tick_at(tick), _HEIGHT - _BOTTOM + 18, x_axis.label(tick)))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_label, "axis-label"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(
        Markup(
            '<text class="axis-label" transform="translate(13 {}) rotate(-90)">{}</text>'
        ).format(f"{middle:.1f}", y_label)
    )
    return Markup("").join(parts)


def _text(x: float, y: float, text: str, kind: str = "tick") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}">{}</text>').format(
        kind, f"{x:.1f}", f"{y:.1f}", text
    )


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _svg(title: str, height: float, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(_WIDTH, f"{height:g}", title, Markup("").join(parts))
