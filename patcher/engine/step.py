"""One step of a tree from one state to another: every file of it, or none.

First the record is on the disk, then every draft beside its file (here a full disk shows, with nothing
changed), then the drafts are renamed, by handles of their folders. Signals wait meanwhile. What fails is
taken back; what was cut off is taken back by the next command that writes, from what is on the disk alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from patcher.base import interrupt
from patcher.base.bounded import MAX_FILE
from patcher.base.errors import PatcherError, TreeChangedError
from patcher.base.folder import Folder
from patcher.base.os_errors import reason, refused
from patcher.engine.journal import Journal, new_token, require_free
from patcher.engine.records import Entry, Facts, Record, digest


@dataclass(frozen=True)
class Change:
    """One file: what it was, what it is to be; None where it isn't there."""

    path: str
    before: bytes | None
    after: bytes | None
    cuts: tuple[tuple[str, int, int, bytes], ...] = ()
    executable: bool | None = None  # None: as it is

    @property
    def entry(self) -> Entry:
        """How the journal keeps it."""
        return Entry(self.path, digest(self.before), digest(self.after), self.cuts)


def take(
    journal: Journal,
    changes: Sequence[Change],
    type_name: str,
    *,
    undoes: Sequence[str] = (),
    folders: Sequence[str] = (),
    forget: bool = False,
) -> None:
    """Make every change. The journal's lock is held.

    ``type_name`` is the type whose edits are written or taken away, ``undoes`` names the records that this
    takes back, ``folders`` those that such records made (they go where nothing is left in them).
    With ``forget`` nothing is kept to take this back with.
    Raises :class:`TreeChangedError` where a file changed since it was looked at, or can't be written; it says
    what the tree is then.
    """
    from patcher import __version__

    entries = [(change.entry, change.before) for change in changes]
    with interrupt.held() as hold:
        require_free(journal, entries)
        made = [*folders, *(name for name in _missing(journal.root, changes) if name not in folders)]
        facts = Facts(type_name, new_token(), tuple(made), tuple(undoes), f"q8a8-patch {__version__}")
        try:
            record = journal.begin(entries, facts)
        except OSError as why:
            raise refused(journal.place.path, why, failure=TreeChangedError) from why
        try:
            _carry_out(journal, record, changes, hold)
            if forget:
                journal.drop(record)
            else:
                journal.finish(record)
        except BaseException as why:
            if isinstance(why, OSError) and journal.pending is None:
                return  # it has happened: what could not be swept is, by the next command
            _take_back(journal, record, why)
            if isinstance(why, OSError):
                raise refused(journal.place.path, why, failure=TreeChangedError) from why
            raise


def _carry_out(journal: Journal, record: Record, changes: Sequence[Change], hold: interrupt.Hold) -> None:
    place = ""
    touched: set[str] = set()
    try:
        for number, change in enumerate(changes):
            place = change.path
            if change.after is not None:
                with journal.root.parent_of(place, make=0o777) as (folder, name):
                    like = folder.look(name) if folder.file_type(name) is not None else None
                    if change.executable is not None:
                        mode = 0o777 if change.executable else 0o666
                        folder.create(record.draft(number), change.after, mode=mode)
                    else:
                        folder.create(record.draft(number), change.after, like=like)
            hold.check()
        for number, change in enumerate(changes):
            place = change.path
            touched.add(place.rpartition("/")[0])
            if not _swap(journal.root, record, number, change.before, change.after):
                raise TreeChangedError(
                    f"{place}: changed while the plan was made", hint="nothing was kept; run it again"
                )
            hold.check()
        for place in sorted(_with_parents(touched)):
            with suppress(FileNotFoundError), journal.root.walk(_parts(place)) as folder:
                folder.sync()
        if record.facts.undoes:
            _clear_folders(journal.root, record)
    except OSError as why:
        raise refused(journal.tree.root / place, why, failure=TreeChangedError) from why


def _swap(root: Folder, record: Record, number: int, before: bytes | None, after: bytes | None) -> bool:
    """Put the draft in the place of the file, or take the file away; False where it isn't as it was."""
    path = record.entries[number].path
    try:
        with root.parent_of(path) as (folder, name):
            if folder.read(name, MAX_FILE + 1) != before:
                return False
            if after is None:
                folder.remove(name)
            else:
                folder.rename(record.draft(number), name)
    except FileNotFoundError:
        return before is None and after is None  # its folder is gone, or was never there
    return True


def _take_back(journal: Journal, record: Record, why: BaseException) -> None:
    """Undo what was done of ``record``. Raises :class:`TreeChangedError` where that fails, too."""
    try:
        undo(journal, record, others_stay=True)
    except (OSError, PatcherError) as again:
        done, said = (
            _count_written(journal, record),
            reason(again) if isinstance(again, OSError) else str(again),
        )
        first = reason(why) if isinstance(why, OSError) else str(why) or "interrupted"
        raise TreeChangedError(
            f"{first}; and what was written could not be taken back ({said}): {journal.tree.root} is between"
            f" two states, with {done} of {len(record.entries)} files written",
            hint="the next 'q8a8-patch apply' or 'revert' puts them back",
        ) from why


def _count_written(journal: Journal, record: Record) -> int:
    written = 0
    for entry in record.entries:
        with suppress(OSError, PatcherError):
            written += _now(journal.root, entry.path) == entry.after != entry.before
    return written


def recover(journal: Journal) -> str | None:
    """Undo a transaction that was cut off. Returns what was done, None where nothing was to do.

    Raises :class:`TreeChangedError` where a file is neither as it was before nor as it was to be,
    :class:`UsageError` where the one that was cut off was another user's.
    """
    journal.refuse_strange_pending()
    record = journal.pending
    if record is None:
        return None
    with interrupt.held():
        try:
            written = undo(journal, record)
        except OSError as why:
            raise refused(journal.tree.root, why, what="put back", failure=TreeChangedError) from why
    return f"an interrupted run was undone: {written} of {len(record.entries)} files had been written"


def undo(journal: Journal, record: Record, *, others_stay: bool = False) -> int:
    """Put every file of a pending ``record`` back, and forget it; how many had been written.

    A file that is neither as it was nor as it was to be is somebody else's: it stays (``others_stay``), or
    raises :class:`TreeChangedError` before anything is written.
    """
    back, failed = [], None
    for number, entry in enumerate(record.entries):
        try:
            with suppress(FileNotFoundError), journal.root.parent_of(entry.path) as (folder, _):
                folder.remove(record.draft(number))
            now = _now(journal.root, entry.path)
        except (OSError, PatcherError) as why:
            if not others_stay:
                raise
            failed = failed or why  # the others go back all the same
            continue
        if now == entry.after != entry.before:
            back.append(number)
        elif now != entry.before and not others_stay:
            hint = (
                f"before and after lie in {record.folder.path}; put one of them back, then remove that folder"
            )
            raise TreeChangedError(
                f"{entry.path}: changed by another hand after an interrupted run", hint=hint
            )
    for number in back:
        try:
            _put_back(journal.root, record, number)
        except (OSError, PatcherError) as why:
            if not others_stay:
                raise
            failed = failed or why
    if failed is not None:
        raise failed
    if not record.facts.undoes:
        _clear_folders(journal.root, record)
    journal.undone(record)
    return len(back)


def _put_back(root: Folder, record: Record, number: int) -> None:
    entry, before = record.entries[number], record.before(number)
    with root.parent_of(entry.path, make=0o777) as (folder, name):
        if before is None:
            folder.remove(name)
        else:
            like = folder.look(name) if folder.file_type(name) is not None else None
            folder.create(record.draft(number), before, like=like)
            folder.rename(record.draft(number), name)
        folder.sync()


def _now(root: Folder, path: str) -> str:
    try:
        with root.parent_of(path) as (folder, name):
            return digest(folder.read(name, MAX_FILE + 1))
    except FileNotFoundError:
        return ""


def _clear_folders(root: Folder, record: Record) -> None:
    """Remove the folders that we made and in which nothing is, innermost first."""
    for path in sorted(record.facts.folders, key=lambda path: path.count("/"), reverse=True):
        with suppress(FileNotFoundError), root.parent_of(path) as (folder, name):
            folder.remove_folder(name)
            folder.sync()


def _missing(root: Folder, changes: Sequence[Change]) -> list[str]:
    """The folders that have to be made, outermost first."""
    found: list[str] = []
    for change in changes:
        names = change.path.split("/")[:-1]
        for count in range(1, len(names) + 1):
            path = "/".join(names[:count])
            try:
                with root.walk(names[:count]):
                    pass
            except FileNotFoundError:
                if path not in found:
                    found.append(path)
    return found


def _with_parents(folders: set[str]) -> set[str]:
    """The folders and all around them: one that is new is a name in its parent."""
    return {"/".join(_parts(path)[:count]) for path in folders for count in range(len(_parts(path)) + 1)}


def _parts(path: str) -> list[str]:
    return path.split("/") if path else []
