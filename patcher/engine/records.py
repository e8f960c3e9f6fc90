"""One transaction as it is kept: a sealed list of files, and what each was before.

A record is a folder: ``record`` (a line with format and seal, then JSON) and ``N.before``, what file number N
was before, packed by zlib. ``docs/explanation/records.md`` has the format.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from patcher.base.bounded import MAX_FILE, inflated
from patcher.base.errors import UsageError
from patcher.base.folder import Folder
from patcher.engine import seal

FORMAT = 2
FILE = "record"
MAX_RECORD = 32 << 20  # bytes; what we write has a few hundred thousand, the texts of all edits
_HEAD = re.compile(rb"record-of-q8a8-patch (\d+) ([0-9a-f]{64})\n")


def digest(data: bytes | None) -> str:
    """The SHA-256 that files are recognised by; empty for a file that isn't there."""
    return hashlib.sha256(data).hexdigest() if data is not None else ""


@dataclass(frozen=True)
class Entry:
    """One file of a transaction.

    ``cuts`` are the (edit id, start, end, text) that make what was there into what was written; offsets
    are bytes of what was there.
    """

    path: str
    before: str  # digest
    after: str
    cuts: tuple[tuple[str, int, int, bytes], ...] = ()

    @property
    def edits(self) -> tuple[str, ...]:
        """The ids of the edits that changed the file."""
        return tuple(dict.fromkeys(edit for edit, _, _, _ in self.cuts))


@dataclass(frozen=True)
class Facts:
    """What a record says besides its files."""

    type_name: str = "q8_a8"  # the type whose edits were written
    token: str = ""  # names its drafts, and nobody can know it before
    folders: tuple[str, ...] = ()  # that it makes, outermost first
    undoes: tuple[str, ...] = ()  # the names of the records that it takes back
    tool: str = ""


@dataclass(frozen=True)
class Record:
    """One transaction on disk, in the open ``folder`` called ``name``."""

    name: str
    folder: Folder
    entries: tuple[Entry, ...]
    facts: Facts

    @property
    def type_name(self) -> str:
        """The type whose edits were written."""
        return self.facts.type_name

    def draft(self, number: int) -> str:
        """The name under which entry ``number`` is made beside its file."""
        return f".q8a8-patch-{self.facts.token}-{number}"

    def before(self, number: int) -> bytes | None:
        """The bytes of entry ``number`` before the transaction; None where it wasn't there.

        Raises :class:`UsageError` where they are not what was kept.
        """
        entry, place = self.entries[number], f"{number}.before"
        if not entry.before:
            return None
        try:
            data = inflated(self.folder.read(place, MAX_FILE) or b"", MAX_FILE)
        except (OSError, ValueError, zlib.error) as why:
            raise self._senseless(place, f"{type(why).__name__}: {why}") from why
        if digest(data) != entry.before:
            raise self._senseless(place, "it is not what was kept there")
        return data

    def after(self, number: int) -> bytes:
        """The bytes of entry ``number`` as an apply left them. Raises as before() does."""
        before, out, position = self.before(number) or b"", [], 0
        for edit, start, end, text in self.entries[number].cuts:
            # cuts that go backwards would repeat the file as often as there are cuts
            if not position <= start <= end <= len(before):
                raise self._senseless(FILE, f"edit {edit} cuts from {start} to {end}")
            out += [before[position:start], text]
            position = end
        return b"".join([*out, before[position:]])

    def _senseless(self, name: str, why: str) -> UsageError:
        place = self.folder.path / name
        return UsageError(
            f"{place}: looked for a record of an apply, found none that makes sense ({why})",
            hint="where it isn't yours, remove the folder; git knows how the files were",
        )


def write(folder: Folder, name: str, files: Sequence[tuple[Entry, bytes | None]], facts: Facts) -> Record:
    """Keep a record in the empty ``folder``, on the disk when this returns."""
    for number, (_, before) in enumerate(files):
        if before is not None:
            folder.create(f"{number}.before", zlib.compress(before, 1), mode=0o600)
    entries = tuple(entry for entry, _ in files)
    document = {
        "tool": facts.tool,
        "type": facts.type_name,
        "token": facts.token,
        "folders": facts.folders,
        "undoes": facts.undoes,
        "entries": [
            {
                "path": entry.path,
                "before": entry.before,
                "after": entry.after,
                "cuts": [
                    [edit, start, end, b64encode(text).decode()] for edit, start, end, text in entry.cuts
                ],
            }
            for entry in entries
        ],
    }
    body = json.dumps(document, indent=1).encode()
    head = f"record-of-q8a8-patch {FORMAT} {seal.seal(body)}\n".encode()
    folder.create(FILE, head + body, mode=0o600)
    folder.sync()
    return Record(name, folder, entries, facts)


def read(folder: Folder, name: str) -> Record | None:
    """The record in ``folder``; None where it has none that we made: nothing of it is looked into then.

    Raises :class:`UsageError` for one of ours in another release's format.
    """
    data = folder.read(FILE, MAX_RECORD)
    found = _HEAD.match(data) if data is not None else None
    if data is None or found is None or not seal.is_ours(data[found.end() :], found[2].decode()):
        return None
    document: dict[str, Any] = json.loads(data[found.end() :])
    if int(found[1]) != FORMAT:
        raise UsageError(
            f"{folder.path / FILE}: written by another release ({document.get('tool')})",
            hint="use that release for this tree",
        )
    entries = tuple(
        Entry(
            item["path"],
            item["before"],
            item["after"],
            tuple((edit, start, end, b64decode(text)) for edit, start, end, text in item["cuts"]),
        )
        for item in document["entries"]
    )
    facts = Facts(
        document["type"],
        document["token"],
        tuple(document["folders"]),
        tuple(document["undoes"]),
        document["tool"],
    )
    return Record(name, folder, entries, facts)
