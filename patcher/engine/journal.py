"""What was done to a tree, kept in its git folder, so that it can be undone and a crash healed.

Layout of the state folder::

    lock                 held while a command writes
    pending/             a transaction under way: manifest.json, N.before (zlib)
    applied/0001/        one finished transaction, the same files
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patcher.base.bounded import MAX_SOURCE, inflated, regular_file
from patcher.base.errors import TreeChangedError, UsageError
from patcher.engine.tree import WorkTree

FORMAT = 1
MAX_MANIFEST = 32 << 20  # bytes; what we write has a few hundred thousand, the texts of all edits
LOCK_SECONDS = 60.0


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
class Record:
    """One transaction on disk."""

    folder: Path
    entries: tuple[Entry, ...]
    tool: str
    kind: str = "q8_a8"  # the type whose edits were written

    def before(self, number: int) -> bytes | None:
        """The bytes of entry ``number`` before the transaction; None where it wasn't there.

        Raises :class:`UsageError` for a record that is damaged, or longer than a source may be.
        """
        if not self.entries[number].before:
            return None
        place = self.folder / f"{number}.before"
        try:
            return inflated(regular_file(place, MAX_SOURCE), MAX_SOURCE)
        except (OSError, ValueError, zlib.error) as why:
            raise _not_a_record(place, why) from why

    def after(self, number: int) -> bytes:
        """The bytes of entry ``number`` as an apply left them. Raises as before() does."""
        before, out, position = self.before(number) or b"", [], 0
        for edit, start, end, text in self.entries[number].cuts:
            # cuts that go backwards would repeat the file as often as there are cuts
            if not position <= start <= end <= len(before):
                raise _not_a_record(self.folder, f"edit {edit} cuts from {start} to {end}")
            out += [before[position:start], text]
            position = end
        return b"".join([*out, before[position:]])


class Journal:
    """The state folder of one tree: ``<git folder>/q8a8-patch``, or ``.q8a8-patch`` where there is no git."""

    def __init__(self, tree: WorkTree) -> None:
        self.tree = tree
        self.folder = _state_folder(tree.root)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the tree: one command at a time writes it.

        Raises :class:`UsageError` where another one holds it for a minute.
        """
        from filelock import FileLock, Timeout

        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / "lock", timeout=LOCK_SECONDS):
                yield
        except Timeout:
            hint = "wait for it, or end it"
            raise UsageError(f"{self.tree.root}: another q8a8-patch is at work on it", hint=hint) from None

    @property
    def pending(self) -> Record | None:
        """A transaction that was begun and not finished."""
        return self._read(self.folder / "pending")

    @property
    def applied(self) -> list[Record]:
        """The finished transactions, oldest first."""
        folders = sorted(self.folder.glob("applied/*")) if self.folder.is_dir() else []
        return [record for folder in folders if (record := self._read(folder)) is not None]

    def _read(self, folder: Path) -> Record | None:
        manifest = folder / "manifest.json"
        if not manifest.is_file():
            return None
        try:
            document = json.loads(regular_file(manifest, MAX_MANIFEST))
            entries = tuple(
                Entry(
                    item["path"],
                    item["before"],
                    item["after"],
                    tuple(
                        (str(edit), int(start), int(end), b64decode(text))
                        for edit, start, end, text in item["cuts"]
                    ),
                )
                for item in document["entries"]
            )
            if document["format"] != FORMAT:
                raise UsageError(f"{manifest}: written by another release ({document['tool']})")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as why:
            raise _not_a_record(manifest, why) from why
        # records of before there were other types don't say whose they are
        return Record(folder, entries, document["tool"], str(document.get("type", "q8_a8")))

    def edit_at(self, path: str, line: int) -> str | None:
        """The id of the edit that wrote ``line`` of ``path``, as far as the file is as we left it."""
        for record in reversed(self.applied):
            for entry in record.entries:
                if entry.path != path or digest(self.tree.read(path)) != entry.after:
                    continue
                return next(
                    (edit for edit, first, last in _lines(entry, self.tree) if first <= line <= last), None
                )
        return None

    def begin(self, files: list[tuple[Entry, bytes | None]], kind: str = "q8_a8") -> Record:
        """Write down what is about to happen, and every file as it is now, and make it durable.

        ``kind`` is the name of the type whose edits are written or taken away.
        """
        from patcher import __version__

        pending = self.folder / "pending"
        if pending.exists():
            shutil.rmtree(pending)  # no manifest: the crash came before anything of the tree was touched
        pending.mkdir(parents=True)
        for number, (_, before) in enumerate(files):
            (pending / f"{number}.before").write_bytes(zlib.compress(before or b"", 1))
        tool = f"q8a8-patch {__version__}"
        document = {
            "format": FORMAT,
            "tool": tool,
            "type": kind,
            "entries": [_document(entry) for entry, _ in files],
        }
        draft = pending / "manifest.draft"
        draft.write_text(json.dumps(document, indent=1), encoding="utf-8")
        _sync(pending)
        draft.replace(pending / "manifest.json")
        _sync(pending)
        return Record(pending, tuple(entry for entry, _ in files), tool, kind)

    def finish(self) -> None:
        """Turn the pending transaction into an applied one."""
        _sync(self.folder)
        applied = self.folder / "applied"
        applied.mkdir(exist_ok=True)
        numbers = [int(path.name) for path in applied.iterdir() if path.name.isdigit()]
        (self.folder / "pending").rename(applied / f"{max(numbers, default=0) + 1:04d}")

    def drop(self, record: Record) -> None:
        """Forget a transaction: the manifest first, so that a crash leaves none that is half there."""
        (record.folder / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(record.folder, ignore_errors=True)

    def write(self, path: str, data: bytes | None) -> None:
        """Replace one file of the tree in a single step, its permissions kept; None takes it away."""
        place = self.tree.locate(path)
        draft = self.folder / "draft"
        try:
            if data is None:
                self._take_away(place)
                return
            place.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(data)
            if place.exists():
                shutil.copymode(place, draft)
            try:
                draft.replace(place)
            except OSError:
                # the git folder lies on another file system: a sibling of the file does not
                beside = _beside(place)
                shutil.copy(draft, beside)
                beside.replace(place)
        except OSError as why:
            raise TreeChangedError(f"{place}: can't be written ({os.strerror(why.errno or 0)})") from why

    def _take_away(self, place: Path) -> None:
        """Remove a file that we added, and the folders that held nothing else."""
        place.unlink(missing_ok=True)
        folder = place.parent
        while folder != self.tree.root and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent

    def recover(self) -> str | None:
        """Undo a transaction that a crash cut off. Returns what was done, None where nothing was to do.

        Raises :class:`TreeChangedError` where a file is neither as it was before nor as it was to be.
        """
        record = self.pending
        if record is None:
            return None
        undo: list[tuple[str, bytes | None]] = []
        for number, entry in enumerate(record.entries):
            _beside(self.tree.locate(entry.path)).unlink(missing_ok=True)
            now = digest(self.tree.read(entry.path))
            if now == entry.after:
                undo.append((entry.path, record.before(number)))
            elif now != entry.before:
                hint = (
                    f"before and after lie in {record.folder}; put one of them back, then remove that folder"
                )
                message = f"{entry.path}: changed by another hand after an interrupted run"
                raise TreeChangedError(message, hint=hint)
        for path, before in undo:
            self.write(path, before)
        self.drop(record)
        return f"an interrupted run was undone: {len(undo)} of {len(record.entries)} files had been written"


def _not_a_record(place: Path, why: object) -> UsageError:
    reason = f"{type(why).__name__}: {why}" if isinstance(why, Exception) else str(why)
    return UsageError(
        f"{place}: looked for a record of an apply, found none that makes sense ({reason})",
        hint="where it isn't yours, remove the folder; git knows how the files were",
    )


def _beside(place: Path) -> Path:
    """The draft of ``place`` where the state folder lies on another file system."""
    return place.with_name(f".{place.name}.q8a8-patch")


def _document(entry: Entry) -> dict[str, Any]:
    cuts = [[edit, start, end, b64encode(text).decode()] for edit, start, end, text in entry.cuts]
    return {"path": entry.path, "before": entry.before, "after": entry.after, "cuts": cuts}


def _lines(entry: Entry, tree: WorkTree) -> Iterator[tuple[str, int, int]]:
    """(edit id, first line, last line) of every text that was added, counted from 1."""
    data, shift, line, counted = tree.read(entry.path) or b"", 0, 1, 0
    for edit, start, end, text in entry.cuts:
        body = text.strip(b"\r\n")
        at = start + shift + text.index(body)
        line += data.count(b"\n", counted, at)  # onwards from the cut before: the file is counted once
        counted = max(counted, at)
        yield edit, line, line + body.count(b"\n")
        shift += len(text) - (end - start)


def _state_folder(root: Path) -> Path:
    """Inside the git folder of the checkout: no part of the tree, never committed."""
    from patcher import git

    folder = git.git_dir(root)
    if folder is None:
        return _no_link(root / ".q8a8-patch")
    top = git.find_toplevel(root)
    below = root.relative_to(top).as_posix() if top is not None else "."
    # a checkout vendored in a larger repository has its own state
    place = folder / "q8a8-patch" / (below.replace("/", "%2F") if below != "." else "top")
    return _no_link(place)


def _no_link(place: Path) -> Path:
    """``place``, where neither it, the folder that it lies in, nor what we keep in it leads elsewhere.

    A tree may come with records: a lock that is a link would empty the file that it leads to.
    """
    kept = (place / name for name in ("lock", "pending", "applied"))
    link = next((part for part in (place.parent, place, *kept) if part.is_symlink()), None)
    if link is not None:
        raise UsageError(f"{link}: is a symbolic link, and records are not kept elsewhere", hint="remove it")
    return place


def _sync(folder: Path) -> None:
    """Make the files of ``folder`` durable before the next step relies on them."""
    for path in folder.iterdir():
        if path.is_file():
            _fsync(path)
    _fsync(folder)


def _fsync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows can't open a folder to sync it
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
