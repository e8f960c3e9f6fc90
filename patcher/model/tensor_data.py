"""Tensor data as numpy arrays, a few rows at a time: F32, F16, BF16 and F64 of either byte order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from patcher.model.gguf import GgufError, TensorInfo
from patcher.model.gguf_cursor import shrunk
from patcher.model.gguf_format import FLOAT_TYPES

Array: TypeAlias = npt.NDArray[np.float32]
MAX_WHOLE = 1 << 27  # elements of a tensor that is loaded whole; a sparse file may claim any number
PIECE = 1 << 25  # bytes of float32 held at once; ten times as much is in use while it is scaled

_DTYPES = {"F32": "f4", "F16": "f2", "F64": "f8", "BF16": "u2", "I64": "i8", "I32": "i4"}


def is_float(info: TensorInfo) -> bool:
    """Whether the data are plain floats, which can be scaled; quantized blocks can't."""
    return info.type_name in FLOAT_TYPES


def decode(raw: bytes, info: TensorInfo) -> Array:
    """Bytes of whole rows to float32, shape [rows, row length]. Raises :class:`GgufError` for other types."""
    stored = np.frombuffer(raw, _dtype(info)).reshape(-1, info.row)
    if info.type_name == "BF16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)


def encode(values: npt.NDArray[np.floating[Any]], info: TensorInfo) -> bytes:
    """Floats to the tensor's type, rounded to nearest even.

    Raises :class:`GgufError` where a finite value is too large for the type.
    """
    dtype = _dtype(info)
    if info.type_name == "BF16":
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
        # a NaN's payload must not be rounded up to infinity
        rounded = np.where(np.isnan(values), bits | 0x400000, bits + 0x7FFF + ((bits >> 16) & 1))
        stored = (rounded >> 16).astype(dtype)
        overflow = np.isfinite(values) & ((stored.astype(np.uint16) & 0x7F80) == 0x7F80)
    else:
        with np.errstate(over="ignore"):
            stored = values.astype(dtype)
        overflow = np.isfinite(values) & ~np.isfinite(stored)
    if overflow.any():
        worst = float(np.abs(values[overflow]).max())
        raise GgufError(
            f"{info.path}: once scaled, '{info.name}' reaches {worst:.4g}, too large for {info.type_name}",
            hint="convert the model to F32 or BF16 first, or use a smaller --alpha",
        )
    return stored.tobytes()


def pieces(info: TensorInfo, budget: int = PIECE) -> Iterator[tuple[int, Array]]:
    """The rows of a float tensor in order, as (first row, [n, row length]), ``budget`` bytes at most."""
    step = max(1, budget // (4 * info.row))
    with info.path.open("rb") as file:
        for first in range(0, info.rows, step):
            count = min(step, info.rows - first)
            file.seek(info.offset + first * info.row_bytes)
            raw = file.read(count * info.row_bytes)
            if len(raw) != count * info.row_bytes:
                raise shrunk(info.path)
            yield first, decode(raw, info)


def load(info: TensorInfo) -> Array:
    """A whole small float tensor, shape [rows, row length]. Raises :class:`GgufError` for a large one."""
    _require_small(info)
    return np.concatenate([rows for _, rows in pieces(info)])


def load_integers(info: TensorInfo) -> npt.NDArray[np.int64]:
    """A whole small tensor of I32 or I64, shape [rows, row length]. Raises :class:`GgufError` for others."""
    if info.type_name not in ("I64", "I32"):
        raise GgufError(
            f"{info.path}: tensor '{info.name}': looked for whole numbers (I32 or I64), found"
            f" {info.type_name}"
        )
    _require_small(info)
    with info.path.open("rb") as file:
        file.seek(info.offset)
        raw = file.read(info.nbytes)
    return np.frombuffer(raw, _dtype(info)).reshape(-1, info.row).astype(np.int64)


def _require_small(info: TensorInfo) -> None:
    if info.row * info.rows > MAX_WHOLE:
        raise GgufError(
            f"{info.path}: tensor '{info.name}' has {info.row * info.rows} elements, more than {MAX_WHOLE}"
        )


def _dtype(info: TensorInfo) -> np.dtype[np.generic]:
    code = _DTYPES.get(info.type_name)
    if code is None:
        raise GgufError(
            f"{info.path}: tensor '{info.name}' is {info.type_name}, wanted are F32, F16, BF16 or F64",
            hint="smooth the model before it is quantized",
        )
    return np.dtype((">" if info.big_endian else "<") + code)
