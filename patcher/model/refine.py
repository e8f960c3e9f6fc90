"""A Q8_A8 model whose weights are rounded anew, with the calibration's sampled activations.

``llama-quantize`` decides which tensors become Q8_A8 and rounds each weight to nearest. Here the tensors
whose inputs were sampled are taken again from the model before, rounded as :mod:`patcher.model.rounding` does
it; the others and the metadata stay as they are. The size stays the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from patcher.base.errors import UsageError
from patcher.base.files import settle_parts
from patcher.base.progress import SILENT, Reporter
from patcher.model.gguf import GgufError, GgufFile, TensorInfo, Value
from patcher.model.gguf_format import ValueType
from patcher.model.gguf_writer import GgufWriter, make_value, tensors_like
from patcher.model.material import LEAST_ROWS, Material, TensorInputs, inputs_of
from patcher.model.model_file import open_model
from patcher.model.rewrite import copied
from patcher.model.rounding import Known, nearest
from patcher.model.tensor_data import Array, pieces

TYPE = "Q8_A8"
_HELD = (TYPE, "Q8_0")  # in a model of eight experts llama-quantize makes some Q8_0: the same blocks
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


def require_type(type_name: str) -> None:
    """Raise :class:`UsageError` for another type than Q8_A8."""
    if type_name.upper() != TYPE:
        raise UsageError(f"--stats: is for {TYPE} alone, found {type_name}", hint="leave --stats out")


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
        if tensor.type_name in _HELD and (inputs := inputs_of(tensor, of))
    }
    if not wanted:
        raise UsageError(
            f"{of.stats.path}: no rows were kept for any {TYPE} tensor of {quantized}",
            hint="calibrate again with --rows 256: the statistics were made with --rows 0, or of other"
            " tensors",
        )
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


class _Error:
    """Square errors of the products, by rounding to nearest and as it was done."""

    def __init__(self) -> None:
        self.before = 0.0
        self.after = 0.0

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before else 1.0


def _known(rows: Array, judges: Array | None) -> Known | None:
    if len(rows) < LEAST_ROWS or (judges is not None and not len(judges)):
        return None
    return Known(rows, judges)


def _rounded(tensor: TensorInfo, known: list[Known | None], error: _Error) -> Iterator[bytes]:
    if any(one is not None and one.columns != tensor.row for one in known) or tensor.rows % len(known):
        raise GgufError(
            f"{tensor.path}: tensor '{tensor.name}' doesn't fit the statistics",
            hint="name the statistics of this model with --stats",
        )
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
