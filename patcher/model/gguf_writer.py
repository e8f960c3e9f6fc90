"""Writing GGUF: the layout is known before the first byte, so tensors may come in any order."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from patcher.base.os_errors import refused
from patcher.model.gguf import GgufError, TensorInfo, Value
from patcher.model.gguf_cursor import REPORT
from patcher.model.gguf_format import (
    DEFAULT_ALIGNMENT,
    MAGIC,
    SCALARS,
    TENSOR_TYPES,
    WRITTEN_VERSION,
    ValueType,
    padded,
)

_ZEROS = bytes(1 << 16)


@dataclass(frozen=True)
class NewTensor:
    """A tensor to be written: its name, its shape as GGUF has it (row length first), its type's number."""

    name: str
    dims: tuple[int, ...]
    type: int


def make_value(value_type: ValueType, value: Any, *, big_endian: bool = False) -> Value:
    """Encode a scalar or a string."""
    order = ">" if big_endian else "<"
    if value_type is ValueType.STRING:
        text = str(value).encode("utf-8")
        return Value(value_type, struct.pack(order + "Q", len(text)) + text, big_endian)
    return Value(value_type, struct.pack(order + SCALARS[value_type], value), big_endian)


def make_array(element: ValueType, values: Iterable[Any], *, big_endian: bool = False) -> Value:
    """Encode an array of scalars or strings."""
    order = ">" if big_endian else "<"
    values = list(values)
    head = struct.pack(order + "IQ", element, len(values))
    if element is ValueType.STRING:
        body = b"".join(make_value(element, value, big_endian=big_endian).raw for value in values)
    else:
        body = struct.pack(f"{order}{len(values)}{SCALARS[element]}", *values)
    return Value(ValueType.ARRAY, head + body, big_endian, element)


class GgufWriter:
    """Writes one file in place at ``path``; the caller renames it when it is whole.

    With ``resume`` the file at ``path`` is taken up as an earlier writer with the same arguments left it.
    Raises :class:`GgufError` where it can't be written or is not that writer's.
    """

    def __init__(
        self,
        path: Path,
        metadata: Mapping[str, Value],
        tensors: Iterable[NewTensor],
        *,
        big_endian: bool = False,
        alignment: int = DEFAULT_ALIGNMENT,
        resume: bool = False,
    ) -> None:
        head, self._places, self.size = _layout(metadata, tuple(tensors), big_endian, alignment, path)
        self._fresh, self._path = not resume, path
        try:
            if resume:
                self._file = _opened(path, os.O_RDWR)
                if self._file.read(len(head)) != head or path.stat().st_size != self.size:
                    raise GgufError(
                        f"{path}: is not what an interrupted run left", hint="remove it and start again"
                    )
                return
            # what an earlier run left has other names or links to it, perhaps: those keep what they have
            path.unlink(missing_ok=True)
            self._file = _opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            self._file.write(head)
            self._file.truncate(self.size)  # a hole, not zeros; holes are padding or are filled below
        except OSError as why:
            raise refused(path, why, failure=GgufError) from why

    def __enter__(self) -> GgufWriter:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError as why:  # what was still to be written; an error that is under way says more
            if value is None:
                raise refused(self._file.name, why, failure=GgufError) from why

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write a tensor's bytes, in order. Raises :class:`GgufError` where its shape wants more or fewer."""
        offset, wanted = self._places[name]
        try:
            self._file.seek(offset)
            written = 0
            for piece in pieces:
                written += len(piece)
                if written > wanted:
                    break
                if self._fresh and _is_zero(piece):
                    self._file.seek(len(piece), os.SEEK_CUR)  # it is a hole, and stays one
                else:
                    self._file.write(piece)
        except OSError as why:
            raise refused(self._path, why, failure=GgufError) from why
        if written != wanted:
            raise GgufError(
                f"{self._path}: looked for {wanted} bytes of tensor '{name}' to write, found {written}",
                hint=REPORT,
            )

    def sync(self) -> None:
        """Let everything written reach the disk. Raises :class:`GgufError` where that is full."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as why:
            raise refused(self._path, why, failure=GgufError) from why


def _opened(path: Path, flags: int) -> BinaryIO:
    """A file itself: where ``path`` is a link it is refused."""
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "r+b")


def tensors_like(infos: Iterable[TensorInfo]) -> tuple[NewTensor, ...]:
    """The same tensors, to be written."""
    return tuple(NewTensor(info.name, info.dims, info.type) for info in infos)


def _layout(
    metadata: Mapping[str, Value],
    tensors: tuple[NewTensor, ...],
    big_endian: bool,
    alignment: int,
    path: Path,
) -> tuple[bytes, dict[str, tuple[int, int]], int]:
    order = ">" if big_endian else "<"
    parts = [MAGIC, struct.pack(order + "IQQ", WRITTEN_VERSION, len(tensors), len(metadata))]
    for key, value in metadata.items():
        if value.big_endian != big_endian:
            raise GgufError(f"{path}: '{key}' is encoded in the other byte order", hint=REPORT)
        parts += [_string(key, order), struct.pack(order + "I", value.type), value.raw]
    offset, offsets = 0, {}
    for tensor in tensors:
        size = _nbytes(tensor)
        offsets[tensor.name] = (offset, size)
        parts += [_string(tensor.name, order), struct.pack(order + "I", len(tensor.dims))]
        parts.append(struct.pack(f"{order}{len(tensor.dims)}QIQ", *tensor.dims, tensor.type, offset))
        offset = padded(offset + size, alignment)
    head = b"".join(parts)
    start = padded(len(head), alignment)
    places = {name: (start + place, size) for name, (place, size) in offsets.items()}
    return head + b"\0" * (start - len(head)), places, start + offset


def _is_zero(piece: bytes) -> bool:
    """Whether nothing but zeros is there; most pieces tell by their first bytes that it is not so."""
    size = len(_ZEROS)
    whole = all(piece.startswith(_ZEROS, start) for start in range(0, len(piece) - size + 1, size))
    return whole and piece.endswith(_ZEROS[: len(piece) % size])


def _string(text: str, order: str) -> bytes:
    raw = text.encode("utf-8")
    return struct.pack(order + "Q", len(raw)) + raw


def _nbytes(tensor: NewTensor) -> int:
    _, block, size = TENSOR_TYPES[tensor.type]
    count = tensor.dims[0] // block * size
    for dim in tensor.dims[1:]:
        count *= dim
    return count
