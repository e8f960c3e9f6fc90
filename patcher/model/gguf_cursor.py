"""Reads of a GGUF file, one after another, each checked against what is left of the file."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from patcher.base import system
from patcher.base.errors import UsageError
from patcher.base.os_errors import reason, way_out
from patcher.model.gguf_format import (
    SCALARS,
    ValueType,
)

MAX_STRING = 16 << 20  # bytes of one string; a chat template has some thousands
MAX_VALUE = 1 << 29  # bytes of one metadata value; the largest vocabularies have a few million
MAX_TENSORS = 1 << 20  # of one file, and so many metadata entries; the largest models have some thousands


class GgufError(UsageError):
    """A file that is no GGUF, is cut off, or contradicts itself (exit 2)."""

    remedy = "the file is damaged, or was made by a faulty program: get it again, or convert the model again"


REPORT = "nothing was kept; that is a fault of this program: report it, with the command that you typed"


def shrunk(path: Path) -> GgufError:
    """The error for a file that ends before its head says so, though it was whole when it was opened."""
    return GgufError(
        f"{path}: became shorter while it was read",
        hint="something else writes it: wait until that has ended, then run the same command again",
    )


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
            with os.fdopen(os.open(path, system.READ), "rb") as file:  # a pipe is not waited for
                if not path.is_file() or path.stat().st_size < 24:
                    raise GgufError(
                        f"{path}: looked for a GGUF file, found {_what(path)}", hint="name a .gguf file"
                    )
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    yield cls(data, path)
        except OSError as why:
            raise GgufError(
                f"{path}: looked for a GGUF file, can't read it ({reason(why)})", hint=way_out(why)
            ) from why

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


def _what(path: Path) -> str:
    return f"{path.stat().st_size} bytes" if path.is_file() else "something that is no file"
