"""A Q8_A8 model whose weights are rounded anew, with the calibration's sampled activations.

``llama-quantize`` decides which tensors become Q8_A8 and rounds each weight to nearest. Here the tensors
whose inputs were sampled are taken again from the model before, rounded as :mod:`patcher.model.rounding` does
it; the others and the metadata stay as they are. The size stays the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from patcher.base.errors import UsageError
from patcher.base.files import made_whole
from patcher.base.progress import SILENT, Reporter
from patcher.model import architecture, smooth_metadata
from patcher.model.choose import seen_as
from patcher.model.fold import Fold, find_folds
from patcher.model.gguf import GgufError, TensorInfo
from patcher.model.gguf_format import ValueType
from patcher.model.gguf_writer import GgufWriter, make_value, tensors_like
from patcher.model.model_file import ModelFile, model_hash, open_model
from patcher.model.rewrite import copied
from patcher.model.rounding import Known, nearest
from patcher.model.stats import Stats, check_belongs, open_stats
from patcher.model.tensor_data import Array, is_float, pieces

TYPE = "Q8_A8"
LEAST_ROWS = 64  # of an input; with fewer, rounding to nearest is kept
_PIECE = 1 << 20  # bytes of float32 weights at once: all scales tried on a block fit into a core's cache
_KEY = "q8_a8.rounding"


@dataclass(frozen=True)
class Refined:
    """What was done: by tensor, the products' square error relative to that of rounding to nearest."""

    path: Path
    errors: dict[str, float]
    seconds: float

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"tensors": self.errors, "error_ratio": self.error_ratio, "seconds": round(self.seconds, 3)}

    @property
    def error_ratio(self) -> float:
        """The tensors' geometric mean."""
        return float(np.exp(np.mean(np.log(list(self.errors.values())))))


@dataclass(frozen=True)
class Material:
    """What weights are taken from and rounded with: a model, and what is known of its products' inputs."""

    model: ModelFile
    stats: Stats
    folds: dict[str, tuple[Fold, Array | None]]  # by consumer, and what its input was divided by since

    def spread(self, name: str) -> Array:
        """What a tensor's input was divided by since the statistics were made, [experts, inputs] or [1]."""
        fold, factors = self.folds.get(name, (None, None))
        return np.ones(1, np.float32) if fold is None or factors is None else fold.spread(factors)


def material(source: Path, stats_path: Path, reporter: Reporter = SILENT) -> Material:
    """Open the model at ``source`` and the statistics of it, or of the model that it was before smoothing.

    Raises :class:`UsageError` where they are another model's, or hold no rows.
    """
    model, stats = open_model(source), open_stats(stats_path)
    folds = _folds(model, stats, reporter)
    if not any(map(stats.keeps_rows, stats.weights)):
        raise UsageError(f"{stats_path}: holds no rows of activations", hint="calibrate without '--rows 0'")
    return Material(model, stats, folds)


def refine(quantized: Path, of: Material, reporter: Reporter = SILENT) -> Refined:
    """Round the model at ``quantized`` anew, in place; it was made of ``of``'s.

    Raises :class:`UsageError` where nothing can be rounded, :class:`GgufError` where the two don't fit; the
    model stays as it was then.
    """
    start = time.monotonic()
    made = open_model(quantized)
    if len(made.parts) > 1:
        raise UsageError(f"{quantized}: is in {len(made.parts)} parts", hint="quantize without --keep-split")
    wanted = {
        tensor.name: inputs
        for tensor in made.tensors.values()
        if tensor.type_name == TYPE and (inputs := inputs_of(tensor, of))
    }
    if not wanted:
        raise UsageError(f"{of.stats.path}: no rows were kept for any {TYPE} tensor of {quantized}")
    errors: dict[str, float] = {}
    metadata = {**made.head.metadata, _KEY: make_value(ValueType.STRING, "compensated")}
    with (
        made_whole(quantized, kind=GgufError) as draft,
        reporter.step("Rounding", total=len(made.tensors)) as step,
        GgufWriter(
            draft, metadata, tensors_like(made.tensors.values()), alignment=made.head.alignment
        ) as writer,
    ):
        last: tuple[object, list[Known | None]] | None = None
        for number, tensor in enumerate(made.tensors.values()):
            step.update(done=number, detail=tensor.name)
            inputs = wanted.get(tensor.name)
            if inputs is None:
                writer.write(tensor.name, copied(tensor))
                continue
            if last is None or last[0] != inputs.key:  # products beside each other share an input
                last = inputs.key, [_known(rows) for rows in inputs.load()]
            error = _Error()
            writer.write(tensor.name, _rounded(of.model.tensors[tensor.name], last[1], error))
            errors[tensor.name] = error.ratio
        writer.sync()
    return Refined(quantized, errors, time.monotonic() - start)


@contextmanager
def unrefined(source: Path, out: Path, type_name: str, *, force: bool) -> Iterator[Path]:
    """Where the model that is to become ``out`` lies while it is made; it is renamed at the end.

    Raises :class:`UsageError` for another type than Q8_A8, and where ``out`` is ``source``, a folder, or
    there without ``force``.
    """
    if type_name.upper() != TYPE:
        raise UsageError(f"--stats: is for {TYPE}, found {type_name}", hint="leave it out")
    if out.is_dir() or out.resolve() == source.resolve():
        raise UsageError(f"{out}: can't be written over", hint="name another file")
    if out.exists() and not force:
        raise UsageError(f"{out}: is there already", hint="name another file, or use --force")
    with made_whole(out, kind=GgufError) as place:
        yield place


@dataclass(frozen=True)
class Inputs:
    """What a tensor reads: ``key`` is the same for tensors that read the same."""

    key: object
    load: Callable[[], list[Array]]  # by expert, rows [r, n]; one where all experts' tokens are meant


class _Error:
    """Square errors of the products, by rounding to nearest and as it was done."""

    def __init__(self) -> None:
        self.before = 0.0
        self.after = 0.0

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before else 1.0


def _folds(model: ModelFile, stats: Stats, reporter: Reporter) -> dict[str, tuple[Fold, Array | None]]:
    """By consumer, its fold and the factors that its input was divided by since the statistics were made."""
    head = model.head
    smoothed = smooth_metadata.is_smoothed(head)
    found = find_folds(
        model,
        architecture.find(model.architecture, model.path),
        head=smoothed and smooth_metadata.has_head(head),
    )
    factors: dict[Fold, Array] = {}
    if smoothed and head.get("smoothquant.model_hash") == stats.model_hash:
        factors = smooth_metadata.factors_of(head, found)
    else:
        check_belongs(stats, model.path, model_hash(model, reporter))
    return {tensor.name: (fold, factors.get(fold)) for fold in found for tensor in fold.consumers}


def inputs_of(made: TensorInfo, of: Material) -> Inputs | None:
    """What a tensor reads, or None where no rows of it were kept or it isn't to be rounded anew."""
    tensor, stats = of.model.tensors.get(made.name), of.stats
    if tensor is None:
        return None
    if tensor.dims != made.dims:
        raise GgufError(f"{made.path}: tensor '{made.name}' has another shape than in {tensor.path}")
    if not is_float(tensor):
        return None  # was quantized before: what it was is lost
    fold, _ = of.folds.get(tensor.name, (None, None))
    # of the products that read the same, one keeps its rows; experts keep those of their own tokens
    readers = sorted(
        fold.consumers if fold is not None else (tensor,), key=lambda one: one.dims[2:] != tensor.dims[2:]
    )
    owner = next((name for one in readers if stats.keeps_rows(name := seen_as(one, stats))), None)
    if owner is None or tensor.name == "token_embd.weight":
        # embeddings are looked up more often than they are multiplied with: each stays the nearest
        return None
    together = len(tensor.dims) < 3

    def load() -> list[Array]:
        spread = of.spread(tensor.name)
        rows = [some / spread[expert % len(spread)] for expert, some in enumerate(stats.rows(owner))]
        return [np.concatenate(rows)] if together else rows

    return Inputs((owner, together), load)


def _known(rows: Array) -> Known | None:
    return Known(rows) if len(rows) >= LEAST_ROWS else None


def _rounded(tensor: TensorInfo, known: list[Known | None], error: _Error) -> Iterator[bytes]:
    if any(one is not None and one.columns != tensor.row for one in known) or tensor.rows % len(known):
        raise GgufError(f"{tensor.path}: tensor '{tensor.name}' doesn't fit the statistics")
    per_expert = tensor.rows // len(known)
    for first, weights in pieces(tensor, _PIECE):
        for expert, own in _by_expert(first, weights, per_expert):
            of = known[expert]
            if of is None:
                yield nearest(own).tobytes()
                continue
            blocks, before, after = of.rounded(own)
            error.before += before
            error.after += after
            yield blocks.tobytes()


def _by_expert(first: int, weights: Array, per_expert: int) -> Iterable[tuple[int, Array]]:
    for expert in range(first // per_expert, (first + len(weights) - 1) // per_expert + 1):
        yield (
            expert,
            weights[max(0, expert * per_expert - first) : (expert + 1) * per_expert - first],
        )
