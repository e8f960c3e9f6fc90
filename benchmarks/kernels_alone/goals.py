"""What the kernels are to reach, and whether they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from benchmarks.kernels_alone.models import LARGE

TYPES = ("F16", "Q8_0", "Q8_A8")
PROMPT, DECODED = 512, 128
FIRST_TOKEN = 0.4
Key = tuple[str, int, str, str]  # model, threads, type (and peer, behind a space), measure
STOCK = "stock"  # the peer whose Q8_0 is what it was before: a build of ours packs it
NARROW = "AVX2"  # what the name of a build begins with that has no products of 8 bits


class Goal(NamedTuple):
    """Our ``kind`` has at least so many times the tokens a second of ``other`` (a stock build's, if any).

    ``narrow``: which builds it is for. ``large``: which models, the one of 1B (True) or smaller ones (False).
    None is any; an ``other`` of None is whatever a fork has that is fastest.
    """

    kind: str
    what: str
    other: str | None
    least: float
    narrow: bool | None = None
    large: bool | None = None


GOALS = (
    Goal("Q8_A8", "prompt", "F16", 3.0, narrow=False, large=True),
    Goal("Q8_A8", "prompt", "F16", 2.7, narrow=False, large=False),
    Goal("Q8_A8", "prompt", "F16", 1.41, narrow=True),
    Goal("Q8_A8", "prompt", "Q8_0", 3.0, narrow=False),
    Goal("Q8_A8", "prompt", "Q8_0", 1.5, narrow=True),
    Goal("Q8_A8", "decode", "F16", 1.7),
    Goal("Q8_A8", "decode", "Q8_0", 1.05),
    Goal("Q8_0", "prompt", "Q8_0", 2.1, narrow=False),
    Goal("Q8_0", "prompt", "Q8_0", 1.5, narrow=True),
    Goal("Q8_0", "decode", "Q8_0", 1.3),
    Goal("Q8_A8", "prompt", None, 1.2),
    Goal("Q8_A8", "decode", None, 1.1),
)


def verdict(is_met: bool) -> str:
    """How a page says it."""
    return "met" if is_met else "**not met**"


def _goal(name: str, goal: str, values: Mapping[str, float], met: Mapping[str, bool]) -> str:
    shown = ", ".join(f"{where}: {value:.2f}" for where, value in values.items())
    missed = [where for where in met if not met[where]]
    some = 0 < len(missed) < len(met)
    said = f"**not met** by {', '.join(missed)}" if some else verdict(not missed)
    return f"| {name} | {goal} | {shown} | {said} |"


def places(figures: Mapping[Key, float]) -> list[tuple[str, int]]:
    """The models and numbers of threads that were measured."""
    return list(dict.fromkeys((name, threads) for name, threads, _, _ in figures))


def peers(figures: Mapping[Key, float]) -> list[str]:
    """The names of the other builds."""
    return list(dict.fromkeys(kind.partition(" ")[2] for _, _, kind, _ in figures if " " in kind))


def _others(figures: Mapping[Key, float], place: tuple[str, int], goal: Goal) -> Iterator[tuple[str, float]]:
    """What a goal is held against, in one model with so many threads: a name, and tokens a second."""
    name, threads = place
    if goal.other is not None:
        own = figures[name, threads, goal.other, goal.what]
        yield "", figures.get((name, threads, f"{goal.other} {STOCK}", goal.what), own)
        return
    for who in peers(figures):
        if who != STOCK:
            theirs = (figures[name, threads, f"{kind} {who}", goal.what] for kind in TYPES[:2])
            yield f", {who}", max(theirs)


def goals(build: str, figures: Mapping[Key, float]) -> list[str]:
    """A line for each goal that needs a model."""
    lines = ["| goal | | measured | |", "|---|---|---|---|"]
    narrow = build.startswith(NARROW)
    stock = f"{STOCK} " if STOCK in peers(figures) else ""
    for goal in GOALS:
        if goal.narrow not in (None, narrow) or (goal.kind == goal.other and not stock):
            continue
        ratios = {
            f"{name}, {threads} threads{who}": figures[name, threads, goal.kind, goal.what] / other
            for name, threads in places(figures)
            if goal.large in (None, name == LARGE)
            for who, other in _others(figures, (name, threads), goal)
        }
        if ratios:
            against = "a fork" if goal.other is None else f"{stock}{goal.other}"
            title = f"{goal.kind}: {goal.what}, against {against}"
            met = {place: ratio >= goal.least for place, ratio in ratios.items()}
            lines.append(_goal(title, f"≥ {goal.least}", ratios, met))
    if narrow:
        return lines
    first = {
        f"{name}, {threads} threads": figures[name, threads, "F16", "prompt"]
        / figures[name, threads, TYPES[-1], "prompt"]
        for name, threads in places(figures)
    }
    met = {place: ratio <= FIRST_TOKEN for place, ratio in first.items()}
    return [*lines, _goal(f"first token after {PROMPT}, against F16", f"≤ {FIRST_TOKEN}", first, met)]
