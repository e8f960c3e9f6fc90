"""Two reports side by side: two machines, or two commits on one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from patcher.base.errors import UsageError
from patcher.evaluate.judge import metric as metrics
from patcher.evaluate.judge import noise
from patcher.evaluate.judge.metric import Metric, verdict
from patcher.evaluate.judge.noise import Ratio
from patcher.evaluate.result import Report, TypeResult


@dataclass(frozen=True)
class Difference:
    """One figure of one type in both reports; ``ratio`` is the second's to the first's."""

    type: str
    metric: Metric
    first: float
    second: float
    ratio: Ratio

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``equal``, ``within noise`` or ``noise unknown``, of the second."""
        if self.first == self.second:
            return "equal"
        return verdict(self.metric, self.ratio)

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "type": self.type,
            "metric": self.metric.key,
            "unit": self.metric.unit,
            "first": self.first,
            "second": self.second,
            "ratio": self.ratio.value,
            "low": self.ratio.low,
            "high": self.ratio.high,
            "verdict": self.verdict,
        }


def compare(first: Report, second: Report) -> tuple[list[Difference], list[str]]:
    """Every figure that both have, and what a reader must know. Raises :class:`UsageError` for two reports
    without a type in common."""
    mine = {model.type: model for model in first.models}
    found: list[Difference] = []
    for model in second.models:
        if model.type not in mine:
            continue
        for metric in metrics.measured(first):
            before, after = metric.value(mine[model.type]), metric.value(model)
            if before and after is not None:
                ratio = _ratio(metric, mine[model.type], model)
                found.append(Difference(model.type, metric, before, after, ratio))
    if not found:
        types = [", ".join(model.type for model in report.models) for report in (first, second)]
        raise UsageError(
            f"evaluate compare: looked for a type in both reports, found {types[0]} and {types[1]}",
            hint="name two results of the same --types",
        )
    return found, _notes(first, second)


def _ratio(metric: Metric, first: TypeResult, second: TypeResult) -> Ratio:
    # rounds of two machines don't belong together: no pairing here
    if metric.key in first.series and metric.key in second.series:
        return noise.of_unpaired(second.series[metric.key], first.series[metric.key])
    if metric.key == "ppl" and first.perplexity and second.perplexity:
        return noise.of_estimates(
            second.perplexity, second.perplexity_error, first.perplexity, first.perplexity_error
        )
    return noise.exact(metric.value(second) or 0.0, metric.value(first) or 1.0)


def _notes(first: Report, second: Report) -> list[str]:
    notes = []
    for key, what in (("text_sha256", "text"), ("chunks", "number of chunks"), ("context", "context")):
        if first.settings.get(key) != second.settings.get(key):
            notes.append(f"the {what} differs: their perplexities can't be compared")
    for key in ("prompt", "generate", "threads"):
        if first.settings.get(key) != second.settings.get(key):
            notes.append(f"--{key} differs ({first.settings.get(key)} and {second.settings.get(key)})")
    if first.machine.get("id") == second.machine.get("id"):
        notes.append("both were measured on the same machine")
    return notes
