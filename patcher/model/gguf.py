"""A GGUF file whose tensors are all of known types: what each is, and where its data lie.

Tensor data are read only as they are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from patcher.model.gguf_cursor import GgufError, Value
from patcher.model.gguf_format import TENSOR_TYPES
from patcher.model.gguf_head import GgufHead, TensorEntry, read_head

__all__ = ["GgufError", "GgufFile", "TensorInfo", "Value", "read"]

OURS = TENSOR_TYPES[120]
_T = TypeVar("_T", int, float, str)
MAX_ELEMENTS = 1 << 48  # of one tensor; far above any model, far below an overflow


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies. ``dims`` as in the file: the first is that of one row."""

    name: str
    dims: tuple[int, ...]
    type: int
    path: Path
    offset: int  # from the start of the file
    big_endian: bool = False

    @property
    def type_name(self) -> str:
        """``F16``, ``Q8_0``, ..."""
        return TENSOR_TYPES[self.type][0]

    @property
    def row(self) -> int:
        """Elements of a row."""
        return self.dims[0]

    @property
    def rows(self) -> int:
        """Rows over all other dimensions."""
        count = 1
        for dim in self.dims[1:]:
            count *= dim
        return count

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        _, block, size = TENSOR_TYPES[self.type]
        return self.row // block * size

    @property
    def nbytes(self) -> int:
        """Bytes of all the data, without padding."""
        return self.row_bytes * self.rows


@dataclass(frozen=True)
class GgufFile:
    """A file's description; :func:`read` makes it."""

    path: Path
    version: int
    big_endian: bool
    alignment: int
    metadata: dict[str, Value]
    tensors: tuple[TensorInfo, ...]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key``, or ``default``."""
        found = self.metadata.get(key)
        return default if found is None else found.value

    def text(self, key: str, default: str | None = None) -> str:
        """The string at ``key``. Raises :class:`GgufError` where there is none, nor a ``default``."""
        found = self.get(key, default)
        if not isinstance(found, str):
            raise self._other(key, "the string")
        return found

    def number(self, key: str, default: int | None = None) -> int:
        """The whole number of 32 bits at ``key``.

        Raises :class:`GgufError` where there is none, nor a ``default``, and for a negative or larger one.
        """
        found = self.get(key, default)
        if type(found) is not int or not 0 <= found < 1 << 32:
            raise self._other(key, "the whole number of 32 bits")
        return found

    def list_of(self, element: type[_T], key: str) -> list[_T]:
        """The array of numbers or strings at ``key``, empty where there is none.

        Whole numbers count as ``float``. Raises :class:`GgufError` where something else is there.
        """
        found = self.get(key, [])
        allowed = (int, float) if element is float else (element,)
        if not isinstance(found, list) or not all(type(one) in allowed for one in found):
            raise self._other(key, f"an array of {'text' if element is str else 'numbers'}")
        return found

    def _other(self, key: str, wanted: str) -> GgufError:
        there = self.metadata.get(key)
        if there is None:
            what = "none"
        elif there.element is not None:
            what = f"an array of {there.element.name.lower()}"
        else:
            what = f"a {there.type.name.lower()}"
        return GgufError(
            f"{self.path}: looked for {wanted} '{key}' in the metadata, found {what}",
            hint="it is another kind of GGUF file, or damaged: name the model itself, or get it again",
        )


def read(path: Path) -> GgufFile:
    """Describe the file at ``path``; no tensor data is read.

    Raises :class:`GgufError` for anything that is not GGUF 2 or 3 through and through.
    """
    head = read_head(path)
    for entry in head.entries:
        _require_known(entry, path)
    tensors = tuple(
        TensorInfo(entry.name, entry.dims, entry.type, path, entry.offset, head.big_endian)
        for entry in head.entries
    )
    _check_layout(tensors, head)
    return GgufFile(path, head.version, head.big_endian, head.alignment, head.metadata, tensors)


def _require_known(entry: TensorEntry, path: Path) -> None:
    if entry.type not in TENSOR_TYPES:
        raise GgufError(
            f"{path}: tensor '{entry.name}' has type {entry.type}, whose size is not known",
            hint="'q8a8-patch gguf identify' says which tree may have written it",
        )
    name, block, _ = TENSOR_TYPES[entry.type]
    if not 0 < entry.elements <= MAX_ELEMENTS or entry.dims[0] % block:
        raise GgufError(f"{path}: tensor '{entry.name}' can't have the shape {entry.dims} in {name}")


def _check_layout(tensors: tuple[TensorInfo, ...], head: GgufHead) -> None:
    names: set[str] = set()
    behind, path = head.start, head.path
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        if tensor.name in names:
            raise GgufError(f"{path}: the tensor '{tensor.name}' is there twice")
        names.add(tensor.name)
        if tensor.offset < behind:
            raise GgufError(f"{path}: tensor '{tensor.name}' overlaps the one before it")
        behind = tensor.offset + tensor.nbytes
        if behind > head.size:
            raise GgufError(
                f"{path}: tensor '{tensor.name}' ends at byte {behind}, the file has {head.size}",
                hint="it is cut off or damaged: get it again",
            )
    _check_gaps(tensors, head)


def _check_gaps(tensors: tuple[TensorInfo, ...], head: GgufHead) -> None:
    """ggml leaves no room between tensors but padding: more of it means a type of another size."""
    spans = head.spans()
    last = max((tensor.offset for tensor in tensors), default=0)
    for tensor in tensors:
        span = spans[tensor.name]
        if span < tensor.nbytes + head.alignment or tensor.offset == last:
            continue
        ours = tensor.row * tensor.rows // OURS[1] * OURS[2]
        is_ours = not tensor.row % OURS[1] and ours <= span < ours + head.alignment
        raise GgufError(
            f"{head.path}: tensor '{tensor.name}' takes {span} bytes, as {tensor.type_name} (number"
            f" {tensor.type}) it would take {tensor.nbytes}"
            + (f"; {OURS[0]} takes {ours}, under a number chosen by hand" if is_ours else ""),
            hint="'q8a8-patch gguf retag' puts the number right"
            if is_ours
            else "damaged, or the number is another tree's: ask 'q8a8-patch gguf identify'",
        )
