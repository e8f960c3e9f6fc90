"""The figures that types are compared by: their names, units, and which way is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from patcher.evaluate.judge import noise
from patcher.evaluate.judge.noise import Ratio
from patcher.evaluate.result import Report, TypeResult


@dataclass(frozen=True)
class Metric:
    """One figure. ``key`` is its name in ``--require`` and in the documents."""

    key: str
    title: str
    unit: str
    higher_is_better: bool
    value: Callable[[TypeResult], float | None]
    ratio: Callable[[TypeResult, TypeResult], Ratio | None]


def _exact(get: Callable[[TypeResult], float | None]) -> Callable[[TypeResult, TypeResult], Ratio | None]:
    def ratio(mine: TypeResult, base: TypeResult) -> Ratio | None:
        value, baseline = get(mine), get(base)
        return noise.exact(value, baseline) if value is not None and baseline else None

    return ratio


def _perplexity(mine: TypeResult, base: TypeResult) -> Ratio | None:
    if mine.ppl_ratio is not None and mine.ppl_ratio_error is not None:
        return noise.of_paired_estimate(mine.ppl_ratio, mine.ppl_ratio_error)
    if mine.perplexity is None or not base.perplexity:
        return None
    return noise.of_estimates(mine.perplexity, mine.perplexity_error, base.perplexity, base.perplexity_error)


def _series(key: str) -> Callable[[TypeResult, TypeResult], Ratio | None]:
    def ratio(mine: TypeResult, base: TypeResult) -> Ratio | None:
        if key not in mine.series or key not in base.series or not base.series[key].median:
            return None
        return noise.of_series(mine.series[key], base.series[key])

    return ratio


def _of_series(key: str, title: str, unit: str, higher: bool) -> Metric:
    return Metric(key, title, unit, higher, lambda result: result.median(key), _series(key))


METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric(
            "size",
            "file size",
            "bytes",
            False,
            lambda result: result.bytes,
            _exact(lambda result: result.bytes),
        ),
        Metric("ppl", "perplexity", "", False, lambda result: result.perplexity, _perplexity),
        _of_series("pp", "prompt speed", "tokens/s", True),
        _of_series("tg", "decode speed", "tokens/s", True),
        _of_series("ttft", "time to first token", "ms", False),
        _of_series("load", "load time", "ms", False),
        _of_series("rss", "peak memory", "bytes", False),
        Metric(
            "instructions",
            "instructions a token",
            "",
            False,
            lambda result: result.median("instructions"),
            _exact(lambda result: result.median("instructions")),  # a count: one thread, no clock in it
        ),
    )
}


def of(key: str) -> Metric:
    """The metric ``key``: one of :data:`METRICS`, or a speed at a depth or thread count (``tg@d1024``)."""
    if key in METRICS:
        return METRICS[key]
    series, _, where = key.partition("@")
    return _of_series(
        key, f"{METRICS[series].title} @ {where}", METRICS[series].unit, METRICS[series].higher_is_better
    )


def measured(report: Report) -> list[Metric]:
    """The metrics that at least one type of ``report`` has, in the order of the table."""
    keys = list(METRICS)
    keys += sorted(
        {key for model in report.models for key in model.series if key not in METRICS and "@" in key}
    )
    return [
        metric for metric in map(of, keys) if any(metric.value(model) is not None for model in report.models)
    ]


def verdict(metric: Metric, ratio: Ratio) -> str:
    """``better``, ``worse``, ``within noise`` or ``noise unknown``, of two figures that differ."""
    inside = ratio.within_noise
    if inside is None:
        return "noise unknown"
    if inside:
        return "within noise"
    return "better" if (ratio.value > 1) == metric.higher_is_better else "worse"


@dataclass(frozen=True)
class Comparison:
    """One figure of one type beside the baseline's."""

    type: str
    metric: Metric
    value: float
    baseline: float
    ratio: Ratio

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``equal``, ``within noise``, or ``noise unknown``."""
        if self.ratio.value == 1.0 and self.ratio.low == self.ratio.high == 1.0:
            return "equal"
        return verdict(self.metric, self.ratio)

    def document(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "type": self.type,
            "metric": self.metric.key,
            "unit": self.metric.unit,
            "value": self.value,
            "baseline": self.baseline,
            "ratio": self.ratio.value,
            "low": self.ratio.low,
            "high": self.ratio.high,
            "verdict": self.verdict,
        }


def compare(report: Report) -> list[Comparison]:
    """Every figure of every type beside the baseline's."""
    base = report.base
    found = []
    for model in report.others:
        for metric in measured(report):
            value, baseline, ratio = metric.value(model), metric.value(base), metric.ratio(model, base)
            if value is not None and baseline is not None and ratio is not None:
                found.append(Comparison(model.type, metric, value, baseline, ratio))
    return found
