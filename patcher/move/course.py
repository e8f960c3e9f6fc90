"""What a move has to do, all of it known before anything is done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from patcher import git
from patcher.base.errors import TreeChangedError, UsageError
from patcher.base.progress import Reporter
from patcher.base.units import how_many
from patcher.engine import commit as committing
from patcher.engine import settled
from patcher.engine.journal import Journal
from patcher.engine.layout import require_tree
from patcher.engine.patchset import PatchSet
from patcher.engine.planning import make_plan
from patcher.engine.records import digest
from patcher.engine.tree import WorkTree
from patcher.git import changes
from patcher.git.changes import Written
from patcher.git.contents import Contents, Objects
from patcher.move.replay import Own, own_commits, stripped_changes
from patcher.move.stripping import Stripping


@dataclass(frozen=True)
class Course:
    """The commits to carry, from which release to which, and how the tree has the type."""

    objects: Objects
    prefix: str
    old: str
    base: str
    branch: str | None
    patchset: PatchSet
    carried: str  # how the old state has the type: "committed", "uncommitted" or ""
    own: tuple[Own, ...]
    parents: tuple[str, ...] | None  # of the one commit that a merge ends in


def planned(tree: WorkTree, ref: str, patchset: PatchSet, base: str | None, reporter: Reporter) -> Course:
    """The course of ``tree`` to the commit ``ref``. Raises as :func:`patcher.move.move` says."""
    require_tree(tree)
    top = top_of(tree)
    prefix = git.prefix(top, tree.root)
    old = git.resolve(top, "HEAD")
    doing = changes.operation(top)
    if doing == "bisect":
        raise UsageError(f"{top}: a bisect is in progress", hint="'git bisect reset' ends it")
    if doing is not None or changes.unmerged(top):
        raise UsageError(
            f"{top}: a {doing or 'merge'} is in progress",
            hint="'q8a8-patch move' without a release settles the type's own conflicts in it",
        )
    new_base = git.resolve(top, ref)
    old_base = _old_base(top, old, new_base, base) if new_base != old else old
    if old_base == new_base:
        raise UsageError(
            f"{tree.root}: looked for another release to move to, found that {ref} is the one that it is on",
            hint="nothing has to move; 'git fetch --tags' gets newer releases",
        )
    objects = Objects(top)
    there = Contents(objects, old, prefix)
    patchset = settled.remembered(patchset, there)
    row = changes.branch_commits(top, old_base, old)
    ours = [(one.id, one.parents[0]) for one in row if committing.is_ours(one.message, patchset.name)]
    carried = _carried(tree, there, patchset, top, prefix, reporter)
    if carried != "committed":
        ours = []
    stripping = Stripping(objects, prefix, patchset, old_base, ours)
    merges = [one for one in row if len(one.parents) > 1]
    if merges and changes.merge_base(top, old, new_base) == new_base:
        raise UsageError(
            f"{top}: the branch holds merges, such as {merges[-1].id[:12]}, so it can't go back to {ref}",
            hint=f"'git checkout -b NEW {ref}', 'git cherry-pick' what is yours, and apply",
        )
    if merges:  # a row that holds merges can't be told again commit by commit: its sum is merged once more
        sum_ = stripped_changes(top, old_base, old, stripping)
        message = f"Merge {ref} into {(changes.branch(top) or old[:12]).removeprefix('refs/heads/')}\n"
        whole = Own(Written(old, (old_base,), changes.read_commit(top, old).author, message.encode()), sum_)
        return Course(
            objects, prefix, old, new_base, changes.branch(top), patchset, carried, (whole,), (old, new_base)
        )
    signed = sum(one.is_signed for one in row if not committing.is_ours(one.message, patchset.name))
    if signed:
        reporter.warn(f"{top}: {how_many(signed, 'signature')} can't come along: sign those commits again")
    own = tuple(own_commits(top, row, stripping))
    return Course(objects, prefix, old, new_base, changes.branch(top), patchset, carried, own, None)


def top_of(tree: WorkTree) -> Path:
    """The repository that ``tree`` lies in. Raises :class:`UsageError` where there is none with a commit."""
    top = git.find_toplevel(tree.root)
    if top is None or git.head(top) is None:
        raise UsageError(
            f"{tree.root}: looked for a git checkout with a commit, found none",
            hint="commit what is there, or name both releases of a copy: q8a8-patch move NEW TREE --base OLD",
        )
    return top


def _old_base(top: Path, old: str, new: str, named: str | None) -> str:
    """The commit that the branch grew from: named, shared with the new one, or recorded by fetch."""
    if named is not None:
        return git.resolve(top, named)
    recorded = git.base(top)
    found = changes.merge_base(top, old, new) or recorded
    if found == new:  # an older release, or the one that it is on
        is_known = recorded is not None and changes.merge_base(top, recorded, old) == recorded
        if not is_known or recorded is None or changes.merge_base(top, recorded, new) != new:
            raise UsageError(
                f"{top}: {new[:12]} is in the history of {old[:12]}, which doesn't tell your own commits from"
                " upstream's",
                hint="--base names the release that you are on; where it is this one, nothing has to move",
            )
        return recorded
    if found is None:
        raise UsageError(
            f"{top}: looked for the release that {old[:12]} grew from, found none: it has no commit in common"
            f" with {new[:12]}",
            hint="name it with --base",
        )
    return found


def _carried(
    tree: WorkTree, there: Contents, patchset: PatchSet, top: Path, prefix: str, reporter: Reporter
) -> str:
    """How the tree has the type. Raises :class:`TreeChangedError` for changes that aren't committed."""
    records = [one for one in Journal(tree).applied if one.type_name == patchset.name]
    written = {entry.path: entry.after for record in records for entry in record.entries}
    dirty = git.is_dirty(top, untracked=False)
    loose = [path for path in git.is_dirty(top) if path.removeprefix(prefix) in written]
    for path in dict.fromkeys((*dirty, *loose)):
        below = path.removeprefix(prefix)
        if not path.startswith(prefix) or digest(tree.read(below)) != written.get(below, "-"):
            raise TreeChangedError(
                f"{top}: {path} has changes that aren't committed", hint="commit or stash them, then move"
            )
    if loose:
        return "uncommitted"
    plan = make_plan(there, patchset, reporter)
    return "committed" if len(plan.missing) < len(plan.edits) // 2 else ""
