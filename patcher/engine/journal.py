"""What was done to a tree, kept in its git folder, so that it can be undone and a crash healed.

Layout of the folder (each record as :mod:`patcher.engine.records` says)::

    lock                 held while a command writes
    draft-TOKEN/         a record that is being made
    pending/             the record of a transaction under way
    applied/0001/        one of a finished apply
    done-TOKEN/          one that is over and is about to go: its files, and the records that it undoes

A transaction has happened when its record gets another name than ``pending``, and not before.
"""

from __future__ import annotations

import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from patcher.base import lock
from patcher.base.errors import TreeChangedError, UsageError
from patcher.base.folder import Folder
from patcher.base.os_errors import refused
from patcher.engine import records, records_folder
from patcher.engine.records import Entry, Facts, Record, digest
from patcher.engine.tree import WorkTree

LOCK_SECONDS = 60.0
_LEFT = re.compile(r"(draft|done)-[0-9a-f]{32}")
_PART = re.compile(rf"{records.FILE}|\d+\.before")


class Journal:
    """The records of one tree. Looking makes nothing; only who holds :meth:`lock` writes.

    Raises :class:`UsageError` where the records can't lie in a folder that is ours alone.
    """

    def __init__(self, tree: WorkTree) -> None:
        self.tree = tree
        self.place = records_folder.place_of(tree.root)
        self._state = self.place.open(make=False)
        self._root: Folder | None = None

    @property
    def root(self) -> Folder:
        """The tree, open while the lock is held: whatever its path leads to meanwhile."""
        return _locked(self._root)

    @property
    def state(self) -> Folder:
        """The folder of the records, which a command that writes has made."""
        return _locked(self._state)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the tree: one command at a time writes it.

        Raises :class:`UsageError` where another one holds it for a minute.
        """
        self._state = self.place.open(make=True)
        try:
            with lock.hold(self.state.path / "lock", seconds=LOCK_SECONDS, folder=self._state):
                try:
                    self._root = Folder.open(self.tree.root)
                    self._sweep()
                except OSError as why:
                    raise refused(self.place.path, why) from why
                yield
        except lock.LockTakenError:
            hint = "wait for it, or end it"
            raise UsageError(f"{self.tree.root}: another q8a8-patch is at work on it", hint=hint) from None
        finally:
            if self._root is not None:
                self._root.close()
                self._root = None

    @property
    def pending(self) -> Record | None:
        """A transaction that was begun and not finished; None too for one that isn't ours."""
        return self._read(self._state, "pending")

    @property
    def applied(self) -> list[Record]:
        """The finished transactions, oldest first, as far as they are ours."""
        folder = self._applied()
        if folder is None:
            return []
        with folder:
            found = [self._read(folder, name) for name in folder.names() if name.isdigit()]
        return [record for record in found if record is not None]

    @property
    def strangers(self) -> list[Path]:
        """Records that this user's q8a8-patch did not make. They are not believed, and not touched."""
        found = []
        if self._state is not None and self._state.file_type("pending") is not None and self.pending is None:
            found.append(self._state.path / "pending")
        folder = self._applied()
        if folder is not None:
            with folder:
                names = [name for name in folder.names() if self._read(folder, name) is None]
            found += [folder.path / name for name in names]
        return found

    def _applied(self) -> Folder | None:
        if self._state is None or self._state.file_type("applied") is None:
            return None
        return self._state.enter("applied")

    def _read(self, folder: Folder | None, name: str) -> Record | None:
        if folder is None or folder.file_type(name) is None:
            return None
        try:
            return records.read(folder.enter(name), name)
        except OSError as why:
            raise refused(folder.path / name, why, what="read") from why

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

    def begin(self, files: Sequence[tuple[Entry, bytes | None]], facts: Facts) -> Record:
        """Write down what is about to happen, and every file as it is now, and make it durable.

        Raises OSError, :class:`UsageError` where there is a pending record that isn't ours.
        """
        self.refuse_strange_pending()
        draft = f"draft-{facts.token}"
        folder = self.state.enter(draft, make=0o700)
        try:
            record = records.write(folder, "pending", files, facts)
            self.state.rename(draft, "pending")
        except BaseException:
            self._discard(self.state, draft)
            raise
        self.state.sync()
        return record

    def refuse_strange_pending(self) -> None:
        """Raise :class:`UsageError` where the tree is between two states of somebody else's making."""
        if self.state.file_type("pending") is not None and self.pending is None:
            raise UsageError(
                f"{self.state.path / 'pending'}: is of a run that was cut off, and not of this user's",
                hint="look at the tree, put right what is half done (git can), then remove that folder",
            )

    def finish(self, record: Record) -> None:
        """Make a pending transaction one that has happened: an applied one, or one that takes others back."""
        if record.facts.undoes:
            self.drop(record)
            return
        with self.state.enter("applied", make=0o700) as applied:
            numbers = [int(name) for name in applied.names() if name.isdigit()]
            self.state.move("pending", applied, f"{max(numbers, default=0) + 1:04d}")
            applied.sync()
        self.state.sync()

    def drop(self, record: Record) -> None:
        """Forget the pending transaction and what it undoes, in one step; what is left over then is swept."""
        self.state.rename("pending", f"done-{record.facts.token}")
        self.state.sync()
        self._sweep()

    def forget(self, names: Sequence[str]) -> None:
        """Drop applied records by name: what they tell of is not there any more."""
        folder = self._applied()
        if folder is None:
            return
        with folder:
            for name in names:
                # no record that is read has that name, and a draft is removed without being looked into
                folder.move(name, self.state, f"draft-{new_token()}")
        self.state.sync()
        self._sweep()

    def undone(self, record: Record) -> None:
        """Forget the pending transaction because it was taken back: what it was to undo stays."""
        # no record that is read has that name, and a draft is removed without being looked into
        self.state.rename("pending", f"draft-{record.facts.token}")
        self.state.sync()
        self._sweep()

    def _sweep(self) -> None:
        """Remove what is over: of ours, by name and seal, and only what we put there."""
        for name in self.state.names():
            found = _LEFT.fullmatch(name)
            if found is None or self.state.file_type(name) != stat.S_IFDIR:
                continue
            if found[1] == "done":
                record = self._read(self.state, name)
                folder = self._applied() if record is not None else None
                if record is not None and folder is not None:
                    with folder:
                        for number in record.facts.undoes:
                            self._discard(folder, number)
            self._discard(self.state, name)

    def _discard(self, within: Folder, name: str) -> None:
        """Remove a record's folder, the record last: until then it can be read for what else is to go."""
        if within.file_type(name) is None:
            return
        with within.enter(name) as folder:
            for part in sorted(folder.names(), key=lambda part: part == records.FILE):
                if _PART.fullmatch(part):
                    folder.remove(part)
        within.remove_folder(name)


def _locked(folder: Folder | None) -> Folder:
    if folder is None:
        raise RuntimeError("a journal is written without its lock")
    return folder


def new_token() -> str:
    """What a transaction's drafts are called by: nobody can know it before."""
    return secrets.token_hex(16)


def require_free(journal: Journal, changes: Sequence[tuple[Entry, bytes | None]]) -> None:
    """Raise where something else than a file lies in a file's place, before anything is written."""
    for entry, _ in changes:
        try:
            with journal.root.parent_of(entry.path) as (folder, name):
                found = folder.file_type(name)
        except FileNotFoundError:
            continue
        if found not in (None, stat.S_IFREG):
            what = (
                "a symbolic link"
                if found == stat.S_IFLNK
                else "a folder"
                if found == stat.S_IFDIR
                else "no file"
            )
            raise TreeChangedError(
                f"{journal.tree.root / entry.path}: looked for a file or nothing, found {what}",
                hint="nothing was written; move it out of the way",
            )


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
