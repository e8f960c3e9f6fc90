"""A report as one HTML page that needs nothing else: no script, no font, no picture from anywhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from patcher.evaluate import metric as metrics
from patcher.evaluate import svg, wording
from patcher.evaluate.metric import METRICS, Metric
from patcher.evaluate.report_markdown import facts
from patcher.evaluate.result import Report
from patcher.evaluate.svg import Mark
from patcher.evaluate.thresholds import Verdict

TEMPLATE = Path(__file__).with_name("report.html.j2")


def html(report: Report, verdicts: list[Verdict]) -> str:
    """The page: the answer, plots of size, speed and accuracy, all figures, and how they were measured."""
    shown = metrics.measured(report)
    page: dict[str, Any] = {
        "title": report.title or "Evaluation",
        "baseline": report.baseline,
        "verdicts": verdicts,
        "plots": [{"title": title, "note": note, "svg": picture} for title, note, picture in _plots(report)],
        "header": ["type", *(metric.title for metric in shown), "KL divergence"],
        "rows": [
            [model.type, *(wording.of_metric(metric, model) for metric in shown), wording.divergence(model)]
            for model in report.models
        ],
        "comparison": metrics.compare(report),
        "change": wording.ratio,
        "notes": [
            *(f"{label}: left out, {why}" for label, why in report.skipped.items()),
            *(f"{model.type}: {line}" for model in report.models for line in [*model.notes, *model.failures]),
        ],
        "facts": facts(report),
    }
    return _template().render(page)


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def _plots(report: Report) -> list[tuple[str, str, Markup]]:
    found = [
        _bars(report, METRICS["size"], "smaller is better"),
        _bars(report, METRICS["pp"], "a prompt in one go; longer is better"),
        _bars(report, METRICS["tg"], "one token after another; longer is better"),
        _bars(report, METRICS["ttft"], "shorter is better"),
        _bars(report, METRICS["rss"], "largest resident set while measuring; smaller is better"),
        _bars(report, METRICS["instructions"], "executed by an emulated processor: no measure of time"),
        _perplexity(report),
        _ratio(report),
        _speed_accuracy(report),
    ]
    return [plot for plot in found if plot is not None]


def _bars(report: Report, metric: Metric, note: str) -> tuple[str, str, Markup] | None:
    marks = []
    for number, model in enumerate(report.models):
        value = metric.value(model)
        if value is not None:
            series = model.series.get(metric.key)
            low, high = (series.low, series.high) if series is not None else (None, None)
            marks.append(Mark(model.type, value, low, high, wording.number(value, metric.unit), number))
    if not marks:
        return None
    title = metric.title.capitalize()
    return title, note, svg.bars(marks, name=title)


def _perplexity(report: Report) -> tuple[str, str, Markup] | None:
    marks = [
        Mark(
            model.type,
            model.perplexity,
            model.perplexity - 1.96 * model.perplexity_error if model.perplexity_error else None,
            model.perplexity + 1.96 * model.perplexity_error if model.perplexity_error else None,
            f"{model.perplexity:.4f}",
            number,
        )
        for number, model in enumerate(report.models)
        if model.perplexity is not None
    ]
    if not marks:
        return None
    note = (
        "with its 95 % interval over the text; all types read the same text, so the intervals move together"
    )
    return "Perplexity", note, svg.intervals(marks, name="Perplexity", unit="perplexity, lower is better")


def _ratio(report: Report) -> tuple[str, str, Markup] | None:
    marks = []
    for number, model in enumerate(report.models):
        found = METRICS["ppl"].ratio(model, report.base) if model is not report.base else None
        if found is not None and model.ppl_ratio is not None:
            percent = [100 * (end - 1) for end in (found.value, found.low, found.high) if end is not None]
            low, high = percent[1:] if len(percent) == 3 else (None, None)
            marks.append(Mark(model.type, percent[0], low, high, f"{percent[0]:+.3f} %", number))
    if not marks:
        return None
    title = f"Perplexity against {report.baseline}"
    note = "paired over the same text, with its 95 % interval: one that reaches across 0 is within noise"
    return title, note, svg.intervals(marks, name=title, unit="change in %, lower is better", reference=0.0)


def _speed_accuracy(report: Report) -> tuple[str, str, Markup] | None:
    marks = []
    for number, model in enumerate(report.models):
        speed = model.median("tg")
        found = METRICS["ppl"].ratio(model, report.base)
        if speed is not None and found is not None:
            percent = 0.0 if model is report.base else 100 * (found.value - 1)
            shown = f"{wording.number(speed, 'tokens/s')}, perplexity {percent:+.3f} %"
            marks.append(Mark(model.type, speed, None, None, shown, number, percent))
    if len(marks) < 2:
        return None
    vertical = f"perplexity against {report.baseline}, %"
    picture = svg.points(
        marks, name="Speed against accuracy", horizontal="decode, tokens/s", vertical=vertical
    )
    return "Speed against accuracy", "right and down is better", picture
