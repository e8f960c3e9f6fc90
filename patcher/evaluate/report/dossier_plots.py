"""The pictures of a dossier: divergence against bytes, memory and speed, and on each text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from patcher.base import units
from patcher.evaluate.dossier.estimates import Estimate
from patcher.evaluate.dossier.result import ALL, GOAL, Dossier, ModelResult
from patcher.evaluate.measure.variant import SMOOTH
from patcher.evaluate.report import svg, svg_plane
from patcher.evaluate.report.dossier_markdown import plus_minus, spanned
from patcher.evaluate.report.svg import Mark

_UNIT = "KL divergence, thousandths of a nat a token; lower is better"


@dataclass(frozen=True)
class Plot:
    """One picture: its title, how to read it, and the end of its file's name."""

    title: str
    note: str
    name: str
    svg: Markup


@dataclass(frozen=True)
class Cost:
    """What a divergence is set against: a figure of a type, ``None`` where it wasn't measured."""

    title: str
    name: str
    axis: str
    value: Callable[[ModelResult, str], tuple[float, float, float] | None]  # with its least and largest
    shown: Callable[[float], str]
    higher_is_better: bool = False


def plots(dossier: Dossier, model: ModelResult) -> list[Plot]:
    """Every picture of one model that there are figures for."""
    found = [_against(model, cost) for cost in _COSTS]
    found.append(_goal(dossier, model))
    found += [_on_text(model, text) for text in model.figures if text != ALL]
    return [plot for plot in found if plot is not None]


def _against(model: ModelResult, cost: Cost) -> Plot | None:
    marks = []
    for number, file in enumerate(model.files):
        figures, paid = model.figures[ALL].get(file.type), cost.value(model, file.type)
        if figures is None or paid is None or figures.mean.value <= 0:
            continue
        value, low, high = paid
        kld = figures.mean.scaled(1e3)
        shown = f"{cost.shown(value)}, {plus_minus(kld, 2)}"
        least = max(kld.low, kld.value / 10)  # a logarithmic axis has no zero
        marks.append(Mark(file.type, value, low, high, shown, number, kld.value, least, kld.high))
    if len(marks) < 2:
        return None
    corner = "right and down" if cost.higher_is_better else "left and down"
    picture = svg_plane.points(
        marks,
        name=f"KL divergence against {cost.title}",
        horizontal=cost.axis,
        vertical="KLD",
        better=f"better: {corner}",
        logarithmic=True,
        front=front(marks, higher_is_better=cost.higher_is_better),
    )
    note = "on all texts together, thousandths of a nat; no type is better in both than those on the line"
    return Plot(f"KL divergence against {cost.title}", note, f"kld-{cost.name}", picture)


def front(marks: Sequence[Mark], *, higher_is_better: bool) -> list[Mark]:
    """Those that no other is at least as good as in both and better in one, in the order of their value."""
    sign = -1 if higher_is_better else 1

    def worse(mark: Mark) -> bool:
        return any(
            sign * other.value <= sign * mark.value
            and other.second <= mark.second
            and (other.value, other.second) != (mark.value, mark.second)
            for other in marks
        )

    return sorted((mark for mark in marks if not worse(mark)), key=lambda mark: mark.value)


def _on_text(model: ModelResult, text: str) -> Plot | None:
    marks = [
        _mark(label, found.mean.scaled(1e3), plus_minus(found.mean.scaled(1e3), 2), _colour(model, label))
        for label, found in model.figures[text].items()
        if found.mean.value > 0
    ]
    if not marks:
        return None
    domain = next(one.domain for one in model.texts if one.domain.name == text)
    picture = svg.intervals(marks, name=f"KL divergence on {text}", unit=_UNIT, logarithmic=True)
    return Plot(domain.name[0].upper() + domain.name[1:], domain.what, f"text-{slug(text)}", picture)


def _goal(dossier: Dossier, model: ModelResult) -> Plot | None:
    smooth = next((label for label in reversed(model.compared) if SMOOTH in label), None)
    if smooth is None or not dossier.reference:
        return None
    marks = [
        _mark(text, types[smooth].beside, "", _colour(model, smooth))
        for text, types in model.figures.items()
        if smooth in types and types[smooth].beside is not None
    ]
    if not marks:
        return None
    title = f"{smooth} beside {dossier.reference}"
    picture = svg.intervals(marks, name=title, unit=f"of {dossier.reference}'s KL divergence", reference=GOAL)
    return Plot(title, f"its mean divergence on each text; the line is the goal, {GOAL:g}", "goal", picture)


def _mark(label: str, found: Estimate | None, shown: str, colour: int) -> Mark:
    assert found is not None  # noqa: S101 - callers ask before
    low = max(found.low, found.value / 10)  # a logarithmic axis has no zero
    return Mark(label, found.value, low, found.high, shown or spanned(found, 2), colour)


def _colour(model: ModelResult, label: str) -> int:
    return [file.type for file in model.files].index(label)


def slug(name: str) -> str:
    """A name as part of a file's."""
    return "-".join("".join(one if one.isalnum() else " " for one in name.lower()).split())[:40]


def _bytes(model: ModelResult, label: str) -> tuple[float, float, float]:
    size = model.file(label).bytes / 1e6
    return size, size, size


def _memory(model: ModelResult, label: str) -> tuple[float, float, float] | None:
    peak = model.memory.get(label)
    return None if peak is None else (peak / 1e6, peak / 1e6, peak / 1e6)


def _decode(model: ModelResult, label: str) -> tuple[float, float, float] | None:
    series = model.series.get(label, {}).get("tg")
    return None if series is None else (series.median, series.low, series.high)


def _megabytes(value: float) -> str:
    return units.number(value * 1e6, "bytes")


def _speed(value: float) -> str:
    return units.number(value, "tokens/s")


_COSTS = (
    Cost("bytes", "bytes", "size of the file, MB", _bytes, _megabytes),
    Cost("memory", "memory", "peak resident memory, MB", _memory, _megabytes),
    Cost("decode speed", "decode", "decode, tokens/s", _decode, _speed, higher_is_better=True),
)
