"""The pictures of a report: size, speed, accuracy, and one against the other."""

from __future__ import annotations

import re
from dataclasses import dataclass

from markupsafe import Markup

from patcher.base import units
from patcher.evaluate.judge.metric import METRICS, Metric
from patcher.evaluate.judge.noise import TWO_SIDED, Ratio, Series
from patcher.evaluate.judge.thresholds import Verdict
from patcher.evaluate.report import figures, svg, svg_plane
from patcher.evaluate.report.svg import Mark
from patcher.evaluate.result import Report, TypeResult

_WHERE = re.compile(r"(pp|tg)(?:@(?:d(\d+))?,?(?:t(\d+))?)?")


@dataclass(frozen=True)
class Plot:
    """One picture with its title and how to read it."""

    title: str
    note: str
    svg: Markup


def plots(report: Report, verdicts: list[Verdict]) -> list[Plot]:
    """Every picture that the report has figures for."""
    bounds = {item.requirement.metric: item.requirement.bound for item in verdicts}

    def bars(key: str, note: str) -> Plot | None:
        return _bars(report, METRICS[key], note, bounds.get(key))

    found = [
        bars("size", "shorter is better"),
        bars("pp", "a prompt in one go; longer is better"),
        bars("tg", "one token after another; longer is better"),
        bars("ttft", "of a prompt, on a loaded model; shorter is better"),
        bars("load", "until the first token can be read; shorter is better"),
        bars("rss", "resident while measuring, pages of the mapped file included; shorter is better"),
        bars("instructions", "executed by an emulated processor: no measure of time"),
        _perplexity(report),
        _ratio(report, bounds.get("ppl")),
        _divergence(report),
        _speed_accuracy(report, "tg"),
        _speed_accuracy(report, "pp"),
        *(_over(report, metric_key, what) for what in ("depth", "threads") for metric_key in ("pp", "tg")),
    ]
    return [plot for plot in found if plot is not None]


def _bars(report: Report, metric: Metric, note: str, bound: float | None) -> Plot | None:
    marks = []
    for number, model in enumerate(report.models):
        value = metric.value(model)
        if value is not None:
            series = model.series.get(metric.key)
            low, high = (series.low, series.high) if series is not None else (None, None)
            marks.append(Mark(model.type, value, low, high, units.number(value, metric.unit), number))
    if not marks:
        return None
    title, base = metric.title.capitalize(), metric.value(report.base)
    sign = "at least" if metric.higher_is_better else "at most"
    reference = (bound * base, f"{sign} {bound:g}x required") if bound is not None and base else None
    return Plot(title, note, svg.bars(marks, name=title, reference=reference))


def _perplexity(report: Report) -> Plot | None:
    found = [(model, model.perplexity, model.perplexity_error) for model in report.models]
    marks = [
        Mark(
            model.type,
            value,
            value - TWO_SIDED * error if error else None,
            value + TWO_SIDED * error if error else None,
            f"{value:.4f}",
            report.models.index(model),
        )
        for model, value, error in found
        if value is not None
    ]
    if not marks:
        return None
    note = (
        "with its 95 % interval over the text; all types read the same text, so the intervals move together"
    )
    picture = svg.intervals(marks, name="Perplexity", unit="perplexity, lower is better")
    return Plot("Perplexity", note, picture)


def _ratio(report: Report, bound: float | None) -> Plot | None:
    marks = []
    for number, model in enumerate(report.models):
        found = METRICS["ppl"].ratio(model, report.base) if model is not report.base else None
        if found is not None and model.ppl_ratio is not None:
            value, low, high = _percent(found)
            marks.append(Mark(model.type, value, low, high, f"{value:+.3f} %", number))
    if not marks:
        return None
    title = f"Perplexity against {report.baseline}"
    note = "paired over the same text, with its 95 % interval: one that reaches across 0 is within noise"
    if bound is not None:
        note += f"; {100 * (bound - 1):+.2g} % is required"
    picture = svg.intervals(marks, name=title, unit="change in %, lower is better", reference=0.0)
    return Plot(title, note, picture)


def _divergence(report: Report) -> Plot | None:
    marks = []
    for number, model in enumerate(report.models):
        if model.kld is not None:
            reach = TWO_SIDED * model.kld_error if model.kld_error is not None else None
            low, high = (model.kld - reach, model.kld + reach) if reach is not None else (None, None)
            marks.append(Mark(model.type, model.kld, low, high, figures.divergence(model), number))
    if not marks:
        return None
    title = f"KL divergence from {report.baseline}"
    note = (
        "how far the predicted words are from the baseline's, with its 95 % interval: the finest measure here"
    )
    picture = svg.intervals(marks, name=title, unit="nats a token, lower is better", reference=0.0)
    return Plot(title, note, picture)


def _speed_accuracy(report: Report, metric_key: str) -> Plot | None:
    metric, marks = METRICS[metric_key], []
    for number, model in enumerate(report.models):
        series = model.series.get(metric_key)
        found = METRICS["ppl"].ratio(model, report.base)
        if series is not None and found is not None:
            value, low, high = (0.0, None, None) if model is report.base else _percent(found)
            if model.ppl_ratio is None:  # not paired: an interval as wide as the text's says nothing here
                low = high = None
            shown = f"{units.number(series.median, 'tokens/s')}, perplexity {value:+.3f} %"
            marks.append(
                Mark(model.type, series.median, series.low, series.high, shown, number, value, low, high)
            )
    if len(marks) < 2:
        return None
    title = f"{metric.title.capitalize()} against accuracy"
    note = f"perplexity beside {report.baseline}'s, and speed; with their intervals"
    picture = svg_plane.points(
        marks,
        name=title,
        horizontal=f"{metric.title}, tokens/s",
        vertical="perplexity, change in %",
        better="better: right and down",
    )
    return Plot(title, note, picture)


def _over(report: Report, metric_key: str, what: str) -> Plot | None:
    """Speed by depth or by threads, where more than one was measured."""
    series = []
    for number, model in enumerate(report.models):
        marks = []
        for count, found in _counts(report, model, metric_key, what):
            shown = f"{units.number(found.median, 'tokens/s')} at {what} {count}"
            marks.append(Mark(model.type, found.median, found.low, found.high, shown, number, float(count)))
        if len(marks) > 1:
            series.append(marks)
    if not series:
        return None
    name = METRICS[metric_key].title.capitalize()
    title, horizontal = (
        (f"{name} by depth", "tokens in the context before")
        if what == "depth"
        else (f"{name} by threads", "threads")
    )
    picture = svg_plane.lines(series, name=title, horizontal=horizontal, vertical="tokens/s")
    return Plot(title, "higher is better", picture)


def _counts(report: Report, model: TypeResult, metric_key: str, what: str) -> list[tuple[int, Series]]:
    """The depths (or thread counts) that one type was measured at, the other of them at its first."""
    threads, depths = report.settings.get("threads"), report.settings.get("depths")
    main = threads[0] if isinstance(threads, list) and threads else 0
    first = min(depths) if isinstance(depths, list) and depths else 0
    found = []
    for key, series in model.series.items():
        match = _WHERE.fullmatch(key)
        if match is None or match[1] != metric_key:
            continue
        depth, thread = int(match[2] or 0), int(match[3] or main)
        if what == "depth" and thread == main:
            found.append((depth, series))
        elif what == "threads" and depth == first and thread:
            found.append((thread, series))
    return sorted(found, key=lambda item: item[0])


def _percent(found: Ratio) -> tuple[float, float | None, float | None]:
    ends = [100 * (end - 1) if end is not None else None for end in (found.low, found.high)]
    return 100 * (found.value - 1), ends[0], ends[1]
