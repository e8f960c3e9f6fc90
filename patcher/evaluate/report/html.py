"""A report as one HTML page that needs nothing else: no script, no font, no picture from anywhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from patcher.evaluate.judge import metric as metrics
from patcher.evaluate.judge import verdict_table
from patcher.evaluate.judge.thresholds import ABSOLUTE, Verdict
from patcher.evaluate.report import figures
from patcher.evaluate.report.markdown import facts, how
from patcher.evaluate.report.plots import plots
from patcher.evaluate.result import Report

TEMPLATE = Path(__file__).with_name("report.html.j2")


def html(report: Report, verdicts: list[Verdict]) -> str:
    """The page: the answer, plots of size, speed and accuracy, all figures, and how they were measured."""
    page: dict[str, Any] = {
        "title": report.title or "Evaluation",
        "how": how(report),
        "baseline": report.baseline,
        "judged": verdict_table.types(verdicts),
        "answers": [
            {
                "title": line.title,
                "told": line.told,
                "asked": line.asked,
                "baseline": line.baseline,
                "cells": [
                    _answer(item, value) for item, value in zip(line.answers, line.values, strict=True)
                ],
            }
            for line in verdict_table.lines(report, verdicts)
        ],
        "summary": verdict_table.summary(verdicts),
        "plots": plots(report, verdicts),
        "types": [model.type for model in report.models],
        "rows": _rows(report),
        "notes": [
            *(f"{label}: left out, {why}" for label, why in report.skipped.items()),
            *(f"{model.type}: {line}" for model in report.models for line in [*model.notes, *model.failures]),
        ],
        "facts": facts(report),
    }
    return template(TEMPLATE.name).render(page)


def _answer(verdict: Verdict | None, value: str) -> dict[str, str]:
    if verdict is None or verdict.ratio is None:
        return {"shade": "no", "said": "no", "ratio": "not measured", "value": "", "doubt": ""}
    relative = verdict.requirement.metric not in ABSOLUTE
    return {
        "shade": "doubt" if verdict.doubt else "yes" if verdict.kept else "no",
        "said": "yes" if verdict.kept else "no",
        "ratio": f"{figures.short(verdict.ratio)} ({figures.percent(verdict.ratio)})" if relative else value,
        "value": value if relative else "",
        "doubt": verdict.doubt,
    }


def _rows(report: Report) -> list[dict[str, Any]]:
    """Every figure: its title, and for each type the value, the ratio, its interval and the verdict."""
    compared = {(item.type, item.metric.key): item for item in metrics.compare(report)}
    rows: list[dict[str, Any]] = []
    for metric in metrics.measured(report):
        cells = []
        for model in report.models:
            item = compared.get((model.type, metric.key))
            cells.append(
                {
                    "value": figures.of_metric(metric, model),
                    "ratio": figures.short(item.ratio) if item else "",
                    "interval": figures.interval(item.ratio) if item else "",
                    "verdict": item.verdict if item else "",
                }
            )
        rows.append({"title": metric.title, "cells": cells})
    plain = {"ratio": "", "interval": "", "verdict": ""}
    if any(model.kld is not None for model in report.models):
        cells = [{**plain, "value": figures.divergence(model)} for model in report.models]
        rows.append({"title": "KL divergence, nats a token", "cells": cells})
    if any(model.same_top_percent is not None for model in report.models):
        shares = [model.same_top_percent for model in report.models]
        cells = [{**plain, "value": f"{share:.2f} %" if share is not None else "-"} for share in shares]
        rows.append({"title": "same most likely token", "cells": cells})
    return rows


@cache
def template(name: str) -> Template:
    """A page's template, by the name of its file here."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name)
