"""GGUF files whose Q8_A8 tensors carry another number: the same bytes under the reserved one.

Before the number was reserved, people took the next free one (39 for the type, 38 for the file type),
which upstream has since given to MXFP4. Which type such a tensor really has is told by its size: 34 bytes
for 32 weights, where MXFP4 takes 17.
"""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from patcher.base.errors import UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.engine.quant_type import QuantType
from patcher.model.gguf import Cursor, GgufError
from patcher.model.gguf_format import DEFAULT_ALIGNMENT, MAGIC, TENSOR_TYPES, VERSIONS, ValueType, padded

FILE_TYPE = "general.file_type"
GUESSED = 1024  # LLAMA_FTYPE_GUESSED: a bit beside the file type
CHUNK = 8 << 20
SAMPLE = 64  # blocks of each tensor whose scale is looked at
BY_HAND = 39  # the next free number of May 2025, which hands took; MXFP4 since August


@dataclass(frozen=True)
class Entry:
    """A tensor's description, and where in the file its type number stands."""

    name: str
    dims: tuple[int, ...]
    type: int
    type_at: int
    offset: int  # from the start of the file
    span: int  # bytes up to the next tensor or the end: the data and its padding

    @property
    def elements(self) -> int:
        """How many weights."""
        count = 1
        for dim in self.dims:
            count *= dim
        return count


@dataclass(frozen=True)
class Layout:
    """What of a file has to be known to put other numbers in."""

    path: Path
    order: str
    alignment: int
    size: int
    entries: tuple[Entry, ...]
    file_type: int | None
    file_type_at: int | None


@dataclass(frozen=True)
class Retagged:
    """What was, or would be, done. ``written`` is None for a dry run and where nothing was to do."""

    source: Path
    from_id: int | None
    to_id: int
    tensors: tuple[str, ...]
    file_type: tuple[int, int] | None  # before, after
    written: Path | None = None
    sha256: dict[str, str] = field(default_factory=dict, repr=False)  # of each tensor's data, unchanged

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "source": str(self.source),
            "from_id": self.from_id,
            "to_id": self.to_id,
            "tensors": list(self.tensors),
            "file_type": list(self.file_type) if self.file_type else None,
            "written": str(self.written) if self.written else None,
            "sha256": self.sha256,
        }


def layout(path: Path) -> Layout:
    """Walk the head of a GGUF file. Types need not be known. Raises :class:`GgufError`."""
    with Cursor.open(path) as cursor:
        if cursor.take(4, "the magic number") != MAGIC:
            raise GgufError(f"{path}: looked for a GGUF file, found something else")
        version = cursor.number("I", "the version")
        if version & 0xFFFF == 0 and version:
            cursor.order, version = ">", int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in VERSIONS:
            raise GgufError(f"{path}: GGUF version {version}, supported are 2 and 3")
        tensors = cursor.count(24, "tensors")
        alignment, file_type, file_type_at = DEFAULT_ALIGNMENT, None, None
        for _ in range(cursor.count(13, "metadata entries")):
            key = cursor.text("a metadata key")
            value = cursor.value(key)
            if key == "general.alignment":
                alignment = value.value if isinstance(value.value, int) else 0
            if key == FILE_TYPE and value.type is ValueType.UINT32:
                file_type, file_type_at = int(value.value), cursor.position - 4
        if alignment < 1 or alignment & (alignment - 1):
            raise GgufError(f"{path}: general.alignment is {alignment}, which is no power of two")
        rows: list[tuple[str, tuple[int, ...], int, int, int]] = []
        for _ in range(tensors):
            name = cursor.text("a tensor's name")
            rank = cursor.number("I", f"the rank of '{name}'")
            if not 1 <= rank <= 4:
                raise GgufError(f"{path}: tensor '{name}' has {rank} dimensions, allowed are 1 to 4")
            dims = tuple(cursor.number("Q", f"the shape of '{name}'") for _ in range(rank))
            at = cursor.position
            kind = cursor.number("I", f"the type of '{name}'")
            rows.append((name, dims, kind, at, cursor.number("Q", f"the offset of '{name}'")))
        start, size = padded(cursor.position, alignment), len(cursor.data)
        order = cursor.order
    ends = sorted({start + row[4] for row in rows} | {size})
    entries = []
    for name, dims, kind, at, offset in rows:
        begin = start + offset
        end = next((end for end in ends if end > begin), None)
        if end is None or begin % alignment:
            raise GgufError(f"{path}: tensor '{name}' begins at byte {begin} of {size}, or isn't aligned")
        entries.append(Entry(name, dims, kind, at, begin, end - begin))
    return Layout(path, order, alignment, size, tuple(entries), file_type, file_type_at)


def nbytes(elements: int, kind: QuantType) -> int:
    """Bytes of that many weights in the type."""
    return elements // kind.block_size * kind.type_size


def _is_ours(entry: Entry, kind: QuantType, alignment: int) -> bool:
    """Whether the room that the tensor takes is that of our type, padding aside."""
    size = nbytes(entry.elements, kind)
    return not entry.dims[0] % kind.block_size and size <= entry.span < size + alignment


def find_id(found: Layout, kind: QuantType) -> int | None:
    """The number under which the file holds tensors of our size, and which isn't a type of that size.

    Raises :class:`UsageError` where several could be meant.
    """
    candidates: dict[int, list[Entry]] = {}
    for entry in found.entries:
        known = TENSOR_TYPES.get(entry.type)
        if entry.type == kind.id or (known and known[1:] == (kind.block_size, kind.type_size)):
            continue
        candidates.setdefault(entry.type, []).append(entry)
    ours = [
        number
        for number, entries in candidates.items()
        if all(_is_ours(entry, kind, found.alignment) for entry in entries)
    ]
    if len(ours) > 1:
        numbers = ", ".join(map(str, sorted(ours)))
        raise UsageError(
            f"{found.path}: the types {numbers} could each be {kind.upper}", hint="name one with --from-id"
        )
    return ours[0] if ours else None


def retag(
    path: Path,
    kind: QuantType,
    *,
    destination: Path | None,
    from_id: int | None = None,
    dry_run: bool = False,
    force: bool = False,
    reporter: Reporter = SILENT,
) -> Retagged:
    """Write ``path`` with the reserved numbers to ``destination`` (itself: in place), verified.

    The file is written beside the destination and renamed when every tensor's data is proved unchanged.
    Raises :class:`UsageError` for a destination that is there (without ``force``), for tensors of
    ``from_id`` whose size is not ours (MXFP4, say), and :class:`GgufError` for an unsound file.
    """
    found = layout(path)
    number = from_id if from_id is not None else find_id(found, kind)
    if number is None and not any(entry.type == kind.id for entry in found.entries):
        # nobody retags a file for nothing: one with upstream's own type of that number is told so
        number = next((entry.type for entry in found.entries if entry.type == BY_HAND), None)
    chosen = [entry for entry in found.entries if number is not None and entry.type == number]
    _require_ours(found, chosen, number, kind)
    file_type = None
    if chosen and found.file_type is not None and found.file_type & ~GUESSED != kind.ftype:
        file_type = (found.file_type, kind.ftype | (found.file_type & GUESSED))
    names = tuple(entry.name for entry in chosen)
    plan = Retagged(path, number, kind.id, names, file_type)
    if dry_run or not chosen or destination is None:
        return plan
    in_place = destination.exists() and destination.samefile(path)
    if destination.exists() and not force and not in_place:
        raise UsageError(f"{destination}: is there already", hint="--force replaces it")
    changes = {entry.type_at: struct.pack(found.order + "I", kind.id) for entry in chosen}
    if file_type is not None and found.file_type_at is not None:
        changes[found.file_type_at] = struct.pack(found.order + "I", file_type[1])
    hashes = _write(found, destination, changes, kind, reporter)
    return Retagged(path, number, kind.id, names, file_type, destination, hashes)


def _require_ours(found: Layout, chosen: list[Entry], number: int | None, kind: QuantType) -> None:
    for entry in chosen:
        if _is_ours(entry, kind, found.alignment):
            continue
        known = TENSOR_TYPES.get(entry.type)
        size = nbytes(entry.elements, kind)
        what = (
            f"; {known[0]} has this size, so that is what it is"
            if known and _fits(entry, found, known)
            else ""
        )
        raise UsageError(
            f"{found.path}: tensor '{entry.name}' of type {number} takes {entry.span} bytes,"
            f" {kind.upper} would take {size}{what}",
            hint="nothing was written",
        )
    with found.path.open("rb") as file:
        for entry in chosen:
            _require_scales(file, entry, found, kind)


def _fits(entry: Entry, found: Layout, known: tuple[str, int, int]) -> bool:
    size = entry.elements // known[1] * known[2]
    return size <= entry.span < size + found.alignment


def _require_scales(file: Any, entry: Entry, found: Layout, kind: QuantType) -> None:
    """A scale is a largest magnitude over 127: never negative, never infinite."""
    blocks = entry.elements // kind.block_size
    for number in range(0, blocks, max(1, blocks // SAMPLE)):
        file.seek(entry.offset + number * kind.type_size)
        (scale,) = struct.unpack(found.order + "e", file.read(2))
        if not 0 <= scale < float("inf"):
            raise UsageError(
                f"{found.path}: tensor '{entry.name}', block {number}: the scale {scale} is none of"
                f" {kind.upper}'s",
                hint="nothing was written",
            )


def _write(
    found: Layout, destination: Path, changes: dict[int, bytes], kind: QuantType, reporter: Reporter
) -> dict[str, str]:
    handle, name = tempfile.mkstemp(
        prefix=f".{destination.name}-", suffix=".q8a8-patch", dir=destination.parent
    )
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as out, found.path.open("rb") as source:
            with reporter.step(f"Writing {destination.name}", total=found.size) as step:
                for block in iter(lambda: source.read(CHUNK), b""):
                    out.write(block)
                    step.update(done=out.tell())
            for offset, data in changes.items():
                out.seek(offset)
                out.write(data)
            out.flush()
            os.fsync(out.fileno())
        hashes = _proved(found, draft, kind, reporter)
        draft.chmod(found.path.stat().st_mode & 0o777)
        draft.replace(destination)
    except OSError as why:
        raise UsageError(f"{destination}: can't be written ({os.strerror(why.errno or 0)})") from why
    finally:
        draft.unlink(missing_ok=True)
    return hashes


def _proved(found: Layout, draft: Path, kind: QuantType, reporter: Reporter) -> dict[str, str]:
    """The hash of each tensor's data, after proof that layout and data are as they were."""
    made = layout(draft)
    same = [(one.name, one.dims, one.offset, one.span) for one in made.entries]
    if same != [(one.name, one.dims, one.offset, one.span) for one in found.entries]:
        raise GgufError(f"{draft}: the tensors are not where they were")
    hashes: dict[str, str] = {}
    with (
        found.path.open("rb") as before,
        draft.open("rb") as after,
        reporter.step("Verifying", total=len(found.entries)) as step,
    ):
        for number, entry in enumerate(found.entries):
            step.update(done=number, detail=entry.name)
            digests = [_digest(file, entry) for file in (before, after)]
            if digests[0] != digests[1]:
                raise GgufError(f"{draft}: the data of '{entry.name}' changed while it was copied")
            hashes[entry.name] = digests[1]
    return hashes


def _digest(file: Any, entry: Entry) -> str:
    digest = hashlib.sha256()
    file.seek(entry.offset)
    left = entry.span
    while left:
        block = file.read(min(CHUNK, left))
        if not block:
            break
        digest.update(block)
        left -= len(block)
    return digest.hexdigest()
