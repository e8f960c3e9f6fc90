"""GGUF files whose Q8_A8 tensors carry another number: the same bytes under the reserved one.

Before the number was reserved, people took the next free one (39 for the type, 38 for the file type),
which upstream has since given to MXFP4. Which type such a tensor really has is told by its size, 34 bytes
for 32 weights, where MXFP4 takes 17, and by its scales. Where that leaves a doubt nothing is written.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from patcher.base.errors import UsageError
from patcher.base.files import made_whole
from patcher.base.progress import SILENT, Reporter
from patcher.base.units import how_many
from patcher.engine.quant_type import QuantType
from patcher.model.gguf_cursor import GgufError
from patcher.model.gguf_format import TENSOR_TYPES, ValueType
from patcher.model.gguf_head import GgufHead, TensorEntry, read_head
from patcher.model.model_file import part_path, parts_of

FILE_TYPE = "general.file_type"
GUESSED = 1024  # LLAMA_FTYPE_GUESSED: a bit beside the file type
CHUNK = 8 << 20
SAMPLE = 64  # blocks of each tensor whose scale is looked at
BY_HAND = 39  # the next free number of May 2025, which hands took; MXFP4 since August
LEAST_PEAK = 64  # of a block's integers: its scale is the largest weight over 127


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


@dataclass(frozen=True)
class Retagged:
    """What was, or would be, done. ``written`` is empty for a dry run and where nothing was to do."""

    source: Path
    from_id: int | None
    to_id: int
    tensors: tuple[str, ...]
    file_type: tuple[int, int] | None  # before, after
    written: tuple[Path, ...] = ()
    sha256: dict[str, str] = field(default_factory=dict, repr=False)  # of each tensor's data, unchanged

    def document(self) -> dict[str, Any]:
        """The JSON form; ``written`` is the first part's path where there are several."""
        return {
            "source": str(self.source),
            "from_id": self.from_id,
            "to_id": self.to_id,
            "tensors": list(self.tensors),
            "file_type": list(self.file_type) if self.file_type else None,
            "written": str(self.written[0]) if self.written else None,
            "parts": [str(path) for path in self.written],
            "sha256": self.sha256,
        }


def placed(path: Path) -> tuple[Placed, ...]:
    """The tensors of the model at ``path``, over all its parts. Raises :class:`GgufError`."""
    found: list[Placed] = []
    for head in parts_of(read_head(path), read_head):
        spans = head.spans()
        if len(spans) != len(head.entries):
            raise GgufError(f"{head.path}: a tensor's name is there twice")
        found += [Placed(head, entry, spans[entry.name]) for entry in head.entries]
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


def retag(
    path: Path,
    quant_type: QuantType,
    *,
    destination: Path | None,
    from_id: int | None = None,
    dry_run: bool = False,
    force: bool = False,
    reporter: Reporter = SILENT,
) -> Retagged:
    """Write ``path`` with the reserved numbers to ``destination`` (itself: in place), verified.

    A model in parts becomes one in as many parts. Each file is written beside its destination and renamed
    when every tensor's data is proved unchanged. Raises :class:`UsageError` for a destination that is there
    (without ``force``) and for tensors of ``from_id`` that aren't ours, or not for certain;
    :class:`GgufError` for an unsound file.
    """
    tensors = placed(path)
    heads = tuple(dict.fromkeys(one.head.path for one in tensors))
    number = from_id if from_id is not None else find_id(tensors, quant_type)
    if number is None and not any(one.entry.type == quant_type.id for one in tensors):
        # nobody retags a file for nothing: one with upstream's own type of that number is told so
        number = next((one.entry.type for one in tensors if one.entry.type == BY_HAND), None)
    chosen = [one for one in tensors if number not in (None, quant_type.id) and one.entry.type == number]
    if chosen and number is not None:
        _require_ours(chosen, number, quant_type)
    first = tensors[0].head if tensors else read_head(path)
    held = first.metadata.get(FILE_TYPE)
    file_type = None
    if (
        chosen
        and held is not None
        and held.type is ValueType.UINT32
        and held.value & ~GUESSED != quant_type.ftype
    ):
        file_type = (int(held.value), quant_type.ftype | (held.value & GUESSED))
    plan = Retagged(path, number, quant_type.id, tuple(one.entry.name for one in chosen), file_type)
    if dry_run or not chosen or destination is None:
        return plan
    in_place = destination.exists() and destination.samefile(path)
    places = [
        head if in_place else part_path(destination, part, len(heads)) for part, head in enumerate(heads, 1)
    ]
    for place in places:
        if place.exists() and not force and not in_place:
            raise UsageError(f"{place}: is there already", hint="--force replaces it")
    hashes: dict[str, str] = {}
    for place, head_path in zip(places, heads, strict=True):
        head = next(one.head for one in tensors if one.head.path == head_path)
        order = ">" if head.big_endian else "<"
        changes = {
            one.entry.type_at: struct.pack(order + "I", quant_type.id)
            for one in chosen
            if one.head.path == head_path
        }
        if file_type is not None and head_path == first.path:
            changes[head.places[FILE_TYPE]] = struct.pack(order + "I", file_type[1])
        hashes |= _write(head, place, changes, reporter)
    return Retagged(path, number, quant_type.id, plan.tensors, file_type, tuple(places), hashes)


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


def _require_ours(chosen: Sequence[Placed], number: int, quant_type: QuantType) -> None:
    doubt = _doubt(chosen, number, quant_type)
    if doubt:
        raise UsageError(f"{chosen[0].head.path}: {doubt}", hint="nothing was written")
    if not sum(_require_scales(one, quant_type) for one in chosen):
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
        for number in range(0, blocks, max(1, blocks // SAMPLE)):
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
            flat += any(raw) and (scale == 0 or peak < LEAST_PEAK)
    if flat > looked // 4:
        raise UsageError(
            f"{one.head.path}: tensor '{entry.name}': {flat} of {looked} blocks have a scale that isn't their"
            f" largest integer's: it is no {quant_type.upper}",
            hint="nothing was written",
        )
    return held


def _write(
    head: GgufHead, destination: Path, changes: dict[int, bytes], reporter: Reporter
) -> dict[str, str]:
    with made_whole(destination) as draft:
        with draft.open("wb") as out, head.path.open("rb") as source:
            with reporter.step(f"Writing {destination.name}", total=head.size) as step:
                for block in iter(lambda: source.read(CHUNK), b""):
                    out.write(block)
                    step.update(done=out.tell())
            for offset, data in changes.items():
                out.seek(offset)
                out.write(data)
        hashes = _proved(head, draft, reporter)
        draft.chmod(head.path.stat().st_mode & 0o777)
    return hashes


def _proved(head: GgufHead, draft: Path, reporter: Reporter) -> dict[str, str]:
    """The hash of each tensor's data, after proof that layout and data are as they were."""
    made = read_head(draft)
    same = [
        [(entry.name, entry.dims, entry.offset) for entry in one.entries] + [one.size] for one in (made, head)
    ]
    if same[0] != same[1]:
        raise GgufError(f"{draft}: the tensors are not where they were")
    hashes: dict[str, str] = {}
    spans = head.spans()
    with (
        head.path.open("rb") as before,
        draft.open("rb") as after,
        reporter.step("Verifying", total=len(head.entries)) as step,
    ):
        for number, entry in enumerate(head.entries):
            step.update(done=number, detail=entry.name)
            digests = [_digest(file, entry.offset, spans[entry.name]) for file in (before, after)]
            if digests[0] != digests[1]:
                raise GgufError(f"{draft}: the data of '{entry.name}' changed while it was copied")
            hashes[entry.name] = digests[1]
    return hashes


def _digest(file: Any, offset: int, span: int) -> str:
    digest = hashlib.sha256()
    file.seek(offset)
    left = span
    while left:
        block = file.read(min(CHUNK, left))
        if not block:
            break
        digest.update(block)
        left -= len(block)
    return digest.hexdigest()
