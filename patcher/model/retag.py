"""GGUF files whose Q8_A8 tensors carry another number: the same bytes under the reserved one.

A type of one's own, as a fork's that was lifted, has the number that its file says; there the size is all
that tells it.

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
from patcher.base.files import all_made_whole, made_whole, require_replaceable
from patcher.base.progress import SILENT, Reporter
from patcher.engine.quant_type import QuantType
from patcher.model.evidence import FIRST_BY_HAND, find_id, placed, require_nothing_left, require_ours
from patcher.model.gguf_cursor import GgufError
from patcher.model.gguf_format import ValueType
from patcher.model.gguf_head import GgufHead, read_head
from patcher.model.model_file import part_path, parts_of

FILE_TYPE = "general.file_type"
GUESSED = 1024  # LLAMA_FTYPE_GUESSED: a bit beside the file type
CHUNK = 8 << 20


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
    heads = tuple(parts_of(read_head(path), read_head))
    number = from_id if from_id is not None else find_id(tensors, quant_type)
    if number is None and not any(one.entry.type == quant_type.id for one in tensors):
        # nobody retags a file for nothing: one with upstream's own type of that number is told so
        number = next((one.entry.type for one in tensors if one.entry.type == FIRST_BY_HAND), None)
    chosen = [one for one in tensors if number not in (None, quant_type.id) and one.entry.type == number]
    if chosen and number is not None:
        require_ours(chosen, number, quant_type)
    elif from_id is None:
        require_nothing_left(tensors, quant_type)
    elif not any(one.entry.type == quant_type.id for one in tensors):
        held_numbers = ", ".join(map(str, sorted({one.entry.type for one in tensors}))) or "no tensors"
        raise UsageError(
            f"{path}: looked for tensors of type {from_id}, found {held_numbers}",
            hint="name a number that it has with --from-id",
        )
    taken = [one for one in tensors if chosen and one.entry.type == quant_type.id]
    if taken and not all(one.fits(quant_type.block_size, quant_type.type_size) for one in taken):
        raise UsageError(
            f"{taken[0].head.path}: tensor '{taken[0].entry.name}' has the number {quant_type.id}, and isn't"
            f" {quant_type.upper} by its size: both would be one type",
            hint="nothing was written",
        )
    held = heads[0].metadata.get(FILE_TYPE)
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
        head.path if in_place else part_path(destination, part, len(heads))
        for part, head in enumerate(heads, 1)
    ]
    if not in_place:
        _require_places(places, heads, force)
    changes = []
    for head in heads:
        order = ">" if head.big_endian else "<"
        new = struct.pack(order + "I", quant_type.id)
        changes.append({one.entry.type_at: new for one in chosen if one.head.path == head.path})
        if file_type is not None and head is heads[0]:
            changes[0][head.places[FILE_TYPE]] = struct.pack(order + "I", file_type[1])
    hashes: dict[str, str] = {}
    if in_place:  # one after another: a part of a model that is cut off between two is still one of it
        for head, place, change in zip(heads, places, changes, strict=True):
            with made_whole(place) as draft:
                hashes |= _write(head, draft, change, reporter)
    else:
        with all_made_whole(places) as drafts:
            for head, draft, change in zip(heads, drafts, changes, strict=True):
                hashes |= _write(head, draft, change, reporter)
    return Retagged(path, number, quant_type.id, plan.tensors, file_type, tuple(places), hashes)


def _require_places(places: Sequence[Path], heads: Sequence[GgufHead], force: bool) -> None:
    """Raise :class:`UsageError` where something may not be replaced."""
    read = {head.path.resolve() for head in heads}
    for place in places:
        if place.resolve() in read:
            raise UsageError(
                f"{place}: is the model that is read", hint="name another output, or use --in-place"
            )
        require_replaceable(place)
        if place.exists() and not force:
            raise UsageError(f"{place}: is there already", hint="--force replaces it")


def _write(head: GgufHead, draft: Path, changes: dict[int, bytes], reporter: Reporter) -> dict[str, str]:
    with draft.open("wb") as out, head.path.open("rb") as source:
        with reporter.step(f"Writing {head.path.name}", total=head.size) as step:
            for block in iter(lambda: source.read(CHUNK), b""):
                out.write(block)
                step.update(done=out.tell())
        for offset, data in changes.items():
            out.seek(offset)
            out.write(data)
    hashes = _proved(head, draft, reporter)
    draft.chmod(head.path.stat().st_mode & 0o777)
    return hashes


_AGAIN = "nothing was kept; run it again, and look into the system's log for errors of the disk"


def _proved(head: GgufHead, draft: Path, reporter: Reporter) -> dict[str, str]:
    """The hash of each tensor's data, after proof that layout and data are as they were."""
    made = read_head(draft)
    same = [
        [(entry.name, entry.dims, entry.offset) for entry in one.entries] + [one.size] for one in (made, head)
    ]
    if same[0] != same[1]:
        raise GgufError(f"{draft}: the tensors are not where they were", hint=_AGAIN)
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
                raise GgufError(
                    f"{draft}: the data of '{entry.name}' changed while it was copied", hint=_AGAIN
                )
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
