"""Many evaluations in one table: a row for each model and type, its figures beside its own baseline's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patcher.base.errors import UsageError
from patcher.evaluate import result
from patcher.evaluate.judge import metric as metrics
from patcher.evaluate.judge import thresholds
from patcher.evaluate.judge.thresholds import Requirement, Verdict
from patcher.evaluate.report import figures
from patcher.evaluate.result import WROTE, Report

_SHOWN = ("size", "ppl", "pp", "tg", "ttft", "rss")


@dataclass(frozen=True)
class Judged:
    """One evaluation and its verdicts; ``place`` is where its document lies."""

    place: Path
    report: Report
    verdicts: list[Verdict]

    def document(self) -> dict[str, Any]:
        """The JSON form: the report's own, with its place."""
        from patcher.evaluate.report.outputs import document

        return {"file": str(self.place), **document(self.report, self.verdicts)}


def find(paths: Sequence[Path]) -> list[Path]:
    """The documents that ``paths`` are, or that folders among them hold. Raises :class:`UsageError`."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not inside:
            raise UsageError(f"{path}: looked for documents of 'evaluate run --json', found none", hint=WROTE)
        found += inside
    if not found:
        raise UsageError(
            "evaluate show: looked for documents of 'evaluate run --json', found none", hint=WROTE
        )
    return found


def judge(
    places: Sequence[Path], requirements: list[Requirement] | None, subjects: tuple[str, ...] = ()
) -> list[Judged]:
    """Read documents and judge them, each by what its users were told where ``requirements`` is None.

    Raises :class:`UsageError` for one that is none.
    """
    found = []
    for place in places:
        report = result.load(place)
        wanted = thresholds.subjects(report, subjects)
        asked = thresholds.asked(report, requirements)
        found.append(Judged(place, report, thresholds.judge(report, asked, wanted)))
    return found


def header() -> list[str]:
    """The table's columns."""
    return ["model", "type", *(metrics.METRICS[key].title for key in _SHOWN), "KL divergence", "kept"]


def rows(judged: Sequence[Judged]) -> list[list[str]]:
    """The table's rows; every ratio is to the same model's baseline."""
    found = []
    for item in judged:
        compared = {(each.type, each.metric.key): each for each in metrics.compare(item.report)}
        for model in item.report.others:
            ratios = [compared.get((model.type, key)) for key in _SHOWN]
            mine = [verdict for verdict in item.verdicts if verdict.type == model.type]
            kept = f"{sum(verdict.kept for verdict in mine)} of {len(mine)}" if mine else "-"
            cells = [figures.change(ratio) if ratio else "-" for ratio in ratios]
            found.append(
                [item.report.title or model.name, model.type, *cells, figures.divergence(model), kept]
            )
    return found


def markdown(judged: Sequence[Judged]) -> str:
    """The table, and each evaluation's answer below it."""
    from patcher.base.printable import markdown as inert
    from patcher.evaluate.report.markdown import answer, table

    parts = ["# Evaluations", "", *table(header(), rows(judged)), ""]
    for item in judged:
        if item.verdicts:
            parts += [
                f"## {inert(' '.join(item.report.title.split()))}",
                "",
                *answer(item.report, item.verdicts),
                "",
            ]
    return "\n".join(parts).rstrip() + "\n"


def terminal(judged: Sequence[Judged], *, width: int | None = None) -> str:
    """The table for a terminal."""
    from patcher.evaluate.report.terminal import plain_table

    return plain_table(header(), rows(judged), width=width)
