"""The head of a GGUF file, whatever types its tensors have: metadata, names, shapes, numbers, places.

Files come from anywhere: every count and every length is checked against what is left of the file before
anything is allocated, and every failure is one :class:`GgufError` that names the file.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patcher.model.gguf_cursor import Cursor, GgufError, Value
from patcher.model.gguf_format import (
    DEFAULT_ALIGNMENT,
    MAGIC,
    MAX_DIMS,
    MAX_NAME,
    VERSIONS,
    ValueType,
    padded,
)


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
class GgufHead:
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


def read_head(path: Path, *, alignment: int | None = None) -> GgufHead:
    """What ``path`` says of itself, whatever types its tensors have; ``alignment`` goes before what it says.

    Raises :class:`GgufError` for what is no GGUF 2 or 3, and for a tensor that lies outside the file.
    """
    with Cursor.open(path) as cursor:
        return head_of(cursor, alignment)


def head_of(cursor: Cursor, aligned: int | None = None) -> GgufHead:
    """The same of a cursor at a file's first byte. Raises :class:`GgufError`."""
    path = cursor.path
    magic = cursor.take(4, "the magic number")
    if magic != MAGIC:
        raise GgufError(
            f"{path}: looked for a GGUF file, found one that starts with {magic!r}",
            hint="name a .gguf file; llama.cpp's convert_hf_to_gguf.py makes one of a .safetensors or"
            " .bin model",
        )
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
    return GgufHead(path, version, cursor.order == ">", alignment, metadata, places, entries, start, size)


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
    if found is not None and found.type is not ValueType.UINT32:
        raise GgufError(
            f"{path}: looked for general.alignment as a {ValueType.UINT32.name.lower()}, found a"
            f" {found.type.name.lower()}, which llama.cpp refuses"
        )
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
