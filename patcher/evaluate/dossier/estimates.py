"""Figures of many tokens with their 95 % intervals, by drawing blocks of text again (a block bootstrap).

Neighbouring tokens go up and down together, so that single tokens would give too small an error. Blocks of
about 64 scored tokens are drawn with replacement; two types are compared on the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patcher.evaluate.dossier.divergence import Tokens

BLOCK = 64
DRAWS = 400
FEW = 10  # tokens beyond a percentile: below, it is a guess
_SEED = 8  # any number: the same figures every time

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    def document(self) -> dict[str, float]:
        """The JSON form."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def scaled(self, factor: float) -> Estimate:
        """The same in another unit."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Figures:
    """What a type's tokens say.

    ``mean``, ``p99``, ``p999``: KL divergence in nats; ``flips``: percent of the tokens whose most likely
    successor is another than the baseline's; ``ratio``: perplexity over the baseline's; ``beside``: mean
    divergence over the reference type's, None where there is none.
    """

    tokens: int
    blocks: int
    mean: Estimate
    p99: Estimate
    p999: Estimate
    flips: Estimate
    perplexity: Estimate
    ratio: Estimate
    beside: Estimate | None


def figures(texts: Sequence[Tokens], reference: Sequence[Tokens] | None = None) -> Figures:
    """The figures of one type over ``texts``, of which each is cut into blocks by itself. ``reference``: the
    same texts' tokens of the type that it is compared with."""
    blocks = _blocks(texts)
    beside = _blocks(reference) if reference is not None else None
    generator = np.random.default_rng(_SEED)
    # drawn from each text by itself: how much there is of each stays as it is
    owners = np.array([owner for owner, _ in blocks])
    groups = [np.flatnonzero(owners == owner) for owner in np.unique(owners)]
    draws = [np.concatenate([generator.choice(group, len(group)) for group in groups]) for _ in range(DRAWS)]
    parts = [tokens for _, tokens in blocks]
    others = [tokens for _, tokens in beside] if beside is not None else None

    def estimate(
        statistic: Callable[[Numbers], float], pick: Callable[[Tokens], NDArray[np.generic]]
    ) -> Estimate:
        values = [np.asarray(pick(part), np.float64).ravel() for part in parts]
        drawn = [statistic(np.concatenate([values[at] for at in draw])) for draw in draws]
        return _interval(statistic(np.concatenate(values)), drawn)

    def ratio_of_means(mine: list[Numbers], base: list[Numbers]) -> Estimate:
        sums = np.array([[one.sum(), other.sum()] for one, other in zip(mine, base, strict=True)])
        whole = sums.sum(axis=0)
        drawn = [sums[draw].sum(axis=0) for draw in draws]
        return _interval(float(whole[0] / whole[1]), [float(one[0] / one[1]) for one in drawn])

    return Figures(
        sum(part.count for part in parts),
        len(parts),
        estimate(lambda found: float(found.mean()), lambda part: part.divergence),
        estimate(lambda found: float(np.quantile(found, 0.99)), lambda part: part.divergence),
        estimate(lambda found: float(np.quantile(found, 0.999)), lambda part: part.divergence),
        estimate(lambda found: 100 * float(found.mean()), lambda part: ~part.same),
        estimate(lambda found: float(np.exp(found.mean())), lambda part: part.loss),
        estimate(
            lambda found: float(np.exp(found.mean())),
            lambda part: np.asarray(part.loss, np.float64) - part.base_loss,
        ),
        ratio_of_means(
            [np.asarray(part.divergence, np.float64) for part in parts],
            [np.asarray(part.divergence, np.float64) for part in others],
        )
        if others is not None and sum(float(part.divergence.sum()) for part in others) > 0
        else None,
    )


def baseline_perplexity(texts: Sequence[Tokens]) -> Estimate:
    """The baseline's own perplexity on the same tokens."""
    own = [Tokens(text.base_loss, text.base_loss, text.divergence, text.same) for text in texts]
    return figures(own).perplexity


def _blocks(texts: Sequence[Tokens]) -> list[tuple[int, Tokens]]:
    found: list[tuple[int, Tokens]] = []
    for owner, text in enumerate(texts):
        chunks, scored = text.loss.shape
        cuts = np.array_split(np.arange(scored), max(1, scored // BLOCK))
        for chunk in range(chunks):
            for cut in cuts:
                span = slice(int(cut[0]), int(cut[-1]) + 1)
                found.append(
                    (
                        owner,
                        Tokens(
                            text.base_loss[chunk, span],
                            text.loss[chunk, span],
                            text.divergence[chunk, span],
                            text.same[chunk, span],
                        ),
                    )
                )
    return found


def _interval(value: float, drawn: Sequence[float]) -> Estimate:
    low, high = np.quantile(np.asarray(drawn), [0.025, 0.975])
    return Estimate(value, float(min(low, value)), float(max(high, value)))
