"""What weights are rounded anew with: a model, and what is known of its products' inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from patcher.base.errors import UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.model import architecture, smooth_metadata
from patcher.model.choose import seen_as
from patcher.model.fold import Fold, find_folds
from patcher.model.gguf import GgufError, TensorInfo
from patcher.model.model_file import ModelFile, model_hash, open_model
from patcher.model.stats import PARTS, Stats, check_belongs, open_stats
from patcher.model.tensor_data import Array, is_float

LEAST_ROWS = 64  # of an input; with fewer, rounding to nearest is kept


@dataclass(frozen=True)
class Material:
    """What weights are taken from and rounded with: a model, and what is known of its products' inputs."""

    model: ModelFile
    stats: Stats
    folds: dict[str, tuple[Fold, Array | None]]  # by consumer, and what its input was divided by since
    judge: Stats | None = None  # of another text, on which rounding is judged

    def spread(self, name: str) -> Array:
        """What a tensor's input was divided by since the statistics were made, [experts, inputs] or [1]."""
        fold, factors = self.folds.get(name, (None, None))
        return np.ones(1, np.float32) if fold is None or factors is None else fold.spread(factors)


def material(
    source: Path, stats_path: Path, reporter: Reporter = SILENT, *, judge: Path | None = None
) -> Material:
    """Open the model at ``source`` and the statistics of it, or of the model that it was before smoothing.

    ``judge``: statistics of another text. Raises :class:`UsageError` where they are another model's, hold no
    rows or too few of them, or where the judge has read the same text.
    """
    model, stats = open_model(source), open_stats(stats_path)
    folds = _folds(model, stats, reporter)
    _require_rows(stats)
    if judge is None:
        return Material(model, stats, folds)
    other = open_stats(judge)
    _require_rows(other)
    check_belongs(other, source, stats.model_hash)
    if set(other.texts) & set(stats.texts):
        raise UsageError(
            f"{judge}: was made with a text that {stats_path} was made with",
            hint="calibrate on another text, by which rounding can be judged",
        )
    return Material(model, stats, folds, other)


def _require_rows(stats: Stats) -> None:
    if not any(map(stats.keeps_rows, stats.weights)):
        raise UsageError(f"{stats.path}: holds no rows of activations", hint="calibrate without '--rows 0'")
    most = max(map(stats.row_count, stats.weights))
    if most < LEAST_ROWS:
        raise UsageError(
            f"{stats.path}: holds {most} rows of an input at most, rounding takes {LEAST_ROWS} or more",
            hint=f"calibrate with '--rows {max(256, LEAST_ROWS)}' on a longer text",
        )


@dataclass(frozen=True)
class TensorInputs:
    """What a tensor reads: ``key`` is the same for tensors that read the same."""

    key: object
    load: Callable[[Stats], list[Array]]  # by expert, rows [r, n]; one where all experts' tokens are meant


def _folds(model: ModelFile, stats: Stats, reporter: Reporter) -> dict[str, tuple[Fold, Array | None]]:
    """By consumer, its fold and the factors that its input was divided by since the statistics were made."""
    head = model.head
    smoothed = smooth_metadata.is_smoothed(head)
    declared = architecture.load().get(model.architecture)
    if declared is None and not smoothed:  # nothing is folded here: what reads what, the statistics tell
        check_belongs(stats, model.path, model_hash(model, reporter))
        return {}
    found = find_folds(
        model,
        declared or architecture.find(model.architecture, model.path),
        head=smoothed and smooth_metadata.has_head(head),
        floats=False,
    )
    factors: dict[Fold, Array] = {}
    if smoothed and head.get("smoothquant.model_hash") == stats.model_hash:
        factors = smooth_metadata.factors_of(head, found)
    else:
        check_belongs(stats, model.path, model_hash(model, reporter))
    return {tensor.name: (fold, factors.get(fold)) for fold in found for tensor in fold.consumers}


def inputs_of(made: TensorInfo, of: Material) -> TensorInputs | None:
    """What a tensor reads, or None where no rows of it were kept or it isn't to be rounded anew."""
    tensor, stats = of.model.tensors.get(made.name), of.stats
    if tensor is None:
        return None
    if tensor.dims != made.dims:
        raise GgufError(
            f"{made.path}: tensor '{made.name}' has another shape than in {tensor.path}",
            hint="name the model that was quantized, and one that was made of it",
        )
    if not is_float(tensor):
        return None  # was quantized before: what it was is lost
    fold, _ = of.folds.get(tensor.name, (None, None))
    # of the products that read the same, one keeps its rows; experts keep those of their own tokens
    readers = sorted(
        fold.consumers if fold is not None else (tensor,), key=lambda one: one.dims[2:] != tensor.dims[2:]
    )
    owner = next((name for one in readers if stats.keeps_rows(name := seen_as(one, stats))), None)
    owner = owner or _twin(seen_as(tensor, stats), stats)
    if owner is None or tensor.name == "token_embd.weight":
        # embeddings are looked up more often than they are multiplied with: each stays the nearest
        return None
    together = len(tensor.dims) < 3

    def load(seen: Stats) -> list[Array]:
        spread = of.spread(tensor.name)
        rows = [some / spread[expert % len(spread)] for expert, some in enumerate(seen.rows(owner))]
        if not rows:
            raise UsageError(f"{seen.path}: looked for rows of '{owner}', found none", hint="calibrate again")
        return [np.concatenate(rows)] if together else rows

    return TensorInputs((owner, together), load)


def _twin(weight: str, stats: Stats) -> str | None:
    """The product that keeps the rows of ``weight``'s input, where no fold says so: it has seen the same."""
    if not stats.has(weight):
        return None
    seen = stats.input(weight)
    for other in stats.weights:
        if (
            not stats.keeps_rows(other)
            or stats.tensors[f"{other}.max"].dims != stats.tensors[f"{weight}.max"].dims
        ):
            continue
        theirs = stats.input(other)
        if all(np.array_equal(getattr(seen, part), getattr(theirs, part)) for part in PARTS):
            return other
    return None
