"""The head of a GGUF file, whatever types its tensors have: metadata, names, shapes, numbers, places.

Files come from anywhere: every count and every length is checked against what is left of the file before
anything is allocated, and every failure is one :class:`GgufError` that names the file.
"""

from __future__ import annotations

import mmap
import struct
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from patcher.base.errors import UsageError
from patcher.base.os_errors import reason
from patcher.model.gguf_format import (
    DEFAULT_ALIGNMENT,
    MAGIC,
    MAX_DIMS,
    MAX_NAME,
    SCALARS,
    VERSIONS,
    ValueType,
    padded,
)

MAX_STRING = 16 << 20  # bytes of one string; a chat template has some thousands
MAX_VALUE = 1 << 29  # bytes of one metadata value; the largest vocabularies have a few million
MAX_TENSORS = 1 << 20  # of one file, and so many metadata entries; the largest models have some thousands


class GgufError(UsageError):
    """A file that is no GGUF, is cut off, or contradicts itself (exit 2)."""


@dataclass(frozen=True)
class Value:
    """One metadata value. ``raw`` is its encoding behind the type number, in the file's byte order."""

    type: ValueType
    raw: bytes = field(repr=False)
    big_endian: bool = False
    element: ValueType | None = None  # of an array

    @cached_property
    def value(self) -> Any:
        """The value in Python's terms: a number, a bool, a string (bad UTF-8 replaced) or a list of those."""
        order = ">" if self.big_endian else "<"
        if self.type is ValueType.STRING:
            return self.raw[8:].decode("utf-8", "replace")
        if self.element is None:
            return struct.unpack(order + SCALARS[self.type], self.raw)[0]
        (count,) = struct.unpack_from(order + "Q", self.raw, 4)
        if self.element is not ValueType.STRING:
            return list(struct.unpack_from(f"{order}{count}{SCALARS[self.element]}", self.raw, 12))
        texts, position = [], 12
        for _ in range(count):
            (length,) = struct.unpack_from(order + "Q", self.raw, position)
            texts.append(self.raw[position + 8 : position + 8 + length].decode("utf-8", "replace"))
            position += 8 + length
        return texts


@dataclass(frozen=True)
class TensorEntry:
    """A tensor as the head describes it: the size of its type need not be known."""

    name: str
    dims: tuple[int, ...]
    type: int
    type_at: int  # where in the file the type's number stands
    offset: int  # from the start of the file

    @property
    def elements(self) -> int:
        """How many weights."""
        count = 1
        for dim in self.dims:
            count *= dim
        return count


@dataclass(frozen=True)
class Head:
    """All that stands before the data. ``places``: where in the file the value of each key begins."""

    path: Path
    version: int
    big_endian: bool
    alignment: int
    metadata: dict[str, Value]
    places: dict[str, int]
    entries: tuple[TensorEntry, ...]
    start: int  # of the data
    size: int  # of the file

    def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key``, or ``default``."""
        found = self.metadata.get(key)
        return default if found is None else found.value

    def spans(self) -> dict[str, int]:
        """Bytes from each tensor's first to the next tensor's, or the end: the data and its padding.

        Raises :class:`GgufError` for a tensor that begins behind the end, and for two in one place: who
        looks at the data of each would look at the same any number of times.
        """
        if len({entry.offset for entry in self.entries}) != len(self.entries):
            raise GgufError(f"{self.path}: two tensors begin at the same byte")
        for entry in self.entries:
            if entry.offset >= self.size:
                raise GgufError(
                    f"{self.path}: tensor '{entry.name}' begins at byte {entry.offset} of {self.size}",
                    hint="it is cut off or damaged: get it again",
                )
        ends = sorted({entry.offset for entry in self.entries} | {self.size})
        return {entry.name: ends[bisect_right(ends, entry.offset)] - entry.offset for entry in self.entries}


class _Bytes(Protocol):
    """Bytes by position: an mmap, or what is read as it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes: ...


class Cursor:
    """Reads numbers and strings from the head of a file; every read is checked."""

    def __init__(self, data: _Bytes, path: Path) -> None:
        self.data = data
        self.path = path
        self.position = 0
        self.order = "<"

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Cursor]:
        """A cursor at the start of the file. Raises :class:`GgufError` for what can't be one."""
        try:
            with path.open("rb") as file:
                if not path.is_file() or path.stat().st_size < 24:
                    raise GgufError(f"{path}: looked for a GGUF file, found {_what(path)}")
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    yield cls(data, path)
        except OSError as why:
            raise GgufError(f"{path}: looked for a GGUF model, it can't be read ({reason(why)})") from why

    @property
    def left(self) -> int:
        return len(self.data) - self.position

    def take(self, count: int, what: str) -> bytes:
        if count > self.left:
            raise GgufError(
                f"{self.path}: the file ends within {what} (at byte {self.position}, {count} wanted,"
                f" {self.left} left)",
                hint="it is cut off or damaged: get it again",
            )
        self.position += count
        return self.data[self.position - count : self.position]

    def number(self, code: str, what: str) -> int:
        raw = self.take(struct.calcsize("=" + code), what)
        found: int = struct.unpack(self.order + code, raw)[0]
        return found

    def string(self, what: str) -> bytes:
        length = self.number("Q", f"the length of {what}")
        if MAX_STRING < length <= self.left:  # a sparse file has any length, and takes no room on the disk
            raise GgufError(f"{self.path}: {what} has {length} bytes, {MAX_STRING} at most are read")
        return self.take(length, what)

    def text(self, what: str) -> str:
        raw = self.string(what)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as why:
            raise GgufError(f"{self.path}: {what} is not UTF-8: {raw[:40]!r}") from why

    def count(self, least: int, what: str) -> int:
        """A number of things that take at least ``least`` bytes each."""
        found = self.number("Q", f"the number of {what}")
        if found * least > self.left:
            raise GgufError(
                f"{self.path}: {found} {what} announced, but only {self.left} bytes are left",
                hint="it is cut off or damaged: get it again",
            )
        return found

    def things(self, least: int, what: str) -> int:
        """A number of things of which each becomes an object."""
        found = self.count(least, what)
        if found > MAX_TENSORS:
            raise GgufError(f"{self.path}: {found} {what} announced, {MAX_TENSORS} at most are read")
        return found

    def value_type(self, what: str) -> ValueType:
        number = self.number("I", what)
        try:
            return ValueType(number)
        except ValueError as why:
            raise GgufError(f"{self.path}: {what} is {number}, which no version of GGUF knows") from why

    def value(self, key: str) -> Value:
        value_type = self.value_type(f"the type of '{key}'")
        start = self.position
        element = None
        if value_type is ValueType.STRING:
            self.string(f"the value of '{key}'")
        elif value_type is ValueType.ARRAY:
            element = self.value_type(f"the element type of '{key}'")
            if element is ValueType.ARRAY:
                raise GgufError(f"{self.path}: '{key}' is an array of arrays, which ggml doesn't read either")
            if element is ValueType.STRING:
                for _ in range(self.count(8, f"strings of '{key}'")):
                    self.string(f"a string of '{key}'")
                    self._bound(key, self.position - start)
            else:
                size = struct.calcsize("=" + SCALARS[element])
                length = self.count(size, f"elements of '{key}'") * size
                self._bound(key, length)
                self.take(length, f"'{key}'")
        else:
            self.take(struct.calcsize("=" + SCALARS[value_type]), f"the value of '{key}'")
        return Value(value_type, self.data[start : self.position], self.order == ">", element)

    def _bound(self, key: str, length: int) -> None:
        if length > MAX_VALUE:
            raise GgufError(f"{self.path}: '{key}' has more than {MAX_VALUE} bytes, no value has")


def read_head(path: Path, *, alignment: int | None = None) -> Head:
    """What ``path`` says of itself, whatever types its tensors have; ``alignment`` goes before what it says.

    Raises :class:`GgufError` for what is no GGUF 2 or 3, and for a tensor that lies outside the file.
    """
    with Cursor.open(path) as cursor:
        return head_of(cursor, alignment)


def _what(path: Path) -> str:
    return f"{path.stat().st_size} bytes" if path.is_file() else "something that is no file"


def head_of(cursor: Cursor, aligned: int | None = None) -> Head:
    """The same of a cursor at a file's first byte. Raises :class:`GgufError`."""
    path = cursor.path
    magic = cursor.take(4, "the magic number")
    if magic != MAGIC:
        raise GgufError(f"{path}: looked for a GGUF file, found one that starts with {magic!r}")
    version = cursor.number("I", "the version")
    if version & 0xFFFF == 0 and version:
        cursor.order = ">"
        version = int.from_bytes(version.to_bytes(4, "little"), "big")
    if version not in VERSIONS:
        raise GgufError(
            f"{path}: GGUF version {version}, supported are 2 and 3", hint="convert the model again"
        )
    tensor_count = cursor.things(24, "tensors")
    metadata, places = _metadata(cursor)
    alignment = aligned or _alignment(metadata, path)
    infos = [_info(cursor) for _ in range(tensor_count)]
    start, size = padded(cursor.position, alignment), len(cursor.data)
    entries = tuple(
        TensorEntry(name, dims, number, at, start + offset) for name, dims, number, at, offset in infos
    )
    for entry in entries:
        if (entry.offset - start) % alignment:
            raise GgufError(f"{path}: tensor '{entry.name}' is not aligned to {alignment} bytes")
    return Head(path, version, cursor.order == ">", alignment, metadata, places, entries, start, size)


def _metadata(cursor: Cursor) -> tuple[dict[str, Value], dict[str, int]]:
    metadata: dict[str, Value] = {}
    places: dict[str, int] = {}
    for _ in range(cursor.things(13, "metadata entries")):
        key = cursor.text("a metadata key")
        if key in metadata:
            raise GgufError(f"{cursor.path}: the metadata key '{key}' is there twice")
        metadata[key] = value = cursor.value(key)
        places[key] = cursor.position - len(value.raw)
    return metadata, places


def _alignment(metadata: dict[str, Value], path: Path) -> int:
    found = metadata.get("general.alignment")
    alignment = DEFAULT_ALIGNMENT if found is None else found.value
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        raise GgufError(f"{path}: general.alignment is {alignment!r}, which is no power of two up to 2^20")
    return alignment


def _info(cursor: Cursor) -> tuple[str, tuple[int, ...], int, int, int]:
    name = cursor.text("a tensor's name")
    if not name or len(name.encode()) > MAX_NAME:
        raise GgufError(
            f"{cursor.path}: a tensor's name has {len(name.encode())} bytes, allowed are 1 to {MAX_NAME}"
        )
    rank = cursor.number("I", f"the rank of '{name}'")
    if not 1 <= rank <= MAX_DIMS:
        raise GgufError(f"{cursor.path}: tensor '{name}' has {rank} dimensions, allowed are 1 to {MAX_DIMS}")
    dims = tuple(cursor.number("Q", f"the shape of '{name}'") for _ in range(rank))
    at = cursor.position
    number = cursor.number("I", f"the type of '{name}'")
    return name, dims, number, at, cursor.number("Q", f"the offset of '{name}'")
