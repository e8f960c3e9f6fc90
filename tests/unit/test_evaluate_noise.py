"""Medians, spread, and whether a difference is one."""

from __future__ import annotations

import math
import random

import pytest

from patcher.evaluate.judge import noise
from patcher.evaluate.judge.noise import Ratio, Series


def test_pairs_by_round_cancel_what_slows_both() -> None:
    load = [1.0, 0.5, 0.8, 0.25, 0.9]
    base = Series(tuple(100 * share for share in load))
    fast = Series(tuple(141 * share for share in load))
    ratio = noise.of_series(fast, base)
    assert ratio.value == pytest.approx(1.41)
    assert ratio.low == pytest.approx(1.41)
    assert ratio.high == pytest.approx(1.41)
    unpaired = noise.of_unpaired(fast, base)
    assert unpaired.within_noise  # without the pairing nothing could be said


def test_interval_of_five_rounds_covers_as_often_as_it_says() -> None:
    chance = random.Random(7)  # noqa: S311 - a simulation
    hits = 0
    for _ in range(2000):
        base = Series(tuple(chance.lognormvariate(0, 0.1) for _ in range(5)))
        other = Series(tuple(chance.lognormvariate(0, 0.1) for _ in range(5)))
        hits += bool(noise.of_series(other, base).within_noise)
    assert 0.92 < hits / 2000 < 0.96  # 1 - 2^-4 = 0.9375


def test_few_rounds_take_student() -> None:
    ratio = noise.of_series(Series((110.0, 110.5)), Series((100.0, 100.0)))
    reach = 12.706 * abs(math.log(1.105 / 1.10)) / math.sqrt(2) / math.sqrt(2)
    assert ratio.value == pytest.approx(1.1025)
    assert ratio.high == pytest.approx(1.1025 * math.exp(reach))
    assert ratio.within_noise is False


def test_one_round_says_nothing_of_noise() -> None:
    assert noise.of_series(Series((110.0,)), Series((100.0,))).within_noise is None


def test_mean_and_deviation() -> None:
    close = noise.of_series(Series((101.0,), 2.0), Series((100.0,), 2.0))
    far = noise.of_series(Series((141.0,), 2.0), Series((100.0,), 2.0))
    assert close.within_noise is True
    assert far.within_noise is False
    assert far.low is not None
    assert far.low == pytest.approx(1.41 * (1 - 1.96 * math.hypot(2 / 141, 2 / 100)))


def test_sizes_are_exact() -> None:
    ratio = noise.exact(532, 1000)
    assert (ratio.value, ratio.within_noise, ratio.covers(0.532)) == (0.532, False, False)


def test_estimates() -> None:
    assert noise.of_estimates(10.05, 0.1, 10.0, 0.1).within_noise is True
    assert noise.of_estimates(10.05, None, 10.0, 0.1).within_noise is None
    assert noise.of_paired_estimate(1.005, 0.001).within_noise is False


def test_bound_within_noise() -> None:
    assert Ratio(1.42, 1.38, 1.46).covers(1.41) is True
    assert Ratio(1.42, 1.415, 1.46).covers(1.41) is False
    assert Ratio(1.42).covers(1.41) is None


@pytest.mark.parametrize("samples", [(), (math.nan,), (1.0, math.inf)])
def test_a_series_is_of_numbers(samples: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="finite samples"):
        Series(samples)


def test_a_baseline_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="baseline is 0"):
        noise.exact(1, 0)
    with pytest.raises(ValueError, match="baseline is 0"):
        noise.of_estimates(1, 1, 0, 1)
    with pytest.raises(ValueError, match="baseline is 0"):
        noise.of_unpaired(Series((1.0,)), Series((0.0,)))
