"""Plots as inline SVG: bars and intervals. Colours are CSS classes: one picture serves light and dark. Every
shape carries its figure as a title. Widths are those of a phone: 340 units are 340 pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 340.0
COLOURS = 6
_LABEL = 104.0  # left of the bars
_VALUE = 66.0  # right of them
_ROW = 30.0
_TOP = 10.0
_AXIS = 34.0
HALF_LETTER = 3.9  # of its width at 12 pixels, in the widest of the usual fonts


@dataclass(frozen=True)
class Mark:
    """One thing to draw: ``colour`` is an index, ``shown`` the value in words."""

    label: str
    value: float
    low: float | None
    high: float | None
    shown: str
    colour: int
    second: float = 0.0  # the other axis, where there is one
    second_low: float | None = None
    second_high: float | None = None


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from ``low`` to ``high``, about ``count`` of them."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    found = [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]
    return found or [low]


def bars(marks: Sequence[Mark], *, name: str, reference: tuple[float, str] | None = None) -> Markup:
    """Horizontal bars from zero, intervals as whiskers, and a line with its words at ``reference``."""
    bound = reference[0] if reference else 0.0
    top = max([*(mark.high or mark.value for mark in marks), bound]) * 1.04 or 1.0
    plot = WIDTH - _LABEL - _VALUE
    height = _TOP + _ROW * len(marks) + (20.0 if reference else 4.0)

    def x(value: float) -> float:
        return _LABEL + plot * max(0.0, value) / top

    parts = [opened(height, name)]
    for number, mark in enumerate(marks):
        y = _TOP + _ROW * number
        parts.append(text("name", 0, y + 15, mark.label))
        parts.append(
            Markup(
                '<rect class="c{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="18" rx="3">{}</rect>'
            ).format(mark.colour % COLOURS, _LABEL, y + 2, max(1.0, x(mark.value) - _LABEL), _title(mark))
        )
        if mark.low is not None and mark.high is not None and mark.high > mark.low:
            parts.append(whisker(x(mark.low), x(mark.high), y + 11))
        parts.append(text("value", WIDTH, y + 15, mark.shown, "end"))
    if reference is not None:
        parts.append(line("bound", x(bound), _TOP - 5, x(bound), height - 16))
        half = len(reference[1]) * HALF_LETTER
        at = min(max(x(bound), half), WIDTH - half)
        parts.append(text("tick", at, height - 5, reference[1], "middle"))
    return Markup("").join([*parts, Markup("</svg>")])


def intervals(marks: Sequence[Mark], *, name: str, unit: str, reference: float | None = None) -> Markup:
    """Points with their error bars on an axis that need not start at zero."""
    ends = [end for mark in marks for end in (mark.low, mark.high, mark.value) if end is not None]
    low, high = limits([*ends, *([reference] if reference is not None else [])])
    plot = WIDTH - _LABEL - 12
    body = _TOP + 44.0 * len(marks)

    def x(value: float) -> float:
        return _LABEL + plot * (value - low) / (high - low)

    parts = [opened(body + _AXIS, name), _grid(low, high, x, body)]
    parts.append(text("tick", _LABEL + plot / 2, body + _AXIS - 3, unit, "middle"))
    if reference is not None:
        parts.append(line("bound", x(reference), _TOP - 4, x(reference), body))
    for number, mark in enumerate(marks):
        y = _TOP + 44.0 * number + 14
        parts.append(text("name", 0, y + 4, mark.label))
        if mark.low is not None and mark.high is not None and mark.high > mark.low:
            parts.append(whisker(x(mark.low), x(mark.high), y))
        parts.append(point(x(mark.value), y, mark))
        half = len(mark.shown) * HALF_LETTER
        at = min(max(x(mark.value), _LABEL + half), WIDTH - half)
        parts.append(text("value", at, y + 21, mark.shown, "middle"))
    return Markup("").join([*parts, Markup("</svg>")])


def limits(values: Sequence[float]) -> tuple[float, float]:
    """An axis that holds all of ``values``, with a margin."""
    low, high = min(values), max(values)
    margin = (high - low) * 0.1 or abs(high) * 0.01 or 1.0
    return low - margin, high + margin


def opened(height: float, name: str) -> Markup:
    """The beginning of a picture."""
    return Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">').format(WIDTH, height, name)


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    """A line; ``kind`` is its class."""
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        kind, x1, y1, x2, y2
    )


def text(kind: str, x: float, y: float, words: str, anchor: str = "start") -> Markup:
    """Words; ``kind`` is their class, ``anchor`` what of them stands at ``x``."""
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, escape(words)
    )


def whisker(x1: float, x2: float, y: float) -> Markup:
    """A horizontal interval with its ends marked."""
    ends = [line("whisker", x, y - 4, x, y + 4) for x in (x1, x2)]
    return Markup("").join([line("whisker", x1, y, x2, y), *ends])


def point(x: float, y: float, mark: Mark, radius: float = 6) -> Markup:
    """A dot in the mark's colour."""
    return Markup('<circle class="c{}" cx="{:.1f}" cy="{:.1f}" r="{:g}">{}</circle>').format(
        mark.colour % COLOURS, x, y, radius, _title(mark)
    )


def _grid(low: float, high: float, x: Callable[[float], float], bottom: float) -> Markup:
    parts = []
    for tick in ticks(low, high):
        parts.append(line("grid", x(tick), _TOP - 4, x(tick), bottom))
        parts.append(text("tick", x(tick), bottom + 14, "0" if tick == 0 else f"{tick:.6g}", "middle"))
    return Markup("").join(parts)


def _title(mark: Mark) -> Markup:
    return Markup("<title>{}: {}</title>").format(mark.label, mark.shown)
