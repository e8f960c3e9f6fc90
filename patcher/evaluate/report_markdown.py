"""A report as Markdown, for a README or a pull request."""

from __future__ import annotations

from patcher.evaluate import metric as metrics
from patcher.evaluate import wording
from patcher.evaluate.compare import Difference
from patcher.evaluate.result import Report
from patcher.evaluate.thresholds import Verdict


def markdown(report: Report, verdicts: list[Verdict]) -> str:
    """The whole report: figures, ratios, the answer, and how it was measured."""
    shown = metrics.measured(report)
    parts = [f"# {_cell(report.title or 'Evaluation')}", ""]
    header = ["type", *(metric.title for metric in shown), "KL divergence"]
    rows = [
        [model.type, *(wording.of_metric(metric, model) for metric in shown), wording.divergence(model)]
        for model in report.models
    ]
    parts += [*table(header, rows), ""]
    compared = metrics.compare(report)
    if compared:
        rows = [[item.type, item.metric.title, wording.ratio(item.ratio), item.verdict] for item in compared]
        parts += [f"## Relative to {_cell(report.baseline)}", ""]
        parts += [*table(["type", "figure", "ratio", "verdict"], rows), ""]
    if verdicts:
        rows = [
            [
                verdict.type,
                str(verdict.requirement),
                f"{verdict.value:.4g}" if verdict.value is not None else "-",
                verdict.text,
            ]
            for verdict in verdicts
        ]
        parts += ["## Required", "", *table(["type", "required", "measured", "kept"], rows), ""]
    parts += [f"- {_cell(label)}: left out, {_cell(why)}" for label, why in report.skipped.items()]
    for model in report.models:
        parts += [f"- {_cell(model.type)}: {_cell(line)}" for line in [*model.notes, *model.failures]]
    parts += ["", "## Measured on", "", *(f"- {name}: {_cell(value)}" for name, value in facts(report))]
    return "\n".join(parts).rstrip() + "\n"


def differences(found: list[Difference], names: tuple[str, str], notes: list[str]) -> str:
    """Two reports side by side."""
    rows = [
        [
            item.type,
            item.metric.title,
            wording.number(item.first, item.metric.unit),
            wording.number(item.second, item.metric.unit),
            wording.ratio(item.ratio),
            item.verdict,
        ]
        for item in found
    ]
    lines = table(["type", "figure", names[0], names[1], "ratio", "verdict"], rows)
    return "\n".join([*lines, *([""] if notes else []), *(f"- {_cell(note)}" for note in notes)]) + "\n"


def facts(report: Report) -> list[tuple[str, str]]:
    """Machine, build and command, as name and value."""
    machine, settings = report.machine, report.settings
    programs = machine.get("programs")
    programs = programs if isinstance(programs, dict) else {}
    features = machine.get("features")
    flags = programs.get("settings")
    wanted = {
        "processor": machine.get("processor"),
        "features": ", ".join(map(str, features)) if isinstance(features, list) else None,
        "system": machine.get("system"),
        "load average": machine.get("load_average"),
        "compiler": programs.get("compiler"),
        "build settings": ", ".join(f"{key}={value}" for key, value in flags.items())
        if isinstance(flags, dict)
        else None,
        "llama.cpp": machine.get("build"),
        "commit": machine.get("commit"),
        "tool": machine.get("tool"),
        "text": settings.get("text"),
        "threads": settings.get("threads"),
        "rounds": settings.get("rounds"),
        "command": settings.get("command"),
    }
    return [(name, str(value)) for name, value in wanted.items() if value not in (None, "", [], {})]


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table; the cells' own bars and line ends can't break it."""
    lines = [f"| {' | '.join(map(_cell, header))} |", f"|{'|'.join('---' for _ in header)}|"]
    return lines + [f"| {' | '.join(map(_cell, row))} |" for row in rows]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
