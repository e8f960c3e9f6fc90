"""Figures as people read them."""

from __future__ import annotations

import math

from patcher.base.units import number
from patcher.evaluate.judge.metric import Comparison, Metric
from patcher.evaluate.judge.noise import TWO_SIDED, Ratio
from patcher.evaluate.result import TypeResult

_NEAR = 0.05  # of 1: ratios that want a digit more
_WIDE = 4.0  # times its lower end: an interval that tells nothing


def with_error(value: float, error: float) -> str:
    """``19.18 ±0.46``: the error with two digits that matter, the value with as many places."""
    if not (math.isfinite(error) and error > 0):
        return f"{value:.4f} ±{error:g}"
    places = max(0, min(9, 1 - math.floor(math.log10(error))))
    return f"{value:.{places}f} ±{error:.{places}f}"


def of_metric(metric: Metric, model: TypeResult) -> str:
    """A type's figure, with its error or spread; a dash where it was not measured."""
    value = metric.value(model)
    if value is None:
        return "-"
    if metric.key == "ppl" and model.perplexity_error is not None:
        return f"{value:.3f} ±{TWO_SIDED * model.perplexity_error:.3f}"  # types differ by less than that
    text = number(value, metric.unit)
    series = model.series.get(metric.key)
    if series is not None and series.repeated:
        percent = 100 * series.spread
        return f"{text} ±{percent:.0f}%" if percent >= 10 else f"{text} ±{percent:.1f}%"
    return text


def short(found: Ratio) -> str:
    """``0.535x``, ``1.0028x``: a digit more where it is close to 1."""
    return f"{_shown(found.value, found)}x"


def interval(found: Ratio) -> str:
    """``[0.99, 1.01]``; nothing where it is unknown or a point, and words where it says nothing."""
    if found.low is None or found.high is None or found.low == found.high:
        return ""
    if found.rounds and found.high > _WIDE * found.low:
        return f"{found.rounds} rounds: no answer"
    return f"[{_shown(found.low, found)}, {_shown(found.high, found)}]"


def ratio(found: Ratio) -> str:
    """``0.535x``, with its interval where that is known and not a point."""
    return f"{short(found)} {interval(found)}".rstrip()


def percent(found: Ratio) -> str:
    """``-46.5 %``, ``+0.38 %``, ``+118 %``: the change from the baseline."""
    change = 100 * (found.value - 1)
    places = 2 if abs(change) < 1 else 1 if abs(change) < 100 else 0
    return f"{change:+.{places}f} %"


def change(found: Comparison) -> str:
    """The ratio, and whether it is worth anything: ``0.535x``, ``1.0028x (noise)``."""
    said = "" if found.verdict in ("better", "worse", "equal") else " (noise)"
    return short(found.ratio) + said


def divergence(model: TypeResult) -> str:
    """The mean KL divergence with its 95 % interval; a dash where there is none."""
    if model.kld is None:
        return "-"
    if model.kld_error is None:
        return f"{model.kld:.6f}"
    return with_error(model.kld, TWO_SIDED * model.kld_error)


def _shown(value: float, found: Ratio) -> str:
    places = 4 if abs(found.value - 1) < _NEAR else 3
    return f"{value:.{places}f}" if 0.01 <= value < 100 else f"{value:.2g}"
