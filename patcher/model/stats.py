"""Activation statistics: what ``llama-q8a8-stats`` writes. Read with suspicion, merged exactly.

One GGUF file, ``general.type`` = ``q8a8-stats``. For the weight W of every matrix product, with n inputs and
E experts (1 where there are none):

* ``W.max``, ``W.mean``, ``W.square``: F32 [E, n], greatest and mean |x| and mean x^2 of each input channel;
* ``W.count``: I64 [E], rows seen;
* ``W.rows`` F16 [E, R, n] and ``W.keys`` I64 [E, R]: sampled rows, and the keys that chose them (the R least
  are kept; 2^63 - 1: no row). Products that read one input share one sample, which the first of them has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from patcher.base.errors import UsageError
from patcher.model.gguf import GgufError, GgufFile, TensorInfo, read
from patcher.model.tensor_data import Array, load, load_integers

TYPE = "q8a8-stats"
VERSION = 1
NO_ROW = (1 << 63) - 1
MOST_ROWS = 1 << 53  # that a product can have seen: the counts of any number of files are added up
PARTS = ("max", "mean", "square", "count")


class StatsError(GgufError):
    """Statistics that contradict themselves, or the model that they are used with."""

    remedy = "make them again of this model: q8a8-patch calibrate MODEL --text TEXT -o MODEL.stats"


@dataclass(frozen=True)
class InputStats:
    """What one product has seen. Arrays [experts, inputs], ``count`` [experts]."""

    max: Array
    mean: Array
    square: Array
    count: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stats:
    """A statistics file; arrays are read when they are asked for."""

    file: GgufFile
    tensors: dict[str, TensorInfo]

    @property
    def path(self) -> Path:
        """The file's path."""
        return self.file.path

    @property
    def model_hash(self) -> str:
        """The hash of the model that the statistics belong to; empty where the tool was not told."""
        return self.file.text(f"{TYPE}.model_hash", "")

    @property
    def texts(self) -> list[str]:
        """A hash for each text that was read."""
        return self.file.list_of(str, f"{TYPE}.texts")

    @property
    def chunks(self) -> list[int]:
        """Chunks read of each text."""
        found = self.file.list_of(int, f"{TYPE}.chunks")
        if any(not 0 <= count < 1 << 32 for count in found):
            raise StatsError(
                f"{self.path}: '{TYPE}.chunks': looked for numbers of chunks, found a negative or too"
                f" large one"
            )
        return found

    @property
    def row_limit(self) -> int:
        """How many rows are kept of each input at most."""
        return self.file.number(f"{TYPE}.rows", 0)

    @property
    def weights(self) -> list[str]:
        """The names of the products' weights."""
        return sorted(name[: -len(".max")] for name in self.tensors if name.endswith(".max"))

    def has(self, weight: str) -> bool:
        """Whether the product with ``weight`` was seen."""
        return f"{weight}.max" in self.tensors

    def keeps_rows(self, weight: str) -> bool:
        """Whether rows of the product's input were sampled under its own name."""
        return f"{weight}.rows" in self.tensors

    def input(self, weight: str) -> InputStats:
        """The statistics at the input of ``weight``. Raises :class:`GgufError` where they make no sense."""
        maximum, mean, square = (load(self._tensor(f"{weight}.{part}")) for part in PARTS[:3])
        count = load_integers(self._tensor(f"{weight}.count")).reshape(-1)
        for array, part in ((maximum, "max"), (mean, "mean"), (square, "square")):
            if not np.isfinite(array).all() or (array < 0).any() or array.shape != maximum.shape:
                raise StatsError(
                    f"{self.path}: '{weight}.{part}' has negative or infinite values, or another shape"
                )
        if len(count) != len(maximum) or (count < 0).any() or (count > MOST_ROWS).any():
            raise StatsError(f"{self.path}: '{weight}.count' doesn't fit '{weight}.max'")
        return InputStats(maximum, mean, square, count)

    def rows(self, weight: str) -> list[Array]:
        """Sampled rows [r, inputs] of each expert, in the order of their keys; empty where none were kept."""
        if f"{weight}.rows" not in self.tensors:
            return []
        data, keys = self.sampled(weight)
        order = np.argsort(keys, axis=1, kind="stable")
        return [data[e][order[e][: int((keys[e] != NO_ROW).sum())]] for e in range(len(keys))]

    def row_count(self, weight: str) -> int:
        """How many rows were sampled under ``weight``, over all experts."""
        if not self.keeps_rows(weight):
            return 0
        return int((load_integers(self._tensor(f"{weight}.keys")) != NO_ROW).sum())

    def sampled(self, weight: str) -> tuple[Array, npt.NDArray[np.int64]]:
        """All rows that were kept, [experts, R, inputs], and their keys [experts, R].

        Raises :class:`GgufError` where they don't fit each other.
        """
        info, keys = self._tensor(f"{weight}.rows"), load_integers(self._tensor(f"{weight}.keys"))
        if info.rows != keys.size:
            raise StatsError(f"{self.path}: '{weight}.rows' doesn't fit '{weight}.keys'")
        data = load(info)
        if not np.isfinite(data).all():
            raise StatsError(f"{self.path}: '{weight}.rows' has values that are not finite")
        return data.reshape(*keys.shape, info.row), keys

    def _tensor(self, name: str) -> TensorInfo:
        found = self.tensors.get(name)
        if found is None:
            raise GgufError(f"{self.path}: looked for '{name}', found none", hint="calibrate again")
        return found


def open_stats(path: Path) -> Stats:
    """Read the description of a statistics file. Raises :class:`GgufError` for another type or version."""
    file = read(path)
    if file.get("general.type") != TYPE:
        raise GgufError(
            f"{path}: looked for activation statistics, found general.type = {file.get('general.type')!r}",
            hint="'q8a8-patch calibrate' makes them",
        )
    version = file.get(f"{TYPE}.version")
    if version != VERSION:
        raise GgufError(
            f"{path}: statistics of version {version!r}, this tool reads {VERSION}", hint="calibrate again"
        )
    return Stats(file, {tensor.name: tensor for tensor in file.tensors})


def check_belongs(stats: Stats, model: Path, found: str) -> None:
    """Raise :class:`UsageError` where ``stats`` are not those of the model whose hash is ``found``."""
    if stats.model_hash != found:
        raise UsageError(
            f"{stats.path}: made with another model (hash {stats.model_hash[:12] or 'missing'}) than {model}"
            f" ({found[:12]})",
            hint="calibrate this model",
        )


def merged_arrays(parts: Sequence[Stats], weight: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays of several runs as one run over all their texts would have given, by suffix."""
    inputs = [part.input(weight) for part in parts if part.has(weight)]
    if len({one.max.shape for one in inputs}) != 1:
        raise StatsError(f"{parts[0].path}: '{weight}' has another shape in the other files")
    counts = np.stack([one.count for one in inputs])
    share = (counts / np.maximum(counts.sum(0), 1))[..., None]
    merged: dict[str, npt.NDArray[Any]] = {
        "max": np.max([one.max for one in inputs], 0),
        "mean": (np.stack([one.mean for one in inputs]) * share).sum(0).astype(np.float32),
        "square": (np.stack([one.square for one in inputs]) * share).sum(0).astype(np.float32),
        "count": counts.sum(0),
    }
    kept = [part for part in parts if f"{weight}.rows" in part.tensors]
    if kept:
        sampled = [part.sampled(weight) for part in kept]
        shape = inputs[0].max.shape
        for part, (data, _) in zip(kept, sampled, strict=True):
            if (data.shape[0], data.shape[2]) != shape:
                raise StatsError(f"{part.path}: '{weight}.rows' doesn't fit '{weight}.max'")
        limit = min(own.shape[1] for _, own in sampled)
        keys = np.concatenate([own for _, own in sampled], 1)
        rows = [data for data, _ in sampled]
        order = np.argsort(keys, axis=1, kind="stable")[:, :limit]
        merged["keys"] = np.take_along_axis(keys, order, 1)
        merged["rows"] = np.take_along_axis(np.concatenate(rows, 1), order[..., None], 1).astype(np.float16)
    return merged
