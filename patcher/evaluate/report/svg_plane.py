"""Plots with two axes as inline SVG: points with error bars, and lines over a count (depth, threads)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from patcher.evaluate.report import svg
from patcher.evaluate.report.svg import WIDTH, Mark

_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 14.0, 26.0, 40.0
_HEIGHT = 250.0
_LETTER = 2 * svg.HALF_LETTER
_CLEAR = 9.0  # from a point to its label
_CUT = 100.0  # a label that is cut off is worse than one that hides something


@dataclass(frozen=True)
class Box:
    """A rectangle that a label or a point takes."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """The area that both take."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, wide) * max(0.0, high)

    def outside(self, other: Box) -> float:
        """How much of this one is not in the other, as an area."""
        return (self.right - self.left) * (self.bottom - self.top) - self.overlap(other)


def points(
    marks: Sequence[Mark],
    *,
    name: str,
    horizontal: str,
    vertical: str,
    better: str,
    logarithmic: bool = False,
    front: Sequence[Mark] = (),
) -> Markup:
    """One point a mark: ``value`` to the right, ``second`` upwards, with the intervals of both.

    Labels stand beside their points where all of them hide nothing, else in a legend below. ``logarithmic``
    is said of the axis upwards; a line leads through ``front``.
    """
    across = [end for mark in marks for end in (mark.value, mark.low, mark.high) if end is not None]
    up = [
        end for mark in marks for end in (mark.second, mark.second_low, mark.second_high) if end is not None
    ]
    x = svg.Scale.of(across, _LEFT, WIDTH - _RIGHT)
    y = svg.Scale.of(up, _HEIGHT - _BOTTOM, _TOP, logarithmic=logarithmic)
    labels = _labels(marks, x, y)
    rows = 0 if labels else (len(marks) + 1) // 2
    parts = _framed(
        x, y, name, horizontal, vertical, below=18.0 * rows + 4 * bool(rows), signed=not logarithmic
    )
    parts.append(svg.text("tick", WIDTH - _RIGHT, 11, better, "end"))
    if len(front) > 1:
        path = " ".join(f"{x(mark.value):.1f},{y(mark.second):.1f}" for mark in front)
        parts.append(Markup('<polyline class="front" points="{}"/>').format(path))
    for mark in marks:
        at_x, at_y = x(mark.value), y(mark.second)
        if mark.low is not None and mark.high is not None:
            parts.append(svg.line("whisker thin", x(mark.low), at_y, x(mark.high), at_y))
        if mark.second_low is not None and mark.second_high is not None:
            parts.append(svg.line("whisker thin", at_x, y(mark.second_low), at_x, y(mark.second_high)))
    parts += [svg.point(x(mark.value), y(mark.second), mark) for mark in marks]
    parts += labels or _legend(marks)
    return Markup("").join([*parts, Markup("</svg>")])


def _labels(marks: Sequence[Mark], x: svg.Scale, y: svg.Scale) -> list[Markup]:
    """A label beside each point; none at all where one of them would hide something or be cut off."""
    taken = []
    for mark in marks:
        at_x, at_y = x(mark.value), y(mark.second)
        if mark.low is not None and mark.high is not None:
            taken.append(Box(x(mark.low), at_y - 1, x(mark.high), at_y + 1))
        if mark.second_low is not None and mark.second_high is not None:
            taken.append(Box(at_x - 1, y(mark.second_high), at_x + 1, y(mark.second_low)))
        taken.append(Box(at_x - 7, at_y - 7, at_x + 7, at_y + 7))
    found = []
    for mark in sorted(marks, key=lambda mark: x(mark.value)):
        box, anchor, hidden = _free(x(mark.value), y(mark.second), len(mark.label) * _LETTER, taken)
        if hidden > 0:
            return []
        taken.append(box)
        at = {"start": box.left, "middle": (box.left + box.right) / 2, "end": box.right}[anchor]
        found.append(svg.text("name halo", at, box.bottom - 3, mark.label, anchor))
    return found


def _legend(marks: Sequence[Mark]) -> list[Markup]:
    """What colour is whose, below the picture."""
    parts = []
    for number, mark in enumerate(marks):
        at_x, at_y = 8 + (number % 2) * (WIDTH / 2), _HEIGHT + 8 + 18.0 * (number // 2)
        room = int((WIDTH / 2 - 20) / _LETTER)
        label = mark.label if len(mark.label) <= room else f"{mark.label[: room - 1]}\u2026"
        parts.append(svg.point(at_x, at_y - 4, mark, 5))
        parts.append(svg.text("name", at_x + 10, at_y, label))
    return parts


def _free(x: float, y: float, width: float, taken: Sequence[Box]) -> tuple[Box, str, float]:
    """Where a label beside a point hides least, and how much it hides; the first such place counts."""
    places = [
        (Box(x + _CLEAR, y - 7, x + _CLEAR + width, y + 7), "start"),
        (Box(x - _CLEAR - width, y - 7, x - _CLEAR, y + 7), "end"),
        (Box(x - width / 2, y - 22, x + width / 2, y - 8), "middle"),
        (Box(x - width / 2, y + 8, x + width / 2, y + 22), "middle"),
        (Box(x + 4, y - 22, x + 4 + width, y - 8), "start"),
        (Box(x - 4 - width, y - 22, x - 4, y - 8), "end"),
        (Box(x + 4, y + 8, x + 4 + width, y + 22), "start"),
        (Box(x - 4 - width, y + 8, x - 4, y + 22), "end"),
    ]
    frame = Box(_LEFT, 14, WIDTH - 2, _HEIGHT - _BOTTOM)

    def cost(place: tuple[Box, str]) -> float:
        return _CUT * place[0].outside(frame) + sum(place[0].overlap(box) for box in taken)

    best = min(places, key=cost)
    return *best, cost(best)


def lines(series: Sequence[Sequence[Mark]], *, name: str, horizontal: str, vertical: str) -> Markup:
    """One line a type over the counts in ``second``, with the interval of each value; a legend below."""
    marks = [mark for each in series for mark in each]
    values = [end for mark in marks for end in (mark.value, mark.low, mark.high) if end is not None]
    rows = (len(series) + 1) // 2
    x, y, parts = _axes(
        [mark.second for mark in marks],
        [0.0, *values],
        name,
        horizontal,
        vertical,
        below=18.0 * rows + 4,
    )
    for each in series:
        ordered = sorted(each, key=lambda mark: mark.second)
        path = " ".join(f"{x(mark.second):.1f},{y(mark.value):.1f}" for mark in ordered)
        parts.append(Markup('<polyline class="l{}" points="{}"/>').format(each[0].colour % svg.COLOURS, path))
        for mark in ordered:
            if mark.low is not None and mark.high is not None:
                parts.append(
                    svg.line("whisker thin", x(mark.second), y(mark.low), x(mark.second), y(mark.high))
                )
            parts.append(svg.point(x(mark.second), y(mark.value), mark, 4))
    parts += _legend([each[0] for each in series])
    return Markup("").join([*parts, Markup("</svg>")])


def _framed(
    x: svg.Scale, y: svg.Scale, name: str, horizontal: str, vertical: str, *, below: float, signed: bool
) -> list[Markup]:
    """Grid, ticks and names of two axes. ``signed``: the axis upwards is of changes."""
    foot = _HEIGHT - _BOTTOM
    parts = [svg.opened(_HEIGHT + below, name)]
    for tick in x.ticks():
        parts.append(svg.line("grid", x(tick), _TOP - 4, x(tick), foot))
        parts.append(svg.text("tick", x(tick), foot + 14, svg.Scale.shown(tick), "middle"))
    for tick in y.ticks():
        parts.append(svg.line("grid", _LEFT, y(tick), WIDTH - _RIGHT, y(tick)))
        shown = f"{tick:+.4g}" if signed and tick else svg.Scale.shown(tick)
        parts.append(svg.text("tick", _LEFT - 5, y(tick) + 4, shown, "end"))
    parts.append(svg.text("tick", _LEFT + (WIDTH - _LEFT - _RIGHT) / 2, _HEIGHT - 10, horizontal, "middle"))
    parts.append(svg.text("tick", 0, 11, vertical))
    return parts


Axis = Callable[[float], float]


def _axes(
    across: Sequence[float],
    up: Sequence[float],
    name: str,
    horizontal: str,
    vertical: str,
    *,
    below: float,
) -> tuple[Axis, Axis, list[Markup]]:
    """Both scales, and the picture so far: grid, ticks, names. Up from zero, across at counts."""
    low_x, high_x = svg.limits(across)
    low_y, high_y = 0.0, max(up) * 1.08 or 1.0
    foot = _HEIGHT - _BOTTOM

    def x(value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (value - low_x) / (high_x - low_x)

    def y(value: float) -> float:
        return foot - (foot - _TOP) * (value - low_y) / (high_y - low_y)

    parts = [svg.opened(_HEIGHT + below, name)]
    for tick in sorted(set(across)):
        parts.append(svg.line("grid", x(tick), _TOP - 4, x(tick), foot))
        parts.append(svg.text("tick", x(tick), foot + 14, f"{tick:.6g}", "middle"))
    for tick in svg.ticks(low_y, high_y):
        parts.append(svg.line("grid", _LEFT, y(tick), WIDTH - _RIGHT, y(tick)))
        parts.append(svg.text("tick", _LEFT - 5, y(tick) + 4, f"{tick:.6g}", "end"))
    parts.append(svg.text("tick", _LEFT + (WIDTH - _LEFT - _RIGHT) / 2, _HEIGHT - 10, horizontal, "middle"))
    parts.append(svg.text("tick", 0, 11, vertical))
    return x, y, parts
