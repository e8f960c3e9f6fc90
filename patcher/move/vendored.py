"""A copy of llama.cpp that has no history, moved to another release: three sides of every file.

Such a copy lies in a project's own repository, or in none: the old release, the new one and the copy are
merged file by file, the type taken out of the copy first and put in again afterwards.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from patcher import git
from patcher.base.bounded import MAX_FILE
from patcher.base.errors import ConflictError, TreeChangedError
from patcher.base.progress import SILENT, Reporter
from patcher.engine import retired, settled, step, transaction, tree_record
from patcher.engine.journal import Journal
from patcher.engine.layout import require_tree
from patcher.engine.older import brought_up
from patcher.engine.patchset import PatchSet
from patcher.engine.plan import Plan
from patcher.engine.planning import make_plan
from patcher.engine.tree import CommitTree, Overlaid, WorkTree
from patcher.engine.tree_record import PLACE
from patcher.git.objects import TooLongBlobError
from patcher.move.stripping import holds, taken_out
from patcher.source import fetch


@dataclass(frozen=True)
class Renewed:
    """What a move of a copy did, or would do."""

    release: str
    files: tuple[str, ...]  # that changed
    plan: Plan  # of the type on the new release


def move(
    tree: WorkTree,
    source: str,
    base: str,
    patchset: PatchSet,
    *,
    dry_run: bool = False,
    reporter: Reporter = SILENT,
) -> Renewed:
    """Bring the copy ``tree``, which grew from the source ``base``, to ``source`` (as ``fetch`` takes them).

    Files of the old release that the copy lacks stay away; new ones come where their folder is there.
    Raises :class:`ConflictError` where a change of the copy's own meets upstream's or the type can't be
    placed, nothing written then; :class:`SourceError` where a release can't be had.
    """
    require_tree(tree)
    with tempfile.TemporaryDirectory(prefix="q8a8-patch-") as folder:
        old = fetch(base, Path(folder) / "old", reporter=reporter)
        new = fetch(source, Path(folder) / "new", reporter=reporter)
        before, after = CommitTree(old.path, old.base), CommitTree(new.path, new.base)
        patchset = settled.remembered(patchset, tree)
        merged = _merged(tree, before, after, patchset, reporter)
        plan = make_plan(Overlaid(tree, merged), patchset, reporter)
        plan.require_clean()
        release = new.release or new.base[:12]
        merged[PLACE] = (
            tree_record.read(tree).with_type(patchset.name, None).text()
        )  # written by the apply anew
        changed = {path: data for path, data in merged.items() if tree.read(path, MAX_FILE) != data}
        if not dry_run:
            journal = Journal(tree)
            with journal.lock():
                transaction.heal(journal, reporter)
                records = [one.name for one in journal.applied if one.type_name == patchset.name]
                changes = [
                    step.Change(
                        path, tree.read(path, MAX_FILE), data, executable=_is_executable(before, after, path)
                    )
                    for path, data in changed.items()
                ]
                step.take(journal, changes, patchset.name, undoes=records, forget=True)
            plan = transaction.apply(tree, patchset, reporter=reporter).plan
    return Renewed(release, tuple(sorted(changed)), plan)


def _merged(
    tree: WorkTree, before: CommitTree, after: CommitTree, patchset: PatchSet, reporter: Reporter
) -> dict[str, bytes | None]:
    """Path -> what the copy's file is to be without the type; those that stay as they are without it, too."""
    carried = {
        file.path: (file.after(), None if file.is_new else file.before)
        for file in make_plan(before, patchset).files
    }
    found: dict[str, bytes | None] = {}
    meetings: list[str] = []
    blobs = [git.entries(one.repo, one.commit) for one in (before, after)]
    folders = {str(folder) for path in blobs[0] for folder in PurePosixPath(path).parents}
    changed = {path for path in {**blobs[0], **blobs[1]} if blobs[0].get(path) != blobs[1].get(path)}
    for path in sorted({*changed, *carried, *retired.files(patchset)} - {PLACE}):
        if any(not blob.get(path, ("100",))[0].startswith("100") for blob in blobs):
            reporter.warn(f"{path}: is a link or a submodule in one of the releases, and stays as it is")
            continue
        try:
            base, other = _content(before, blobs[0].get(path)), _content(after, blobs[1].get(path))
        except TooLongBlobError:
            reporter.warn(f"{path}: has more than {MAX_FILE >> 20} MB, and stays as it is: copy it by hand")
            continue
        mine = tree.read(path, MAX_FILE)
        if mine is not None and mine not in carried.get(path, ()):
            mine = retired.without(patchset, path, brought_up(patchset, tree, path, mine))
        if path in carried and mine is not None:
            mine = _without(mine, *carried[path], path)
        if mine is None and base is not None:
            found[path] = None  # the copy goes without it
        elif mine is None:
            found[path] = other if _wants(tree, path, folders) else None
        elif mine in (base, other):
            found[path] = other
        elif base == other:
            found[path] = mine
        elif base is None or other is None:
            meetings.append(path)
        else:
            data = git.merge(mine, base=base, other=other)
            found[path] = data
            meetings += [path] if data is None else []
    if meetings:
        names = "\n  ".join(meetings)
        raise ConflictError(
            f"{tree.root}: changed here and upstream in the same lines, nothing was written:\n  {names}",
            hint="take your changes of those lines out, move, and make them again",
        )
    return found


def _content(release: CommitTree, entry: tuple[str, str] | None) -> bytes | None:
    return git.read_blob(release.repo, entry[1], MAX_FILE) if entry is not None else None


def _is_executable(before: CommitTree, after: CommitTree, path: str) -> bool | None:
    """What the new release says, where it says something else than the old one."""
    old, new = (git.entries(one.repo, one.commit).get(path, ("",))[0] for one in (before, after))
    return new == "100755" if new and old != new else None


def _wants(tree: WorkTree, path: str, folders: set[str]) -> bool:
    """Whether a new file belongs to the copy: the folder of the old release that it comes into is there."""
    home = next(folder for folder in PurePosixPath(path).parents if str(folder) in folders)
    return (tree.root / home).is_dir()


def _without(mine: bytes, carried: bytes, stock: bytes | None, path: str) -> bytes | None:
    if mine in (carried, stock):
        return stock
    if stock is not None and not holds(mine, carried, stock):
        return mine
    merged = taken_out(mine, carried, stock) if stock is not None else None
    if merged is None:
        raise TreeChangedError(
            f"{path}: the type's own lines were changed since they were written",
            hint="take the type out of that file by hand, then move",
        )
    return merged
