"""How strongly to smooth: SmoothQuant's formula, and the search for the factors with the least int8 error.

Xiao et al., 2022 (arXiv:2211.10438), equation 4: s_j = max|X_j|^a / max|W_j|^(1-a). The magnitude need not be
the maximum: with blocks of 32 that have scales of their own, an error is the product of a block's maximum on
one side and the other side's energy, which the root mean square balances at a = 1/2. Which magnitude and
which a serve a fold best is found by trying: its products are computed with Q8_A8's own arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from patcher.model.blockwise import quantized
from patcher.model.tensor_data import Array

MAGNITUDES = ("max", "rms", "mean")
GRID = tuple(step / 10 for step in range(2, 10))
FINE = 0.05  # either side of the grid's best
LIMIT = 4096.0  # of a factor, either way: F16 weights stay in range


@dataclass(frozen=True)
class Channels:
    """Per-channel magnitudes by name (:data:`MAGNITUDES`) of one side, each [channels]."""

    by_name: dict[str, Array]


@dataclass(frozen=True)
class Sample:
    """What a candidate is tried on: inputs [t, n], and rows of each consumer [m, n]."""

    x: Array
    weights: tuple[Array, ...]

    @cached_property
    def exact(self) -> tuple[Array, ...]:
        """The products [t, m], before anything is quantized."""
        return tuple(self.x @ rows.T for rows in self.weights)


@dataclass(frozen=True)
class Choice:
    """The factors of a fold, how they were made, and its int8 products' relative error before and after.

    ``alpha`` is 0 and ``magnitude`` is ``none`` where no candidate was better than no smoothing; the errors
    are None where nothing was tried.
    """

    factors: Array
    alpha: float
    magnitude: str
    before: float | None = None
    after: float | None = None


def smoothing_factors(x: Array, w: Array, alpha: float) -> Array:
    """The formula on magnitudes ``x`` and ``w`` [channels], divided by its geometric mean.

    A common factor changes nothing, because Q8_A8's scales take it up; without it weights stay in range. A
    channel that is always zero, or that nothing reads, keeps 1.
    """
    alive = (x > 0) & (w > 0)
    log = np.zeros(len(x))
    log[alive] = alpha * np.log(x[alive].astype(np.float64)) - (1 - alpha) * np.log(
        w[alive].astype(np.float64)
    )
    if alive.any():
        log[alive] -= log[alive].mean()
    factors: Array = np.exp(np.clip(log, -np.log(LIMIT), np.log(LIMIT))).astype(np.float32)
    return factors


def relative_error(samples: Sequence[tuple[Sample, Array]]) -> float:
    """How far the int8 products are from the exact ones: the sum over consumers of the square error of all
    tokens, relative to the product's energy.

    Tokens count by their energy on purpose: in many models a text's first token has activations a thousand
    times as large as any other's, every other token attends to it, and errors there do the most harm.
    ``samples`` are (sample, factors of the inputs [n]), one for each expert.
    """
    total = 0.0
    for sample, factors in samples:
        x = quantized(sample.x / factors)
        for rows, exact in zip(sample.weights, sample.exact, strict=True):
            energy = float(np.square(exact).sum())
            if energy > 0:
                total += float(np.square(x @ quantized(rows * factors).T - exact).sum()) / energy
    return total
