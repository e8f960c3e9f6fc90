"""From statistics to factors, fold by fold: magnitudes of both sides, a sample to try candidates on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from patcher.base.errors import UsageError
from patcher.model.alpha import (
    FINE,
    GRID,
    MAGNITUDES,
    Channels,
    Choice,
    Sample,
    relative_error,
    smoothing_factors,
)
from patcher.model.fold import HEAD, Fold
from patcher.model.gguf import GgufError, TensorInfo
from patcher.model.stats import InputStats, Stats, StatsError
from patcher.model.tensor_data import Array, decode, pieces

SAMPLE_ROWS = 192  # rows of each weight that candidates are tried on
SAMPLE_TOKENS = 128
SAMPLE_EXPERTS = 4


@dataclass(frozen=True)
class Strength:
    """How strongly to smooth: ``alpha`` None is searched, else it is fixed; ``by_layer`` goes before it.

    ``magnitude``: one of :data:`~patcher.model.alpha.MAGNITUDES`; None: searched too, or ``max``, the
    paper's, where alpha is fixed.
    """

    alpha: float | None = None
    magnitude: str | None = None
    by_layer: Mapping[int, float] = field(default_factory=dict)

    def of(self, fold: Fold) -> float | None:
        """The alpha that is fixed for ``fold``, or None."""
        return self.alpha if fold.layer is None else self.by_layer.get(fold.layer, self.alpha)


def choose(fold: Fold, stats: Stats, strength: Strength) -> Choice:
    """The fold's factors. Raises :class:`UsageError` where ``stats`` don't hold enough."""
    source = _source(fold, stats)
    x = _activations(fold, stats.input(source), stats)
    w = _weights(fold)
    alpha = strength.of(fold)
    samples = _samples(fold, stats)
    if alpha is not None:
        name = strength.magnitude or "max"
        factors = _by_expert(fold, x, w, name, alpha)
        if not samples:
            return Choice(factors, alpha, name)
        return Choice(
            factors, alpha, name, _tried(fold, samples, np.ones_like(factors)), _tried(fold, samples, factors)
        )
    if not samples:
        raise UsageError(
            f"{stats.path}: no rows were kept for {fold.name}, which --alpha auto tries its candidates on",
            hint="calibrate without '--rows 0', or name an --alpha",
        )
    none = np.ones((fold.experts, fold.channels), np.float32)
    before = _tried(fold, samples, none)
    best = Choice(none, 0.0, "none", before, before)

    def better(name: str, step: float) -> Choice:
        factors = _by_expert(fold, x, w, name, step)
        error = _tried(fold, samples, factors)
        return (
            Choice(factors, step, name, before, error) if best.after is None or error < best.after else best
        )

    for name in (strength.magnitude,) if strength.magnitude else MAGNITUDES:
        for step in GRID:
            best = better(name, step)
    if best.magnitude != "none":
        for step in (best.alpha - FINE, best.alpha + FINE):
            best = better(best.magnitude, step)
    return best


def _source(fold: Fold, stats: Stats) -> str:
    """The consumer whose input statistics stand for the fold's: one that has seen every token, if any has."""
    seen = [tensor for tensor in fold.consumers if stats.has(seen_as(tensor, stats))]
    if not seen:
        raise UsageError(
            f"{stats.path}: looked for the input of '{fold.consumers[0].name}', found none",
            hint="calibrate this model with this version of llama-q8a8-stats",
        )
    whole = [tensor for tensor in seen if len(tensor.dims) < 3]
    return seen_as((whole or seen)[0], stats)


def seen_as(tensor: TensorInfo, stats: Stats) -> str:
    """The name in the statistics: while the embeddings were the output matrix, they went by theirs."""
    return "token_embd.weight" if tensor.name == HEAD and not stats.has(HEAD) else tensor.name


def _activations(fold: Fold, seen: InputStats, stats: Stats) -> list[Channels]:
    """Magnitudes by expert, each [channels]."""
    maximum, mean, square = seen.max, seen.mean, seen.square
    if fold.experts == 1 and len(maximum) > 1:  # a shared input that only experts have seen
        share = (seen.count / max(1, int(seen.count.sum())))[:, None]
        maximum, mean, square = (
            maximum.max(0, keepdims=True),
            (mean * share).sum(0)[None],
            (square * share).sum(0)[None],
        )
    if maximum.shape != (fold.experts, fold.channels * fold.group):
        raise StatsError(
            f"{stats.path}: {fold.name}: looked for statistics of shape"
            f" {(fold.experts, fold.channels * fold.group)}, found {maximum.shape}"
        )
    maximum = fold.gather(maximum, np.maximum)
    rms = fold.gather(np.sqrt(square), np.hypot)
    mean = fold.gather(mean.astype(np.float32), np.add)
    return [Channels({"max": maximum[e], "rms": rms[e], "mean": mean[e]}) for e in range(fold.experts)]


def _weights(fold: Fold) -> list[Channels]:
    """The same of the consumers' columns, all consumers together."""
    inputs = fold.channels * fold.group
    top = np.zeros((fold.experts, inputs), np.float32)
    square = np.zeros((fold.experts, inputs), np.float64)
    for tensor in fold.consumers:
        per_expert = tensor.rows // fold.experts
        for first, rows in pieces(tensor):
            for expert in range(first // per_expert, (first + len(rows) - 1) // per_expert + 1):
                own = rows[max(0, expert * per_expert - first) : (expert + 1) * per_expert - first]
                np.maximum(top[expert], np.abs(own).max(0), out=top[expert])
                square[expert] += np.einsum("ij,ij->j", own, own)
        if not np.isfinite(square).all():
            raise GgufError(
                f"{tensor.path}: tensor '{tensor.name}' holds values that are not finite",
                hint="the model is damaged, or was overflowing when it was converted: convert the"
                " original again",
            )
    maximum = fold.gather(top, np.maximum)
    rms = fold.gather(np.sqrt(square).astype(np.float32), np.hypot)
    return [Channels({"max": maximum[e], "rms": rms[e], "mean": rms[e]}) for e in range(fold.experts)]


def _by_expert(fold: Fold, x: list[Channels], w: list[Channels], name: str, alpha: float) -> Array:
    return np.stack(
        [smoothing_factors(x[e].by_name[name], w[e].by_name[name], alpha) for e in range(fold.experts)]
    )


def _samples(fold: Fold, stats: Stats) -> dict[int, Sample]:
    """For some experts, tokens and rows of weights to try candidates on; empty where no tokens were kept."""
    kept: list[Array] = []
    for tensor in fold.consumers:
        kept = stats.rows(seen_as(tensor, stats))
        if kept:
            break
    if not kept:
        return {}
    if fold.experts == 1 and len(kept) > 1:
        kept = [np.concatenate(kept)]
    if len(kept) != fold.experts or kept[0].shape[1] != fold.channels * fold.group:
        raise StatsError(f"{stats.path}: {fold.name}: its sampled rows don't have the shape of the model")
    busiest = sorted(range(len(kept)), key=lambda e: (-len(kept[e]), e))[:SAMPLE_EXPERTS]
    return {
        expert: Sample(
            kept[expert][:SAMPLE_TOKENS],
            tuple(_some_rows(tensor, expert, fold.experts) for tensor in fold.consumers),
        )
        for expert in busiest
        if len(kept[expert])
    }


def _some_rows(tensor: TensorInfo, expert: int, experts: int) -> Array:
    """Evenly spaced rows of one expert, or of all of a tensor that experts share."""
    per_expert = tensor.rows // experts
    wanted = np.unique(np.linspace(0, per_expert - 1, min(per_expert, SAMPLE_ROWS)).astype(int))
    with tensor.path.open("rb") as file:
        rows = []
        for row in wanted + expert * per_expert:
            file.seek(tensor.offset + int(row) * tensor.row_bytes)
            rows.append(file.read(tensor.row_bytes))
    return decode(b"".join(rows), tensor)


def _tried(fold: Fold, samples: Mapping[int, Sample], factors: Array) -> float:
    spread = fold.spread(factors)
    return relative_error([(sample, spread[expert]) for expert, sample in samples.items()])
