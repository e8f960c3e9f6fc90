"""A report as tables for a terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence

from patcher.evaluate import metric as metrics
from patcher.evaluate import wording
from patcher.evaluate.compare import Difference
from patcher.evaluate.result import Report
from patcher.evaluate.thresholds import Verdict

_STYLES = {"better": "green", "worse": "red", "yes": "green", "no": "red"}


def terminal(report: Report, verdicts: list[Verdict], *, width: int | None = None) -> str:
    """The figures of each type, one column a type, the ratio to the baseline below each; then the answer."""
    compared = {(item.type, item.metric.key): item for item in metrics.compare(report)}
    rows: list[list[str]] = []
    for metric in metrics.measured(report):
        rows.append([metric.title, *(wording.of_metric(metric, model) for model in report.models)])
        below = [compared.get((model.type, metric.key)) for model in report.models]
        rows.append(["", *(wording.change(item) if item else "" for item in below)])
    if any(model.kld is not None for model in report.models):
        rows.append(["KL divergence", *(wording.divergence(model) for model in report.models)])
    tables = [_table(["", *(model.type for model in report.models)], rows, width)]
    if verdicts:
        answers = [
            [
                item.type,
                str(item.requirement),
                "-" if item.value is None else f"{item.value:.4g}",
                item.text,
            ]
            for item in verdicts
        ]
        tables.append(_table(["type", "required", "measured", "kept"], answers, width))
    lines = [f"{label}: left out, {why}" for label, why in report.skipped.items()]
    lines += [f"{model.type}: {line}" for model in report.models for line in [*model.notes, *model.failures]]
    return "\n".join([*tables, *lines])


def differences(
    found: Sequence[Difference], names: tuple[str, str], notes: Sequence[str], *, width: int | None = None
) -> str:
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
    return "\n".join([_table(["type", "figure", *names, "ratio", "verdict"], rows, width), *notes])


def _table(header: list[str], rows: list[list[str]], width: int | None) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in header:
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell.split(" ")[0], "")) for cell in row))
    console = Console(
        width=width, no_color="NO_COLOR" in os.environ, highlight=False, force_terminal=None, soft_wrap=False
    )
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())
