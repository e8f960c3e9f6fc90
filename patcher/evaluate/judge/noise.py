"""Repeated measurements: medians, spread, and whether a difference is more than noise.

Types are measured in turn within each round, so that a machine that slows down slows all of them; the
ratio of two types is taken round by round. For n paired ratios the interval from the least to the
greatest covers the true median with probability 1 - 2^(1-n), whatever the distribution (order
statistics: each ratio lies below the median with probability one half). 5 rounds: 94 %. Fewer are too
few for that: Student's t on the ratios' logarithms (95 %) takes its place, and is wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median, stdev

TWO_SIDED = 1.96  # standard errors; 95 % of a normal distribution
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182}  # rounds -> standard errors; 95 %, one degree of freedom less


@dataclass(frozen=True)
class Series:
    """Repetitions of one measurement, one a round, or a mean with its standard deviation where only that is
    known (``deviation`` is not None then, and ``samples`` holds the mean)."""

    samples: tuple[float, ...]
    deviation: float | None = None

    def __post_init__(self) -> None:
        if not self.samples or not all(math.isfinite(value) for value in self.samples):
            raise ValueError(f"a series wants finite samples, not {self.samples}")

    @property
    def median(self) -> float:
        return median(self.samples)

    @property
    def low(self) -> float:
        """The least sample, or the mean less 1.96 deviations."""
        return min(self.samples) - TWO_SIDED * (self.deviation or 0.0)

    @property
    def high(self) -> float:
        return max(self.samples) + TWO_SIDED * (self.deviation or 0.0)

    @property
    def spread(self) -> float:
        """Half of the range, relative to the median; 0 for a single sample."""
        return (self.high - self.low) / 2 / abs(self.median) if self.median else 0.0

    @property
    def repeated(self) -> bool:
        return len(self.samples) > 1 or self.deviation is not None


@dataclass(frozen=True)
class Ratio:
    """One value relative to the baseline's, between ``low`` and ``high``; None: its noise is unknown."""

    value: float
    low: float | None = None
    high: float | None = None
    rounds: int = 0  # that the interval is of, where there were so few that it is Student's

    @property
    def within_noise(self) -> bool | None:
        """Whether no difference at all (a ratio of 1) is as likely; None where the noise is unknown."""
        return self.covers(1.0)

    def covers(self, bound: float) -> bool | None:
        """Whether ``bound`` lies in the interval: on which side of it the ratio is can't be told then."""
        if self.low is None or self.high is None:
            return None
        if self.low == self.high:  # exact, as a size is: there is no noise
            return False
        return self.low <= bound <= self.high


def exact(value: float, baseline: float) -> Ratio:
    """The ratio of two counts. ``ValueError`` for a baseline of 0."""
    if baseline == 0:
        raise ValueError("the baseline is 0")
    ratio = value / baseline
    return Ratio(ratio, ratio, ratio)


def of_series(value: Series, baseline: Series) -> Ratio:
    """The ratio of two series: paired by round where both have the same number of rounds."""
    if baseline.median == 0:
        raise ValueError("the baseline is 0")
    if value.deviation is None and baseline.deviation is None and len(value.samples) == len(baseline.samples):
        pairs = [mine / base for mine, base in zip(value.samples, baseline.samples, strict=True) if base]
        if len(pairs) > 1:
            return _of_pairs(pairs)
        return Ratio(value.median / baseline.median)
    return of_unpaired(value, baseline)


def _of_pairs(pairs: list[float]) -> Ratio:
    middle, count = median(pairs), len(pairs)
    if count not in STUDENT or min(pairs) <= 0:
        return Ratio(middle, min(pairs), max(pairs))
    reach = STUDENT[count] * stdev(math.log(pair) for pair in pairs) / math.sqrt(count)
    return Ratio(middle, middle * math.exp(-reach), middle * math.exp(reach), count)


def of_unpaired(value: Series, baseline: Series) -> Ratio:
    """The ratio of two series whose rounds have nothing to do with each other: of two machines, say."""
    if baseline.median == 0:
        raise ValueError("the baseline is 0")
    ratio = value.median / baseline.median
    if not (value.repeated and baseline.repeated) or baseline.low <= 0:
        return Ratio(ratio)
    if value.deviation is not None and baseline.deviation is not None:
        relative = math.hypot(value.deviation / value.median, baseline.deviation / baseline.median)
        return Ratio(ratio, ratio * (1 - TWO_SIDED * relative), ratio * (1 + TWO_SIDED * relative))
    return Ratio(ratio, value.low / baseline.high, value.high / baseline.low)


def of_estimates(value: float, error: float | None, baseline: float, baseline_error: float | None) -> Ratio:
    """The ratio of two estimates with standard errors, as if independent: wider than the truth for two
    perplexities of one text, whose errors go together."""
    if baseline == 0:
        raise ValueError("the baseline is 0")
    ratio = value / baseline
    if error is None or baseline_error is None:
        return Ratio(ratio)
    reach = TWO_SIDED * math.hypot(error / value, baseline_error / baseline) * ratio
    return Ratio(ratio, ratio - reach, ratio + reach)


def of_paired_estimate(ratio: float, error: float) -> Ratio:
    """A ratio that was estimated as such, token by token, with its own standard error."""
    return Ratio(ratio, ratio - TWO_SIDED * error, ratio + TWO_SIDED * error)
