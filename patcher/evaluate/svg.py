"""Plots as inline SVG: bars, intervals, points. Colours are CSS classes, so that one picture serves light and
dark; every shape carries its figure as a title. Widths are those of a phone: 340 units are 340 pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 340.0
_LABEL = 104.0  # left of the bars
_VALUE = 66.0  # right of them
_ROW = 30.0
_TOP = 10.0
_AXIS = 34.0
COLOURS = 6


@dataclass(frozen=True)
class Mark:
    """One thing to draw: ``colour`` is an index, ``shown`` the value in words."""

    label: str
    value: float
    low: float | None
    high: float | None
    shown: str
    colour: int
    second: float = 0.0  # the other axis, of points


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from ``low`` to ``high``, about ``count`` of them."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def bars(marks: Sequence[Mark], *, name: str, reference: float | None = None) -> Markup:
    """Horizontal bars from zero, with the interval as a whisker and a line at ``reference``."""
    top = max([*(mark.high or mark.value for mark in marks), reference or 0.0]) * 1.04 or 1.0
    plot = WIDTH - _LABEL - _VALUE
    height = _TOP + _ROW * len(marks) + (14.0 if reference is not None else 4.0)

    def x(value: float) -> float:
        return _LABEL + plot * max(0.0, value) / top

    parts = [_open(height, name)]
    if reference is not None:
        parts.append(_line("grid strong", x(reference), _TOP - 4, x(reference), height - 12))
        parts.append(_text("tick", x(reference), height - 1, f"{reference:g}", "middle"))
    for number, mark in enumerate(marks):
        y = _TOP + _ROW * number
        parts.append(_text("name", 0, y + 15, mark.label))
        parts.append(
            Markup(
                '<rect class="c{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="18" rx="3">{}</rect>'
            ).format(mark.colour % COLOURS, _LABEL, y + 2, max(1.0, x(mark.value) - _LABEL), _title(mark))
        )
        if mark.low is not None and mark.high is not None and mark.high > mark.low:
            parts.append(_whisker(x(mark.low), x(mark.high), y + 11))
        parts.append(_text("value", WIDTH, y + 15, mark.shown, "end"))
    return Markup("").join([*parts, Markup("</svg>")])


def intervals(marks: Sequence[Mark], *, name: str, unit: str, reference: float | None = None) -> Markup:
    """Points with their error bars on an axis that need not start at zero."""
    ends = [end for mark in marks for end in (mark.low, mark.high, mark.value) if end is not None]
    low, high = _range([*ends, *([reference] if reference is not None else [])])
    plot = WIDTH - _LABEL - 12
    body = _TOP + 44.0 * len(marks)

    def x(value: float) -> float:
        return _LABEL + plot * (value - low) / (high - low)

    parts = [_open(body + _AXIS, name), _grid_x(low, high, x, body)]
    parts.append(_text("tick", _LABEL + plot / 2, body + _AXIS - 3, unit, "middle"))
    if reference is not None:
        parts.append(_line("grid strong", x(reference), _TOP - 4, x(reference), body))
    for number, mark in enumerate(marks):
        y = _TOP + 44.0 * number + 14
        parts.append(_text("name", 0, y + 4, mark.label))
        if mark.low is not None and mark.high is not None and mark.high > mark.low:
            parts.append(_whisker(x(mark.low), x(mark.high), y))
        parts.append(_point(x(mark.value), y, mark))
        anchor = "end" if x(mark.value) > WIDTH - 70 else "start" if x(mark.value) < _LABEL + 60 else "middle"
        parts.append(_text("value", x(mark.value), y + 20, mark.shown, anchor))
    return Markup("").join([*parts, Markup("</svg>")])


def points(marks: Sequence[Mark], *, name: str, horizontal: str, vertical: str) -> Markup:
    """One point a mark: ``value`` to the right, ``second`` upwards; each labelled beside it."""
    left, right, bottom = 52.0, 14.0, 40.0
    height = 250.0
    low_x, high_x = _range([mark.value for mark in marks])
    low_y, high_y = _range([mark.second for mark in marks])

    def x(value: float) -> float:
        return left + (WIDTH - left - right) * (value - low_x) / (high_x - low_x)

    def y(value: float) -> float:
        return height - bottom - (height - bottom - 24) * (value - low_y) / (high_y - low_y)

    parts = [_open(height, name), _grid_x(low_x, high_x, x, height - bottom)]
    for tick in ticks(low_y, high_y):
        parts.append(_line("grid", left, y(tick), WIDTH - right, y(tick)))
        parts.append(_text("tick", left - 5, y(tick) + 4, f"{tick:+.4g}", "end"))
    parts.append(_text("tick", left + (WIDTH - left - right) / 2, height - 6, horizontal, "middle"))
    parts.append(_text("tick", 0, 11, vertical))
    taken: list[tuple[float, float]] = []
    for mark in sorted(marks, key=lambda mark: mark.second):
        at_x, at_y = x(mark.value), y(mark.second)
        parts.append(_point(at_x, at_y, mark))
        anchor, label_x = ("end", at_x - 9) if at_x > WIDTH * 0.62 else ("start", at_x + 9)
        label_y = at_y + 4
        while any(abs(label_y - other_y) < 14 and abs(label_x - other_x) < 110 for other_x, other_y in taken):
            label_y -= 14  # two labels in one place: this one goes up
        taken.append((label_x, label_y))
        parts.append(_text("name", label_x, label_y, mark.label, anchor))
    return Markup("").join([*parts, Markup("</svg>")])


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = (high - low) * 0.12 or abs(high) * 0.01 or 1.0
    return low - margin, high + margin


def _grid_x(low: float, high: float, x: Callable[[float], float], bottom: float) -> Markup:
    parts = []
    for tick in ticks(low, high):
        parts.append(_line("grid", x(tick), _TOP - 4, x(tick), bottom))
        parts.append(_text("tick", x(tick), bottom + 14, f"{tick:.6g}", "middle"))
    return Markup("").join(parts)


def _open(height: float, name: str) -> Markup:
    return Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">').format(WIDTH, height, name)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        kind, x1, y1, x2, y2
    )


def _text(kind: str, x: float, y: float, text: str, anchor: str = "start") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, escape(text)
    )


def _whisker(x1: float, x2: float, y: float) -> Markup:
    ends = [_line("whisker", x, y - 4, x, y + 4) for x in (x1, x2)]
    return Markup("").join([_line("whisker", x1, y, x2, y), *ends])


def _point(x: float, y: float, mark: Mark) -> Markup:
    return Markup('<circle class="c{}" cx="{:.1f}" cy="{:.1f}" r="6">{}</circle>').format(
        mark.colour % COLOURS, x, y, _title(mark)
    )


def _title(mark: Mark) -> Markup:
    return Markup("<title>{}: {}</title>").format(mark.label, mark.shown)
