"""Plots as inline SVG: bars and intervals. Colours are CSS classes: one picture serves light and dark. Every
shape carries its figure as a title. Widths are those of a phone: 340 units are 340 pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 340.0
COLOURS = 7
_EDGE = 7.0  # half of a point's width
_ROW = 42.0  # name and value, what is drawn below them
_TOP = 4.0
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
    """Horizontal bars from zero, each below its name and value, intervals as whiskers, and a line with its
    words at ``reference``, which runs through no name."""
    bound = reference[0] if reference else 0.0
    top = max([*(mark.high or mark.value for mark in marks), bound]) * 1.04 or 1.0
    height = _TOP + _ROW * len(marks) + (18.0 if reference else 0.0)

    def x(value: float) -> float:
        return _EDGE + (WIDTH - 2 * _EDGE) * max(0.0, value) / top

    parts = [opened(height, name)]
    for number, mark in enumerate(marks):
        y = _TOP + _ROW * number
        parts += _named(mark, y)
        parts.append(
            Markup(
                '<rect class="c{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="14" rx="3">{}</rect>'
            ).format(mark.colour % COLOURS, _EDGE, y + 19, max(1.0, x(mark.value) - _EDGE), _title(mark))
        )
        if mark.low is not None and mark.high is not None and mark.high > mark.low:
            parts.append(whisker(x(mark.low), x(mark.high), y + 26))
        if reference is not None:
            parts.append(line("bound", x(bound), y + 17, x(bound), y + 34))
    if reference is not None:
        half = len(reference[1]) * HALF_LETTER
        at = min(max(x(bound), half), WIDTH - half)
        parts.append(text("tick", at, height - 5, reference[1], "middle"))
    return Markup("").join([*parts, Markup("</svg>")])


def intervals(
    marks: Sequence[Mark], *, name: str, unit: str, reference: float | None = None, logarithmic: bool = False
) -> Markup:
    """Points with their error bars, each below its name and value, on an axis that need not start at zero.

    ``logarithmic`` is for values above zero alone, of which some are many times as large as others.
    """
    ends = [end for mark in marks for end in (mark.low, mark.high, mark.value) if end is not None]
    ends += [reference] if reference is not None else []
    scale = Scale.of(ends, _EDGE, WIDTH - _EDGE, logarithmic=logarithmic)
    body = _TOP + _ROW * len(marks)
    parts = [opened(body + _AXIS, name)]
    for number, mark in enumerate(marks):
        y = _TOP + _ROW * number
        parts += [line("grid", scale(tick), y + 18, scale(tick), y + 34) for tick in scale.ticks()]
        if reference is not None:
            parts.append(line("bound", scale(reference), y + 18, scale(reference), y + 35))
        parts += _named(mark, y)
        if mark.low is not None and mark.high is not None and mark.high > mark.low:
            parts.append(whisker(scale(mark.low), scale(mark.high), y + 26))
        parts.append(point(scale(mark.value), y + 26, mark))
    for tick in scale.ticks():
        half = len(scale.shown(tick)) * HALF_LETTER
        at = min(max(scale(tick), half), WIDTH - half)
        parts.append(text("tick", at, body + 12, scale.shown(tick), "middle"))
    parts.append(text("tick", WIDTH / 2, body + _AXIS - 3, unit, "middle"))
    return Markup("").join([*parts, Markup("</svg>")])


def _named(mark: Mark, y: float) -> list[Markup]:
    """The name at the left, the value at the right; a name that is too long for both is cut, and whole in the
    shape's title."""
    room = int((WIDTH - 2 * HALF_LETTER * len(mark.shown)) / (2 * HALF_LETTER)) - 2
    label = mark.label if len(mark.label) <= room else f"{mark.label[: max(1, room - 1)]}\u2026"
    return [text("name", 0, y + 12, label), text("value", WIDTH, y + 12, mark.shown, "end")]


@dataclass(frozen=True)
class Scale:
    """Where a value stands on an axis from ``start`` to ``end``, in units of the picture."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    @classmethod
    def of(cls, values: Sequence[float], start: float, end: float, *, logarithmic: bool = False) -> Scale:
        """An axis that holds all of ``values``, with a margin. ``logarithmic``: those above zero."""
        if not logarithmic:
            return cls(*limits(values), start, end)
        low, high = limits([math.log10(value) for value in values if value > 0] or [0.0])
        return cls(10**low, 10**high, start, end, logarithmic=True)

    def __call__(self, value: float) -> float:
        if self.logarithmic:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + (self.end - self.start) * share

    def ticks(self, count: int = 4) -> list[float]:
        """Round numbers on it: of a logarithmic one 1, 2 and 5 times powers of ten, or the powers alone."""
        if not self.logarithmic:
            return ticks(self.low, self.high, count)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in ((1, 2, 5), (1, 3), (1,)):
            found = [f * 10.0**p for p in powers for f in factors if self.low <= f * 10.0**p <= self.high]
            if len(found) <= count + 2:
                break
        return found or [self.low]

    @staticmethod
    def shown(tick: float) -> str:
        """A tick's number."""
        return "0" if tick == 0 else f"{tick:.4g}"


def limits(values: Sequence[float]) -> tuple[float, float]:
    """An axis that holds all of ``values``, with a margin."""
    low, high = min(values), max(values)
    margin = (high - low) * 0.1 or abs(high) * 0.01 or 1.0
    return low - margin, high + margin


def opened(height: float, name: str) -> Markup:
    """The beginning of a picture."""
    return Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">').format(WIDTH, height, name)


def standalone(picture: Markup, style: str) -> str:
    """A picture as a file of its own, with the page's style in it; it follows the reader's light or dark."""
    start, _, rest = str(picture).partition(">")
    first = start.replace(
        "<svg ", '<svg xmlns="http://www.w3.org/2000/svg" style="background: var(--card)" ', 1
    )
    return f"{first}><style>{style}</style>{rest}\n"


def line(css_class: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    """A line; ``css_class`` is its class."""
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        css_class, x1, y1, x2, y2
    )


def text(css_class: str, x: float, y: float, words: str, anchor: str = "start") -> Markup:
    """Words; ``css_class`` is their class, ``anchor`` what of them stands at ``x``."""
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        css_class, x, y, anchor, escape(words)
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


def _title(mark: Mark) -> Markup:
    return Markup("<title>{}: {}</title>").format(mark.label, mark.shown)
