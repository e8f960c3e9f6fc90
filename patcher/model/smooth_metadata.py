"""``smoothquant.*``: what a smoothed model says of itself, enough to undo it.

* ``enabled`` bool, ``version`` u32, ``tool`` string
* ``alpha`` f32: the mean over the folds; ``fold_alphas`` f32 and ``fold_magnitudes`` string arrays: of each
* ``scaling_factors`` f32 array: the factors of all folds; ``folds``, ``fold_sizes``: whose, and how many each
* ``new_tensors`` string array, where there are any: what the model had not before
* ``model_hash`` and ``calibration_hash``: SHA-256 of the model before and of the statistics file
* ``id`` string: SHA-256 over ``model_hash``, the folds and their factors, the same for the same smoothing

An adapter that was folded for a smoothed model has its ``id`` as ``base``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from patcher import __version__
from patcher.model.alpha import LIMIT, Choice
from patcher.model.fold import HEAD, Fold
from patcher.model.gguf import GgufError, GgufFile, Value
from patcher.model.gguf_format import ValueType
from patcher.model.gguf_writer import make_array, make_value
from patcher.model.tensor_data import Array

PREFIX = "smoothquant."
BASE = "base"  # of an adapter: the smoothing that it was folded for
VERSION = 1


class SmoothingError(GgufError):
    """A model whose notes of its smoothing are missing, damaged or another program's."""

    remedy = "get the model again, or smooth the original again with this q8a8-patch"


def is_smoothed(file: GgufFile) -> bool:
    """Whether the model says that it is smoothed."""
    return bool(file.get(f"{PREFIX}enabled", False))


def added(
    file: GgufFile,
    choices: Mapping[Fold, Choice],
    *,
    model_hash: str,
    calibration_hash: str,
    new_tensors: tuple[str, ...] = (),
) -> dict[str, Value]:
    """The file's metadata with ``smoothquant.*`` behind them."""
    big = file.big_endian

    def scalar(value_type: ValueType, value: object) -> Value:
        return make_value(value_type, value, big_endian=big)

    factors = np.concatenate([choice.factors.reshape(-1) for choice in choices.values()]).tolist()
    alphas = [choice.alpha for choice in choices.values()]
    new = {
        "enabled": scalar(ValueType.BOOL, True),
        "version": scalar(ValueType.UINT32, VERSION),
        "tool": scalar(ValueType.STRING, f"q8a8-patch {__version__}"),
        "alpha": scalar(ValueType.FLOAT32, sum(alphas) / len(alphas)),
        "model_hash": scalar(ValueType.STRING, model_hash),
        "calibration_hash": scalar(ValueType.STRING, calibration_hash),
        "folds": make_array(ValueType.STRING, [fold.name for fold in choices], big_endian=big),
        "fold_sizes": make_array(ValueType.UINT32, [fold.size for fold in choices], big_endian=big),
        "fold_alphas": make_array(ValueType.FLOAT32, alphas, big_endian=big),
        "fold_magnitudes": make_array(
            ValueType.STRING, [choice.magnitude for choice in choices.values()], big_endian=big
        ),
        "scaling_factors": make_array(ValueType.FLOAT32, factors, big_endian=big),
        "id": scalar(ValueType.STRING, _identity(model_hash, choices)),
    }
    if new_tensors:
        new["new_tensors"] = make_array(ValueType.STRING, new_tensors, big_endian=big)
    return {**removed(file), **{PREFIX + key: value for key, value in new.items()}}


def _identity(model_hash: str, choices: Mapping[Fold, Choice]) -> str:
    digest = hashlib.sha256(model_hash.encode())
    for fold, choice in choices.items():
        digest.update(f"\0{fold.name}\0".encode() + choice.factors.astype("<f4").tobytes())
    return digest.hexdigest()


def identity_of(file: GgufFile) -> str:
    """Which smoothing a model has: its ``id``, or the hash of what it was, in files without one.

    Raises :class:`GgufError` where it has neither.
    """
    found = file.get(f"{PREFIX}id") or file.get(f"{PREFIX}model_hash")
    if not isinstance(found, str) or not found:
        raise SmoothingError(
            f"{file.path}: looked for 'smoothquant.id' or 'smoothquant.model_hash', found neither"
        )
    return found


def removed(file: GgufFile) -> dict[str, Value]:
    """The file's metadata without ``smoothquant.*``."""
    return {key: value for key, value in file.metadata.items() if not key.startswith(PREFIX)}


def has_head(file: GgufFile) -> bool:
    """Whether the output matrix was smoothed."""
    folds = file.get(f"{PREFIX}folds")
    return isinstance(folds, list) and "head" in folds


def new_tensors(file: GgufFile) -> tuple[str, ...]:
    """The tensors that smoothing added. Raises :class:`GgufError` for one that it never adds."""
    found = file.get(f"{PREFIX}new_tensors", [])
    if found not in ([], [HEAD]):
        raise SmoothingError(
            f"{file.path}: 'smoothquant.new_tensors' is {found!r}, only '{HEAD}' is ever added"
        )
    return tuple(found)


def factors_of(file: GgufFile, folds: tuple[Fold, ...]) -> dict[Fold, Array]:
    """The factors that a smoothed model holds, by fold.

    Raises :class:`GgufError` where they are missing, of another version, or don't fit the model's folds.
    """
    version = file.get(f"{PREFIX}version")
    if version != VERSION:
        raise SmoothingError(f"{file.path}: 'smoothquant.version': looked for {VERSION}, found {version!r}")
    names, sizes = file.list_of(str, f"{PREFIX}folds"), file.list_of(int, f"{PREFIX}fold_sizes")
    flat = file.list_of(float, f"{PREFIX}scaling_factors")
    if not names or not sizes or not flat:
        raise SmoothingError(
            f"{file.path}: looked for 'smoothquant.folds', 'smoothquant.fold_sizes' and"
            f" 'smoothquant.scaling_factors', found not all of them"
        )
    by_name = {fold.name: fold for fold in folds}
    if len(names) != len(sizes) or len(set(names)) != len(names) or sum(sizes) != len(flat):
        raise SmoothingError(
            f"{file.path}: 'smoothquant.folds', 'fold_sizes' and 'scaling_factors' contradict each other"
        )
    values = np.array(flat, np.float32)
    # rounded to float32 they may lie a little outside; what isn't finite is in no range
    within = (values >= 0.999 / LIMIT) & (values <= 1.001 * LIMIT)
    if not within.all():
        raise SmoothingError(
            f"{file.path}: 'smoothquant.scaling_factors': looked for factors from 1/{LIMIT:g} to"
            f" {LIMIT:g}, found {values[~within][0]:g}"
        )
    found: dict[Fold, Array] = {}
    position = 0
    for name, size in zip(names, sizes, strict=True):
        fold = by_name.get(name)
        if fold is None or fold.size != size:
            raise SmoothingError(
                f"{file.path}: 'smoothquant.folds' names '{name}' with {size} factors, the model has none"
            )
        found[fold] = values[position : position + size].reshape(fold.experts, fold.channels)
        position += size
    return found
