"""The answer as a table: a row for each requirement, a column for each type that it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from patcher.evaluate.judge import metric as metrics
from patcher.evaluate.judge import thresholds
from patcher.evaluate.judge.thresholds import ABSOLUTE, Requirement, Verdict
from patcher.evaluate.report import figures
from patcher.evaluate.result import Report

# what users were told of Llama-7B, before anybody had measured it
TOLD = {"size": "-47 %", "ppl": "+0.7 %", "pp": "+41 %", "tg": "+41 %", "ttft": "-46 %"}
_RELATIONS = {"<=": "at most", ">=": "at least", "<": "below", ">": "above"}
TOLD_ARM = {**TOLD, "pp": "+90 %", "tg": "+90 %"}


@dataclass(frozen=True)
class Line:
    """One requirement. ``told`` is empty where nobody was told anything; ``answers`` are one a type."""

    title: str
    told: str
    requirement: Requirement
    baseline: str
    answers: tuple[Verdict | None, ...]
    values: tuple[str, ...]

    @property
    def asked(self) -> str:
        """The bound, relative to the baseline: ``at most 0.54x``."""
        return _bound(self.requirement)


def types(verdicts: Sequence[Verdict]) -> list[str]:
    """The types that are judged, each once."""
    return list(dict.fromkeys(verdict.type for verdict in verdicts))


def lines(report: Report, verdicts: Sequence[Verdict]) -> list[Line]:
    """The table's rows, in the order of the requirements."""
    told = TOLD_ARM if thresholds.is_arm(report.architecture) else TOLD
    models = {model.type: model for model in report.models}
    judged = types(verdicts)
    found = []
    for requirement in dict.fromkeys(verdict.requirement for verdict in verdicts):
        by_type = {item.type: item for item in verdicts if item.requirement == requirement}
        key = requirement.metric
        metric = metrics.of(key) if key not in ABSOLUTE else None
        values = {
            name: figures.of_metric(metric, models[name]) if metric else figures.divergence(models[name])
            for name in judged
        }
        found.append(
            Line(
                _title(key).capitalize().replace("kl ", "KL "),
                told.get(key, ""),
                requirement,
                figures.of_metric(metric, report.base) if metric else "-",
                tuple(by_type.get(name) for name in judged),
                tuple(values[name] for name in judged),
            )
        )
    return found


def summary(verdicts: Sequence[Verdict]) -> list[str]:
    """One sentence a type: ``Q8_A8: yes to 4 of 5; no: perplexity at most 1.007x (1.0072x)``."""
    found = []
    for name in types(verdicts):
        mine = [verdict for verdict in verdicts if verdict.type == name]
        broken = [verdict for verdict in mine if not verdict.kept]
        text = f"{name}: yes to {len(mine) - len(broken)} of {len(mine)}"
        if broken:
            text += "; no: " + ", ".join(f"{words(item.requirement)} ({reason(item)})" for item in broken)
        found.append(text)
    return found


def words(requirement: Requirement) -> str:
    """A limit as people say it: ``prompt speed at least 1.41x``."""
    return f"{_title(requirement.metric)} {_bound(requirement)}"


def _title(key: str) -> str:
    return ABSOLUTE[key] if key in ABSOLUTE else metrics.of(key).title


def _bound(requirement: Requirement) -> str:
    unit = "" if requirement.metric in ABSOLUTE else "x"
    return f"{_RELATIONS[requirement.relation]} {requirement.bound:g}{unit}"


def reason(verdict: Verdict) -> str:
    """What was measured, and what makes it doubtful: ``1.0072x, within noise``."""
    if verdict.ratio is None:
        return "not measured"
    shown = (
        figures.short(verdict.ratio) if verdict.requirement.metric not in ABSOLUTE else f"{verdict.value:.4g}"
    )
    return shown + (f", {verdict.doubt}" if verdict.doubt else "")
