"""The answer inside a page that people write: a README keeps its figures, and the command that made them."""

from __future__ import annotations

import re
from pathlib import Path

from patcher.base.errors import UsageError
from patcher.base.os_errors import reason
from patcher.evaluate.judge import metric as metrics
from patcher.evaluate.judge.metric import Metric
from patcher.evaluate.judge.thresholds import Verdict
from patcher.evaluate.report import figures
from patcher.evaluate.report.markdown import answer, closing, table
from patcher.evaluate.result import Report, TypeResult

_ANY = re.compile(r"<!-- evaluate [\w.-]+ -->")


def marks(name: str) -> tuple[str, str]:
    """What stands before and after the block ``name``, a processor's; Markdown shows neither."""
    return f"<!-- evaluate {name} -->", f"<!-- /evaluate {name} -->"


def require(page: Path) -> None:
    """Raise :class:`UsageError` for a page without any marks, before hours of measuring."""
    if not _ANY.search(_read(page)):
        begin, end = marks("x86_64")
        raise UsageError(
            f"{page}: looked for {begin} (or another processor's), found none",
            hint=f"put {begin} and {end} on lines of their own where the table shall stand",
        )


def replaced(page: Path, report: Report, verdicts: list[Verdict]) -> str:
    """The text of ``page`` with what stands between the marks replaced by ``report``'s answer, the rest as it
    was, line ends too. Raises :class:`UsageError` unless both marks are there once, on lines of their own."""
    text, (begin, end) = _read(page), marks(report.architecture or "unknown")
    wanted = rf"^{re.escape(begin)}(\r?\n)(?:.*?\n)??{re.escape(end)}(?=\r?$)"
    found = list(re.finditer(wanted, text, re.MULTILINE | re.DOTALL))
    if len(found) != 1 or text.count(begin) != 1 or text.count(end) != 1:
        raise UsageError(
            f"{page}: looked for one {begin} with {end} below it, each on a line of its own, found "
            f"{text.count(begin)} and {text.count(end)}",
            hint="put them where the table shall stand, or name the page without --into",
        )
    lines = [begin, "", *(answer(report, verdicts) if verdicts else figure_rows(report)), "", end]
    return text[: found[0].start()] + found[0][1].join(lines) + text[found[0].end() :]


def figure_rows(report: Report) -> list[str]:
    """A row a figure, a column a type, with the ratio to the baseline: where nothing was required."""
    rows = [
        [metric.title.capitalize(), *(_figure(metric, model, report.base) for model in report.models)]
        for metric in metrics.measured(report)
    ]
    made = table(["", *(model.type for model in report.models)], rows)
    meaning = report.settings.get("meaning")
    return [*made, "", closing(report, [str(meaning)] if meaning else [])]


def _figure(metric: Metric, model: TypeResult, base: TypeResult) -> str:
    value = figures.of_metric(metric, model)
    ratio = metric.ratio(model, base) if model is not base else None
    if ratio is None:
        return value
    said = f"{value}, {figures.short(ratio)} ({figures.percent(ratio)})"
    return f"{said}, within noise" if ratio.within_noise else said


def _read(page: Path) -> str:
    try:
        with page.open(encoding="utf-8", newline="") as file:
            return file.read()
    except (OSError, ValueError) as why:
        raise UsageError(
            f"{page}: can't be read ({reason(why)})", hint="name a Markdown page that is there"
        ) from why
