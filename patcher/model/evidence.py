"""Whose a tensor is, where its number doesn't say: the size of its blocks tells, and for Q8_A8 its scales."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from patcher.base.errors import UsageError
from patcher.base.units import how_many
from patcher.engine.quant_type import QuantType
from patcher.engine.type_file import SHIPPED
from patcher.model.gguf_cursor import GgufError
from patcher.model.gguf_format import TENSOR_TYPES
from patcher.model.gguf_head import GgufHead, TensorEntry, read_head
from patcher.model.model_file import parts_of, require_announced

FIRST_BY_HAND = 39  # the next free number of May 2025, which hands took; MXFP4 since August
_SAMPLE = 64  # blocks of each tensor whose scale is looked at
_LEAST_PEAK = 64  # of a block's integers: its scale is the largest weight over 127


@dataclass(frozen=True)
class Placed:
    """A tensor, the file that it lies in, and its room: the bytes up to the next tensor or the end."""

    head: GgufHead
    entry: TensorEntry
    span: int

    def fits(self, block: int, size: int) -> bool:
        """Whether its data can be blocks of ``size`` bytes for ``block`` weights: what is left of the room
        is padding, which is zero."""
        if self.entry.dims[0] % block:
            return False
        data = self.entry.elements // block * size
        if not data <= self.span < data + self.head.alignment:
            return False
        with self.head.path.open("rb") as file:
            file.seek(self.entry.offset + data)
            return not any(file.read(self.span - data))


def placed(path: Path) -> tuple[Placed, ...]:
    """The tensors of the model at ``path``, over all its parts. Raises :class:`GgufError`."""
    found: list[Placed] = []
    heads = parts_of(read_head(path), read_head)
    for head in heads:
        spans = head.spans()
        if len(spans) != len(head.entries):
            raise GgufError(f"{head.path}: a tensor's name is there twice")
        found += [Placed(head, entry, spans[entry.name]) for entry in head.entries]
    require_announced(heads[0], len(found))
    return tuple(found)


def find_id(tensors: Sequence[Placed], quant_type: QuantType) -> int | None:
    """The number under which all tensors have our size, and none has that of the number's own type.

    Raises :class:`UsageError` where several could be meant.
    """
    by_number: dict[int, list[Placed]] = {}
    for one in tensors:
        if one.entry.type != quant_type.id:
            by_number.setdefault(one.entry.type, []).append(one)
    ours = [number for number, some in by_number.items() if not _doubt(some, number, quant_type)]
    if len(ours) > 1:
        numbers = ", ".join(map(str, sorted(ours)))
        raise UsageError(
            f"{tensors[0].head.path}: the types {numbers} could each be {quant_type.upper}",
            hint="name one with --from-id",
        )
    return ours[0] if ours else None


def require_nothing_left(tensors: Sequence[Placed], quant_type: QuantType) -> None:
    """Raise :class:`UsageError` where a number's tensors fit no type of it: they may be ours, or damaged.

    Numbers below those that hands took have meant the same everywhere; a reader of the model says what is
    wrong with those.
    """
    for number in sorted({one.entry.type for one in tensors}):
        if number < FIRST_BY_HAND and number in TENSOR_TYPES:
            continue
        known = TENSOR_TYPES.get(number)
        some = [one for one in tensors if one.entry.type == number]
        if known and all(one.fits(*known[1:]) for one in some):
            continue
        raise UsageError(
            f"{some[0].head.path}: {_doubt(some, number, quant_type)}",
            hint="the file is damaged, or the number is another tree's: ask 'q8a8-patch gguf identify'",
        )


def _doubt(tensors: Sequence[Placed], number: int, quant_type: QuantType) -> str:
    """Why the tensors of ``number`` are not ours, or not for certain; empty where their sizes say so."""
    known = TENSOR_TYPES.get(number)
    ours = (quant_type.block_size, quant_type.type_size)
    for one in tensors:
        if one.fits(*ours):
            continue
        size = one.entry.elements // quant_type.block_size * quant_type.type_size
        own = f"; {known[0]} has this size, so that is what it is" if known and one.fits(*known[1:]) else ""
        return (
            f"tensor '{one.entry.name}' of type {number} takes {one.span} bytes,"
            f" {quant_type.upper} would take {size}{own}"
        )
    if known and all(one.fits(*known[1:]) for one in tensors):
        if known[1:] == ours:
            return f"its tensors of type {number} are {known[0]}, whose blocks have the same size"
        return (
            f"its tensors of type {number} fit {known[0]} and {quant_type.upper} alike, because of the"
            f" padding to {tensors[0].head.alignment} bytes"
        )
    hides = [one for one in tensors if one.head.alignment > quant_type.type_size]
    if hides and not any(_ends_in_data(one, quant_type) for one in hides):
        return f"how long its tensors of type {number} are can't be told from their padding"
    return ""


def _ends_in_data(one: Placed, quant_type: QuantType) -> bool:
    """Whether the last block that our type would have holds anything."""
    data = one.entry.elements // quant_type.block_size * quant_type.type_size
    with one.head.path.open("rb") as file:
        file.seek(one.entry.offset + data - quant_type.type_size)
        return any(file.read(quant_type.type_size))


def require_ours(chosen: Sequence[Placed], number: int, quant_type: QuantType) -> None:
    """Raise :class:`UsageError` where the tensors of ``number`` aren't of our type, or not for certain."""
    own = quant_type.name not in SHIPPED  # nothing but its size is known of it, and its number was named
    sizes = (quant_type.block_size, quant_type.type_size)
    wrong = next((one for one in chosen if not one.fits(*sizes)), None)
    doubt = "" if own and wrong is None else _doubt(chosen, number, quant_type)
    if doubt:
        raise UsageError(f"{chosen[0].head.path}: {doubt}", hint="nothing was written")
    if not own and not sum(_require_scales(one, quant_type) for one in chosen):
        raise UsageError(
            f"{chosen[0].head.path}: looked for scales in {how_many(len(chosen), 'tensor')} of type {number},"
            f" found nothing but zeros: whether that is {quant_type.upper} can't be told",
            hint="nothing was written",
        )


def _require_scales(one: Placed, quant_type: QuantType) -> int:
    """A scale is the largest magnitude over 127: never negative, never infinite, never far from its block's
    integers. How many of the blocks looked at hold anything. Raises :class:`UsageError`."""
    entry, order = one.entry, ">" if one.head.big_endian else "<"
    blocks = entry.elements // quant_type.block_size
    looked, held, flat = 0, 0, 0
    with one.head.path.open("rb") as file:
        for number in range(0, blocks, max(1, blocks // _SAMPLE)):
            file.seek(entry.offset + number * quant_type.type_size)
            raw = file.read(quant_type.type_size)
            (scale,) = struct.unpack_from(order + "e", raw)
            peak = max(map(abs, struct.unpack_from(f"{quant_type.type_size - 2}b", raw, 2)))
            if not 0 <= scale < float("inf"):
                raise UsageError(
                    f"{one.head.path}: tensor '{entry.name}', block {number}: the scale {scale} is none of"
                    f" {quant_type.upper}'s",
                    hint="nothing was written",
                )
            looked += 1
            held += any(raw)
            # a block of weights below a half float's range keeps its integers beside a scale of 0
            flat += any(raw) and (scale == 0 or peak < _LEAST_PEAK)
    if flat > looked // 4:
        raise UsageError(
            f"{one.head.path}: tensor '{entry.name}': {flat} of {looked} blocks have a scale that isn't their"
            f" largest integer's: it is no {quant_type.upper}",
            hint="nothing was written",
        )
    return held
