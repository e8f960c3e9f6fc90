"""A Q8_A8 model whose weights are rounded anew, with the calibration's sampled activations.

``llama-quantize`` decides which tensors become Q8_A8 and rounds each weight to nearest. Here the tensors
whose inputs were sampled are taken again from the model before, rounded as :mod:`patcher.model.rounding` does
it; the others and the metadata stay as they are. The size stays the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from patcher.base.errors import UsageError
from patcher.base.files import settle_parts
from patcher.base.progress import SILENT, Reporter
from patcher.model import architecture, smooth_metadata
from patcher.model.choose import seen_as
from patcher.model.fold import Fold, find_folds
from patcher.model.gguf import GgufError, GgufFile, TensorInfo, Value
from patcher.model.gguf_format import ValueType
from patcher.model.gguf_writer import GgufWriter, make_value, tensors_like
from patcher.model.model_file import ModelFile, model_hash, open_model
from patcher.model.rewrite import copied
from patcher.model.rounding import Known, nearest
from patcher.model.stats import PARTS, Stats, check_belongs, open_stats
from patcher.model.tensor_data import Array, is_float, pieces

TYPE = "Q8_A8"
LEAST_ROWS = 64  # of an input; with fewer, rounding to nearest is kept
_PIECE = 1 << 20  # bytes of float32 weights at once: all scales tried on a block fit into a core's cache
_KEY = "q8_a8.rounding"
SAME_TEXT = "tokens of the same text that were held out"


@dataclass(frozen=True)
class Refined:
    """What was done: by tensor, the products' square error relative to that of rounding to nearest."""

    path: Path
    errors: dict[str, float]
    seconds: float
    judged: str = SAME_TEXT  # what the errors were measured on
    nearest: tuple[str, ...] = ()  # tensors of too few rows, which stay as they were
    different: int = 0  # rows of the input that has the fewest different ones

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "tensors": self.errors,
            "error_ratio": self.error_ratio,
            "judged": self.judged,
            "nearest": list(self.nearest),
            "different_rows": self.different,
            "narrow": self.is_narrow,
            "seconds": round(self.seconds, 3),
        }

    @property
    def is_narrow(self) -> bool:
        """Whether the sample shows too little of what the model may read to be relied upon elsewhere."""
        return self.different < LEAST_ROWS

    def doubts(self) -> list[str]:
        """What a reader of the error ratio must know, one line each."""
        found = []
        if self.is_narrow:
            found.append(
                f"the sample is narrow: one input has only {self.different} different rows. On other texts"
                " the model may have become worse than by rounding to nearest: calibrate on more kinds of"
                " text, and name statistics of another one with --judge"
            )
        if self.nearest:
            found.append(
                f"{len(self.nearest)} of {len(self.errors)} tensors stay rounded to nearest: fewer than"
                f" {LEAST_ROWS} rows of their inputs were kept ({self.nearest[0]}"
                f"{', ...' if len(self.nearest) > 1 else ''})"
            )
        return found

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


def require_type(type_name: str) -> None:
    """Raise :class:`UsageError` for another type than Q8_A8."""
    if type_name.upper() != TYPE:
        raise UsageError(f"--stats: is for {TYPE}, found {type_name}", hint="leave it out")


def refine(quantized: Path, of: Material, reporter: Reporter = SILENT) -> Refined:
    """Round the model at ``quantized`` anew, in place, part by part; it was made of ``of``'s.

    Raises :class:`UsageError` where nothing can be rounded, :class:`GgufError` where the two don't fit; the
    model stays as it was then.
    """
    start = time.monotonic()
    made = open_model(quantized)
    wanted = {
        tensor.name: inputs
        for tensor in made.tensors.values()
        if tensor.type_name == TYPE and (inputs := inputs_of(tensor, of))
    }
    if not wanted:
        raise UsageError(f"{of.stats.path}: no rows were kept for any {TYPE} tensor of {quantized}")
    drafts = [part.path.with_name(part.path.name + ".part") for part in made.parts]
    work = _Work(of, wanted)
    try:
        with reporter.step("Rounding", total=len(made.tensors)) as step:
            for part, draft in zip(made.parts, drafts, strict=True):
                with GgufWriter(
                    draft,
                    _said(part, part is made.head),
                    tensors_like(part.tensors),
                    big_endian=part.big_endian,
                    alignment=part.alignment,
                ) as writer:
                    for tensor in part.tensors:
                        step.update(done=len(work.errors), detail=tensor.name)
                        writer.write(tensor.name, work.data(tensor))
                    writer.sync()
        settle_parts(drafts, [part.path for part in made.parts])
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)
    judged = SAME_TEXT if of.judge is None else f"the text of {of.judge.path.name}"
    errors = {name: error.ratio for name, error in work.errors.items()}
    seconds = time.monotonic() - start
    return Refined(quantized, errors, seconds, judged, tuple(work.nearest), work.different)


def _said(part: GgufFile, is_head: bool) -> Mapping[str, Value]:
    return {
        **part.metadata,
        **(
            {_KEY: make_value(ValueType.STRING, "compensated", big_endian=part.big_endian)} if is_head else {}
        ),
    }


class _Work:
    """Tensors rounded one after another; those beside each other share what is known of their input."""

    def __init__(self, of: Material, wanted: Mapping[str, TensorInputs]) -> None:
        self._of, self._wanted = of, wanted
        self._last: tuple[object, list[Known | None]] | None = None
        self.errors: dict[str, _Error] = {}
        self.nearest: list[str] = []
        self.different = 1 << 30

    def data(self, tensor: TensorInfo) -> Iterator[bytes]:
        """The tensor's new bytes, or its old ones where nothing is known of what it reads."""
        inputs = self._wanted.get(tensor.name)
        if inputs is None:
            return copied(tensor)
        if self._last is None or self._last[0] != inputs.key:
            rows = inputs.load(self._of.stats)
            judges = [None] * len(rows) if self._of.judge is None else inputs.load(self._of.judge)
            self._last = inputs.key, [_known(*pair) for pair in zip(rows, judges, strict=True)]
            seen = [len(np.unique(some, axis=0)) for some in rows if len(some) >= LEAST_ROWS]
            self.different = min([self.different, *seen])
        known = self._last[1]
        if not any(known):
            self.nearest.append(tensor.name)
        error = self.errors[tensor.name] = _Error()
        return _rounded(self._of.model.tensors[tensor.name], known, error)


@dataclass(frozen=True)
class TensorInputs:
    """What a tensor reads: ``key`` is the same for tensors that read the same."""

    key: object
    load: Callable[[Stats], list[Array]]  # by expert, rows [r, n]; one where all experts' tokens are meant


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
        raise GgufError(f"{made.path}: tensor '{made.name}' has another shape than in {tensor.path}")
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


def _known(rows: Array, judges: Array | None) -> Known | None:
    if len(rows) < LEAST_ROWS or (judges is not None and not len(judges)):
        return None
    return Known(rows, judges)


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
