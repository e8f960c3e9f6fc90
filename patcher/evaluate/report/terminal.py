"""A report as tables for a terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence

from patcher.base import units
from patcher.evaluate.judge import metric as metrics
from patcher.evaluate.judge import verdict_table
from patcher.evaluate.judge.compare import Difference
from patcher.evaluate.judge.thresholds import Verdict
from patcher.evaluate.report import figures
from patcher.evaluate.result import Report

_STYLES = {"yes": "green", "no": "red", "better": "green", "worse": "red"}
_NOISE = "yellow"

Cell = tuple[str, str]  # text, style


def terminal(report: Report, verdicts: list[Verdict], *, width: int | None = None) -> str:
    """The figures of each type, one column a type, the ratio to the baseline below each; then the answer."""
    compared = {(item.type, item.metric.key): item for item in metrics.compare(report)}
    rows: list[list[Cell]] = []
    for metric in metrics.measured(report):
        rows.append(
            [(metric.title, "bold"), *((figures.of_metric(metric, item), "") for item in report.models)]
        )
        below = [compared.get((model.type, metric.key)) for model in report.models]
        rows.append(
            [
                ("", ""),
                *((figures.change(item), _style(item.verdict)) if item else ("", "") for item in below),
            ]
        )
    if any(model.kld is not None for model in report.models):
        rows.append([("KL divergence", "bold"), *((figures.divergence(item), "") for item in report.models)])
    tables = [_table(["", *(model.type for model in report.models)], rows, width)]
    if verdicts:
        answers = [
            [
                (line.title, "bold"),
                (line.told, ""),
                (line.asked, ""),
                *(_answer(item) for item in line.answers),
            ]
            for line in verdict_table.lines(report, verdicts)
        ]
        tables.append(_table(["", "promised", "required", *verdict_table.types(verdicts)], answers, width))
        tables.append("\n".join(verdict_table.summary(verdicts)))
    lines = ["(noise): within noise, or unknown: no difference can be told"] * any(
        "noise" in item.verdict for item in compared.values()
    )
    lines += [f"{label}: left out, {why}" for label, why in report.skipped.items()]
    lines += [f"{model.type}: {line}" for model in report.models for line in [*model.notes, *model.failures]]
    return "\n\n".join([*tables, *(["\n".join(lines)] if lines else [])])


def differences(
    found: Sequence[Difference], names: tuple[str, str], notes: Sequence[str], *, width: int | None = None
) -> str:
    """Two reports side by side."""
    rows = [
        [
            (item.type, ""),
            (item.metric.title, ""),
            (units.number(item.first, item.metric.unit), ""),
            (units.number(item.second, item.metric.unit), ""),
            (figures.ratio(item.ratio), ""),
            (item.verdict, _style(item.verdict)),
        ]
        for item in found
    ]
    return "\n".join([_table(["type", "figure", *names, "ratio", "verdict"], rows, width), *notes])


def plain_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None) -> str:
    """A table of words, coloured where they are a verdict."""
    return _table(list(header), [[(cell, _style(cell)) for cell in row] for row in rows], width)


def _answer(verdict: Verdict | None) -> Cell:
    if verdict is None:
        return "-", ""
    style = _NOISE if verdict.doubt else _STYLES["yes" if verdict.kept else "no"]
    return f"{'yes' if verdict.kept else 'no'}: {verdict_table.reason(verdict)}", style


def _style(verdict: str) -> str:
    return _STYLES.get(verdict, _NOISE if "noise" in verdict else "")


def _table(header: list[str], rows: list[list[Cell]], width: int | None) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in header:
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*(Text(text, style=style) for text, style in row))
    console = Console(
        width=width, no_color="NO_COLOR" in os.environ, highlight=False, force_terminal=None, soft_wrap=False
    )
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())
