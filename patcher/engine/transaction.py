"""Writes a plan all or nothing, and takes it back to the byte."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from patcher.base.errors import TreeChangedError, UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.engine.checkout import require_checked_out, require_no_merge
from patcher.engine.journal import Journal
from patcher.engine.layout import require_tree
from patcher.engine.patchset import PatchSet
from patcher.engine.plan import FilePlan, Plan, State
from patcher.engine.planning import make_plan
from patcher.engine.recording import decided, recorded, taken_out
from patcher.engine.records import Entry, Record, digest
from patcher.engine.step import Change, recover, take
from patcher.engine.tree import WorkTree
from patcher.engine.tree_record import PLACE


@dataclass(frozen=True)
class Applied:
    """What an apply did. ``written`` is empty where all was there already."""

    plan: Plan
    written: tuple[str, ...]


def apply(
    tree: WorkTree, patchset: PatchSet, *, dry_run: bool = False, reporter: Reporter = SILENT
) -> Applied:
    """Plan and write, all or nothing.

    Raises :class:`ConflictError` where an edit can't be placed (nothing is written then),
    :class:`TreeChangedError` where a file changes between planning and writing.
    """
    require_tree(tree)
    journal = Journal(tree)
    if dry_run:
        plan = observed(tree, patchset, reporter)
        plan.require_clean()
        return Applied(plan, ())
    with journal.lock():
        heal(journal, reporter)
        _set_aside(journal, reporter)
        require_no_merge(tree, patchset)
        require_checked_out(tree, patchset)
        plan = make_plan(tree, patchset, reporter)
        plan.require_clean()
        record = recorded(tree, plan, decided(patchset, plan, reporter))
        files = (*plan.files, *([record] if record is not None else []))
        if files:
            take(journal, [change_of(file) for file in files], plan.patchset.name)
        plan = mark_ours(plan, journal)
    return Applied(plan, tuple(file.path for file in plan.files))


def change_of(file: FilePlan) -> Change:
    """What a conflict-free plan does to one of its files."""
    cuts = tuple((edit, cut.start, cut.end, cut.text) for edit, cut in file.splices)
    return Change(file.path, None if file.is_new else file.before, file.after(), cuts)


def heal(journal: Journal, reporter: Reporter = SILENT) -> None:
    """Undo what an interrupted run left; every command that writes begins with this, under the lock."""
    tell_strangers(journal, reporter)
    done = recover(journal)
    if done is not None:
        reporter.warn(done)


def observed(tree: WorkTree, patchset: PatchSet, reporter: Reporter = SILENT) -> Plan:
    """The plan of a tree as it is, with what we wrote ourselves told apart; for commands that only look.

    Nothing is healed by looking: what an interrupted run left is told.
    """
    require_checked_out(tree, patchset)
    journal = Journal(tree)
    tell_strangers(journal, reporter)
    if journal.pending is not None:
        reporter.warn(
            f"{tree.root}: a run was cut off (or is at work), and the tree is between two states;"
            " 'q8a8-patch apply' or 'revert' puts it back first"
        )
    return mark_ours(make_plan(tree, patchset, reporter), journal)


def tell_strangers(journal: Journal, reporter: Reporter) -> None:
    """Warn of records that this user did not make: those of a tree that was copied, unpacked or sent."""
    found = journal.strangers
    if found:
        what = f"{found[0]}" if len(found) == 1 else f"{found[0].parent}: {len(found)} records"
        reporter.warn(
            f"{what}: made by another user or on another machine, so not believed; git can go back instead"
        )


def mark_ours(plan: Plan, journal: Journal) -> Plan:
    """The plan with :attr:`State.APPLIED` for edits that the journal knows as ours."""
    ours = {
        edit
        for record in journal.applied
        if record.type_name == plan.patchset.name
        for entry in record.entries
        for edit in entry.edits
    }
    written = {edit.edit.id for edit in plan.missing} & ours
    edits = []
    for edit in plan.edits:
        if edit.edit.id in written and edit.state is State.MISSING:
            edits.append(replace(edit, detail=edit.detail.replace("to add", "added", 1)))
        elif edit.edit.id in ours and edit.state is State.PRESENT:
            edits.append(replace(edit, state=State.APPLIED))
        else:
            edits.append(edit)
    return replace(plan, edits=tuple(edits))


@dataclass(frozen=True)
class Reverted:
    """What a revert did."""

    files: tuple[str, ...]
    transactions: int
    types: tuple[str, ...]  # whose edits were taken away, by name


def revert(tree: WorkTree, type_name: str | None = None, *, reporter: Reporter = SILENT) -> Reverted:
    """Undo every recorded apply, or those of the type ``type_name``, newest first, to the byte.

    What the user has changed elsewhere in the same files survives. Raises :class:`TreeChangedError`,
    before anything is written, where a region that we wrote was edited since, or another type was
    applied to the same files later; :class:`UsageError` where there is no record of an apply.
    """
    journal = Journal(tree)
    with journal.lock():
        heal(journal, reporter)
        records = _of(type_name, journal.applied, tree)
        contents: dict[str, bytes | None] = {}
        edited: list[str] = []
        gone: list[str] = []
        for record in reversed(records):
            for number, entry in enumerate(record.entries):
                now = contents[entry.path] if entry.path in contents else tree.read(entry.path)
                undone, meets = _without(now, record.after(number), record.before(number))
                if not meets:
                    contents[entry.path] = undone
                elif entry.path == PLACE:
                    contents[entry.path] = taken_out(tree, [one.type_name for one in records])
                elif is_gone(tree, entry, now, taken=entry.path in contents):
                    gone.append(entry.path)
                elif (taken := _texts_out(now, entry, record.before(number))) is not None:
                    contents[entry.path] = taken
                else:
                    edited.append(f"{entry.path} ({', '.join(entry.edits)})")
        if edited:
            raise TreeChangedError(
                f"{tree.root}: edited since the apply, where we wrote: {'; '.join(edited)}",
                hint="nothing was reverted; take those changes back, or undo ours there by hand",
            )
        if gone:
            reporter.warn(
                f"{tree.root}: {', '.join(gone[:3])}{', ...' * (len(gone) > 3)}: nothing of what was recorded"
                " is there (was another commit checked out?), so that they stay as they are"
            )
        changes = [Change(path, tree.read(path), data) for path, data in contents.items()]
        take(
            journal,
            changes,
            records[-1].type_name,
            undoes=[record.name for record in records],
            folders=list(dict.fromkeys(name for record in records for name in record.facts.folders)),
        )
    return Reverted(tuple(contents), len(records), tuple(dict.fromkeys(one.type_name for one in records)))


def _of(type_name: str | None, records: list[Record], tree: WorkTree) -> list[Record]:
    """The records of the type ``type_name`` (of every one where None), as far as they can be taken away now.

    Types stand side by side in the same places, and the number of types depends on all of them: one that
    was applied later goes first.
    """
    mine = [record for record in records if type_name in (None, record.type_name)]
    if not mine:
        of = f" of {type_name}" if type_name is not None else ""
        others = ", ".join(dict.fromkeys(record.type_name for record in records))
        hint = f"there are of: {others}" if others else "patched elsewhere, or copied? go back with git"
        raise UsageError(f"{tree.root}: looked for a record of an apply{of}, found none", hint=hint)
    files = {entry.path for record in mine for entry in record.entries}
    above = records[records.index(mine[0]) :]
    later = [
        record for record in above if record not in mine and files & {one.path for one in record.entries}
    ]
    if later:
        shared = files & {entry.path for record in later for entry in record.entries}
        names = ", ".join(dict.fromkeys(record.type_name for record in later))
        raise TreeChangedError(
            f"{tree.root}: {names} was applied after {type_name}, to {len(shared)} of the same files",
            hint=f"revert {names} first, or every type at once (without --type); nothing was reverted",
        )
    return mine


def _without(now: bytes | None, after: bytes, before: bytes | None) -> tuple[bytes | None, bool]:
    """``now`` with the change ``before`` -> ``after`` taken out, and whether the two meet.

    None stands for a file that isn't there. One that we added and that was edited since is the user's too.
    """
    if now in (after, before):
        return before, False
    if now is None or before is None:
        return None, True
    from patcher import git

    merged = git.merge(now, base=after, other=before)
    return merged, merged is None


def is_gone(tree: WorkTree, entry: Entry, now: bytes | None, *, taken: bool = False) -> bool:
    """Whether a file holds nothing of what the record says was written: git has put another one there, or a
    later record of the same edits was ``taken`` back already.

    Where the file differs from what is committed, a hand has changed it, and that is for the user to know.
    """
    if now is None:
        return True
    if any(text.strip() in now for _, _, _, text in entry.cuts if text.strip()):
        return False
    if taken:
        return True
    from patcher import git

    top = git.find_toplevel(tree.root)
    if top is None or git.head(top) is None:
        return False
    return git.read_file(top, "HEAD", git.prefix(top, tree.root) + entry.path) == now


def _texts_out(now: bytes | None, entry: Entry, before: bytes | None) -> bytes | None:
    """``now`` without our texts, byte for byte, where each stands there as often as we wrote it; else None.

    For a file that git has merged with a newer one: what is around our texts has changed, they haven't.
    """
    if now is None or before is None:
        return None
    written = Counter((text, before[start:end]) for _, start, end, text in entry.cuts)
    for (text, was), count in sorted(written.items(), key=lambda item: -len(item[0][0])):
        if not text.strip() or now.count(text) != count:
            return None
        now = now.replace(text, was)
    return now


def _set_aside(journal: Journal, reporter: Reporter) -> None:
    """Forget the records of which nothing is in the tree any more: git went back, or to another commit."""
    tree = journal.tree
    stale = [
        record.name
        for record in journal.applied
        if all(
            digest(now := tree.read(entry.path)) != entry.after and is_gone(tree, entry, now)
            for entry in record.entries
        )
    ]
    if stale:
        journal.forget(stale)
        reporter.note(
            f"{tree.root}: the record of an apply was set aside: nothing of it is in the tree any more"
        )


def tree_at(path: Path) -> WorkTree:
    """The work tree at ``path``, which has to be a llama.cpp checkout (:class:`UsageError` if not)."""
    tree = WorkTree(path)
    require_tree(tree)
    return tree


def explain(root: Path, path: Path, line: int) -> str | None:
    """Which of our edits stands at ``line`` of ``path`` in the checkout ``root``: for build errors."""
    root, path = root.resolve(), path.resolve()
    if not path.is_relative_to(root):
        return None
    edit = Journal(WorkTree(root)).edit_at(path.relative_to(root).as_posix(), line)
    return f"our edit '{edit}' stands there" if edit is not None else None
