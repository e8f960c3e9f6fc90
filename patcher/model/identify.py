"""Which tree wrote a GGUF file, and who can load it: told by its numbers, the sizes behind them, its scales.

From 31 on, trees have given one number to several types. A type fits a number where the data of all its
tensors take the room that the file has for them, and half floats that it keeps in a block look like scales.
What fits more than one type is called ambiguous, and what fits none unknown: never a guess.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from patcher.base.errors import UsageError
from patcher.engine.quant_type import QuantType
from patcher.model import head_search, number_registry
from patcher.model.gguf_cursor import Cursor
from patcher.model.gguf_format import DEFAULT_ALIGNMENT, padded
from patcher.model.gguf_head import GgufHead, head_of
from patcher.model.head_search import FoundTensor
from patcher.model.number_registry import OURS, NumberedType
from patcher.model.partial_read import PartialRead, SpentError

LIMIT = 1 << 20  # bytes read of a file
HEAD_LIMIT = 1 << 19  # of those, for reading its head from the start
BLOCKS = 24  # looked at, of each of some tensors
TENSORS = 4
_LARGEST_SCALE = 4096.0  # of weights; far above any
_PLAUSIBLE = 0.9  # of the scales, that have to look like some
_PEAK = 64  # of a block's integers, whose scale is the largest weight over 127


@dataclass(frozen=True)
class FileNumber:
    """One number of a file, and the types that fit it."""

    number: int
    tensors: int
    fits: tuple[NumberedType, ...]

    @property
    def verdict(self) -> str:
        """The type's name; ``ambiguous`` where several layouts fit, ``unknown`` where none does."""
        layouts = {one.layout for one in self.fits}
        names = " or ".join(sorted({one.name for one in self.fits}))
        return "unknown" if not layouts else names if len(layouts) == 1 else "ambiguous"

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "number": self.number,
            "tensors": self.tensors,
            "verdict": self.verdict,
            "fits": [
                {"name": one.name, "block": one.block, "bytes": one.size, "trees": list(one.trees)}
                for one in self.fits
            ],
        }


@dataclass(frozen=True)
class Identified:
    """What was found out. ``trees`` are those that know all numbers of the file as what they are."""

    name: str
    size: int
    read: int
    architecture: str
    file_type: int | None
    numbers: tuple[FileNumber, ...]
    common: int  # tensors whose numbers mean the same everywhere
    trees: tuple[str, ...]
    retag: str  # safe, not needed, or why not

    @property
    def verdict(self) -> str:
        """Who wrote the file, in one line; ``unknown`` rather than a guess."""
        if not self.numbers:
            return "any tree since 2024: its numbers mean the same everywhere"
        if any(one.verdict == "unknown" for one in self.numbers):
            return "unknown: no tree here gives its numbers to types of these sizes"
        if not self.trees:
            return "unknown: no tree here knows all of its numbers"
        if any(one.verdict == "ambiguous" for one in self.numbers):
            return f"ambiguous: {', '.join(self.trees)}"
        return ", ".join(self.trees)

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "file": self.name,
            "bytes": self.size,
            "bytes_read": self.read,
            "architecture": self.architecture,
            "file_type": self.file_type,
            "common_tensors": self.common,
            "numbers": [one.document() for one in self.numbers],
            "written_by": self.verdict,
            "loaded_by": list(self.trees),
            "retag": self.retag,
        }


@dataclass(frozen=True)
class _Tensor:
    name: str
    elements: int
    row: int
    type: int
    place: int  # in the file
    span: int


def identify(source: PartialRead, quant_type: QuantType) -> Identified:
    """Look at a file of which at most :data:`LIMIT` bytes are read.

    Raises :class:`UsageError` where it is no GGUF, or its tensors' descriptions can't be found.
    """
    try:
        return _identified(source, quant_type)
    except SpentError as why:
        raise UsageError(
            f"{source.name}: has more kinds of tensors than can be told apart by {LIMIT} bytes of it",
            hint="'q8a8-patch gguf retag --dry-run' reads all of a file that lies here",
        ) from why


def _identified(source: PartialRead, quant_type: QuantType) -> Identified:
    architecture, file_type, alignment, order, tensors = _described(source)
    registry = number_registry.load()
    ours = NumberedType(
        quant_type.id, quant_type.upper, quant_type.block_size, quant_type.type_size, (0,), (OURS,)
    )
    by_number: dict[int, list[_Tensor]] = {}
    for tensor in tensors:
        by_number.setdefault(tensor.type, []).append(tensor)
    numbers = []
    for number, some in sorted(by_number.items()):
        if number < registry.first:
            continue
        known = (*registry.of(number), *([ours] if number == quant_type.id else []))
        fits = tuple(one for one in known if _fits(one, some, alignment))
        numbers.append(
            FileNumber(number, len(some), tuple(one for one in fits if _plausible(one, some, source, order)))
        )
    common = sum(len(some) for number, some in by_number.items() if number < registry.first)
    named = [{tree for one in number.fits for tree in one.trees} for number in numbers]
    trees = tuple(sorted(set.intersection(*named))) if named else ()
    retag = _retag(numbers, by_number, quant_type, alignment, source, order)
    return Identified(
        source.name,
        len(source),
        source.spent,
        architecture,
        file_type,
        tuple(numbers),
        common,
        trees,
        retag,
    )


def _described(source: PartialRead) -> tuple[str, int | None, int, str, list[_Tensor]]:
    """Architecture, file type, alignment, byte order, and the tensors."""
    whole = source.limit
    source.limit = HEAD_LIMIT
    try:
        head = head_of(Cursor(source, Path(source.name)))
    except SpentError:
        return _searched(source)
    finally:
        source.limit = whole
    file_type = head.get("general.file_type")
    spans = head.spans()
    tensors = [
        _Tensor(entry.name, entry.elements, entry.dims[0], entry.type, entry.offset, spans[entry.name])
        for entry in head.entries
    ]
    order = ">" if head.big_endian else "<"
    return _word(head), file_type if isinstance(file_type, int) else None, head.alignment, order, tensors


def _word(head: GgufHead) -> str:
    found = head.get("general.architecture")
    return found if isinstance(found, str) else ""


def _searched(source: PartialRead) -> tuple[str, int | None, int, str, list[_Tensor]]:
    """The same without the metadata, where a vocabulary stands before the tensors."""
    if source[4:6] == bytes(2):  # the version, which is small
        raise UsageError(
            f"{source.name}: is big-endian, and has no tensor's description in its first {HEAD_LIMIT} bytes",
            hint="turn it round with llama.cpp's gguf-py/gguf/scripts/gguf_convert_endian.py",
        )
    source.limit = LIMIT * 7 // 8
    (count,) = struct.unpack("<Q", source[8:16])
    found = head_search.find(source, count)
    if found is None:
        raise UsageError(
            f"{source.name}: looked for the descriptions of its {count} tensors in {source.spent} bytes,"
            f" found none",
            hint="its head is damaged, or larger than any that is known: get it again, and compare its"
            " SHA-256",
        )
    described, end = found
    alignment = _alignment(source)
    start = padded(end, alignment)
    places = sorted({start + one.offset for one in described} | {len(source)})
    following = dict(pairwise(places))
    tensors = [_placed(one, start + one.offset, following) for one in described]
    return "", None, alignment, "<", tensors


def _alignment(source: PartialRead) -> int:
    key = b"general.alignment"
    head = source[0 : min(len(source), 1 << 15)]
    at = head.find(struct.pack("<Q", len(key)) + key + struct.pack("<I", 4))
    value = int.from_bytes(head[at + 8 + len(key) + 4 :][:4], "little") if at >= 0 else DEFAULT_ALIGNMENT
    return value if value and not value & (value - 1) else DEFAULT_ALIGNMENT


def _placed(one: FoundTensor, place: int, following: dict[int, int]) -> _Tensor:
    elements = 1
    for dim in one.dims:
        elements *= dim
    return _Tensor(one.name, elements, one.dims[0], one.type, place, following.get(place, place) - place)


def _fits(one: NumberedType, tensors: Sequence[_Tensor], alignment: int) -> bool:
    """Whether every tensor has room for just as many blocks, padding aside."""
    return all(
        not tensor.row % one.block
        and tensor.elements // one.block * one.size <= tensor.span
        and tensor.span < tensor.elements // one.block * one.size + alignment
        for tensor in tensors
    )


def _blocks(one: NumberedType, tensors: Sequence[_Tensor], source: PartialRead) -> list[bytes]:
    """Blocks of some tensors, from the middle of each: the ends may be of tokens that nobody has seen."""
    found = []
    chosen = sorted(tensors, key=lambda tensor: -tensor.elements)[:TENSORS]
    for tensor in chosen:
        total = tensor.elements // one.block
        count = min(BLOCKS, total)
        raw = source.exactly(tensor.place + (total - count) // 2 * one.size, count * one.size)
        found += [raw[i * one.size : (i + 1) * one.size] for i in range(count)]
    return found


def _plausible(one: NumberedType, tensors: Sequence[_Tensor], source: PartialRead, order: str) -> bool:
    """Whether what would be half floats looks like scales; blocks of nothing but zeros tell nothing."""
    if not one.halves:
        return True
    blocks = [block for block in _blocks(one, tensors, source) if any(block)]
    looks = [
        abs(value) < _LARGEST_SCALE and (value == 0 or abs(value) > 1e-7)
        for block in blocks
        for value in (struct.unpack_from(order + "e", block, offset)[0] for offset in one.halves)
    ]
    return bool(sum(looks) >= _PLAUSIBLE * len(looks))


def _retag(
    numbers: Sequence[FileNumber],
    by_number: dict[int, list[_Tensor]],
    quant_type: QuantType,
    alignment: int,
    source: PartialRead,
    order: str,
) -> str:
    """Whether ``gguf retag`` may put our number in."""
    ours = NumberedType(quant_type.id, quant_type.upper, quant_type.block_size, quant_type.type_size, (0,))
    safe, doubts = [], []
    for one in numbers:
        if one.number == quant_type.id or not _fits(ours, by_number[one.number], alignment):
            continue
        others = sorted({each.name for each in one.fits if each.name != quant_type.upper})
        doubt = (
            f"{one.number} may be {' or '.join(others)}"
            if others
            else _other_than_ours(ours, one.number, by_number[one.number], source, order)
        )
        if doubt:
            doubts.append(f"not safe: {doubt}")
        else:
            safe.append(one.number)
    if len(safe) == 1:
        return f"safe: {safe[0]} is {quant_type.upper} by size and scales"
    if safe:
        either = " and ".join(map(str, safe))
        return f"not safe: {either} could each be {quant_type.upper}: name one with --from-id"
    if any(one.number == quant_type.id and one.fits for one in numbers):
        return f"not needed: its {quant_type.upper} tensors have the reserved number"
    if doubts:
        return doubts[0]
    unknown = [one.number for one in numbers if one.verdict == "unknown"]
    if unknown:
        return f"not safe: the tensors of {unknown[0]} have the size of no type that is known here"
    return f"not needed: no tensor has the size of {quant_type.upper} under a number that isn't known"


def _other_than_ours(
    ours: NumberedType, number: int, tensors: Sequence[_Tensor], source: PartialRead, order: str
) -> str:
    """Why tensors of our size are not ours, or not for certain; empty where their scales are ours."""
    blocks = [block for block in _blocks(ours, tensors, source) if any(block)]
    if not blocks:
        return f"the tensors of {number} hold nothing but zeros"
    right = sum(
        0 < struct.unpack_from(order + "e", block)[0] < _LARGEST_SCALE
        and max(map(abs, struct.unpack_from(f"{len(block) - 2}b", block, 2))) >= _PEAK
        for block in blocks
    )
    if right >= _PLAUSIBLE * len(blocks):
        return ""
    return f"the blocks of {number} have another layout than {ours.name}'s"
