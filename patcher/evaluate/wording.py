"""Figures as people read them."""

from __future__ import annotations

from patcher.evaluate.metric import Comparison, Metric
from patcher.evaluate.noise import Ratio
from patcher.evaluate.result import TypeResult


def number(value: float, unit: str) -> str:
    """A value with its unit: three or four digits that matter."""
    if unit == "bytes":
        for name, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if value >= size:
                return f"{value / size:.4g} {name}" if value / size >= 100 else f"{value / size:.3g} {name}"
        return f"{value:.0f} B"
    if unit == "tokens/s":
        return f"{value:.0f} t/s" if value >= 100 else f"{value:.3g} t/s"
    if unit == "ms":
        return (
            f"{value / 1e3:.3g} s"
            if value >= 1e4
            else f"{value:.3g} ms"
            if value < 1e3
            else f"{value:.0f} ms"
        )
    if value >= 1e6:
        return f"{value / 1e9:.4g} G" if value >= 1e9 else f"{value / 1e6:.4g} M"
    return f"{value:.4f}" if unit == "" else f"{value:.4g} {unit}"


def of_metric(metric: Metric, model: TypeResult) -> str:
    """A type's figure, with its error or spread; a dash where it was not measured."""
    value = metric.value(model)
    if value is None:
        return "-"
    text = number(value, metric.unit)
    if metric.key == "ppl" and model.perplexity_error is not None:
        return f"{text} ± {model.perplexity_error:.4f}"
    series = model.series.get(metric.key)
    if series is not None and series.repeated:
        return f"{text} ±{100 * series.spread:.1f}%"
    return text


def ratio(found: Ratio) -> str:
    """``0.535x``, with its interval where that is known and not a point."""
    places = 4 if abs(found.value - 1) < 0.05 else 3

    def shown(value: float) -> str:
        return f"{value:.{places}f}" if 0.01 <= value < 100 else f"{value:.2g}"

    text = f"{shown(found.value)}x"
    if found.low is None or found.high is None or found.low == found.high:
        return text
    return f"{text} [{shown(found.low)}, {shown(found.high)}]"


def change(found: Comparison) -> str:
    """The ratio, and what it is worth: ``0.535x``, ``1.003x [0.99, 1.01], within noise``."""
    said = "" if found.verdict in ("better", "worse", "equal") else f", {found.verdict}"
    return ratio(found.ratio) + said


def divergence(model: TypeResult) -> str:
    """The mean KL divergence with its standard error; a dash where there is none."""
    if model.kld is None:
        return "-"
    error = f" ± {model.kld_error:.6f}" if model.kld_error is not None else ""
    return f"{model.kld:.6f}{error}"
