"""A merge, rebase or stash that stopped in the type's own lines, settled: upstream's side, then the type.

Both sides are merged without the type; the type's edits are then put in as into any tree. What is left
unmerged after that is the user's own to settle.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from patcher import git
from patcher.base.errors import ConflictError, UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.engine import settled, transaction
from patcher.engine.commit import is_ours
from patcher.engine.patchset import PatchSet
from patcher.engine.planning import make_plan
from patcher.engine.tree import WorkTree
from patcher.engine.tree_record import PLACE
from patcher.git import changes, history
from patcher.git.changes import FileVersion
from patcher.git.contents import Contents, Objects
from patcher.git.repository import NoCommitError
from patcher.move.stripping import Stripping

_TRIED = 4  # bases in which the type is placed before HEAD is taken

_NEXT = {
    "merge": "git commit --no-edit",
    "rebase": "git rebase --continue",
    "am": "git am --continue",
    "cherry-pick": "git cherry-pick --continue",
    "revert": "git revert --continue",
}


@dataclass(frozen=True)
class Settled:
    """What was settled. Paths are from the top of the repository."""

    operation: str  # what git is in the middle of; "stash" where git doesn't say
    files: tuple[str, ...]  # settled and staged
    left: tuple[str, ...]  # unmerged still: both sides changed what isn't the type's
    applied: bool  # the type is in the tree
    next: str  # the command that goes on


def settle(tree: WorkTree, patchset: PatchSet, *, reporter: Reporter = SILENT) -> Settled:
    """Settle what is unmerged in ``tree`` because of the type; apply the type where nothing is left.

    Raises :class:`UsageError` where nothing is unmerged, :class:`ConflictError` where the type can't be
    placed.
    """
    top = git.find_toplevel(tree.root)
    sides = changes.unmerged(top) if top is not None else {}
    if top is None or not sides:
        raise UsageError(
            f"{tree.root}: no merge is in progress here",
            hint="name the release to move to: q8a8-patch move REF",
        )
    prefix = git.prefix(top, tree.root)
    doing = changes.operation(top) or "stash"
    if doing == "bisect":
        doing = "stash"  # what is unmerged while one looks for a commit comes of something else
    if doing == "revert" and is_ours(changes.read_commit(top, "REVERT_HEAD").message, patchset.name):
        raise UsageError(
            f"{top}: git is taking back the commit that put {patchset.type.upper} in",
            hint="'git revert --abort', then 'q8a8-patch revert' and a commit take it out",
        )
    objects = Objects(top)
    stripping = _stripping(
        objects, prefix, settled.remembered(patchset, Contents(objects, "HEAD", prefix)), doing, sides
    )
    done: dict[str, FileVersion | None] = {}
    for path, stages in sides.items():
        try:
            first, ours, theirs = (stripping.version(path, stages.get(number)) for number in (1, 2, 3))
        except ConflictError as why:
            reporter.warn(str(why))
            continue
        merged, is_settled = _merged(objects, first, ours, theirs)
        if is_settled:
            done[path] = merged
    objects.keep(done)
    changes.stage(top, done)
    changes.check_out_paths(top, list(done))
    left = tuple(path for path in sides if path not in done)
    if left:
        return Settled(
            doing, tuple(done), left, False, f"settle {left[0]}, 'git add' it, then 'q8a8-patch apply'"
        )
    applied = transaction.apply(tree, settled.remembered(patchset, tree), reporter=reporter)
    changes.stage_files(top, [prefix + path for path in (*applied.written, PLACE)])
    return Settled(doing, tuple(done), (), True, _NEXT.get(doing, "git stash drop"))


def _bases(top: Path, doing: str, sides: dict[str, dict[int, FileVersion]]) -> Iterator[str]:
    """Commits that both sides may have grown from: what git says of it, else those that it was at before.

    A stash, ``checkout -m`` or ``rebase --autostash`` says nothing, but each file's base side is a commit's.
    """
    if doing == "merge":
        found = changes.merge_base(top, "HEAD", "MERGE_HEAD")
        yield from [found] if found is not None else []
    if doing in ("rebase", "cherry-pick"):
        with suppress(NoCommitError):
            name = "REBASE_HEAD" if doing == "rebase" else "CHERRY_PICK_HEAD"
            yield from changes.read_commit(top, git.resolve(top, name)).parents[:1]
    if doing == "revert":
        with suppress(NoCommitError):
            yield git.resolve(top, "REVERT_HEAD")
    firsts = {path: stages[1] for path, stages in sides.items() if 1 in stages}
    for commit in history.logged(top):
        there = git.entries(top, commit)
        if all(there.get(path) == (first.mode, first.blob) for path, first in firsts.items()):
            yield commit


def _stripping(
    objects: Objects,
    prefix: str,
    patchset: PatchSet,
    doing: str,
    sides: dict[str, dict[int, FileVersion]],
) -> Stripping:
    """Pairs for what is unmerged: of the first base in which the type can be placed, else of HEAD with each
    file's base side."""
    for base in islice(_bases(objects.repo, doing, sides), _TRIED):
        if not make_plan(Contents(objects, base, prefix), patchset).conflicts:
            return Stripping(objects, prefix, patchset, base)
    over = {path: stages.get(1) for path, stages in sides.items()}
    return Stripping(objects, prefix, patchset, "HEAD", over=over)


def _merged(
    objects: Objects, base: FileVersion | None, ours: FileVersion | None, theirs: FileVersion | None
) -> tuple[FileVersion | None, bool]:
    if ours == theirs or theirs == base:
        return ours, True
    if ours == base:
        return theirs, True
    if (
        base is None
        or ours is None
        or theirs is None
        or not (ours.is_file and theirs.is_file and base.is_file)
    ):
        return None, False
    read = objects.read
    data = git.merge(read(ours) or b"", base=read(base) or b"", other=read(theirs) or b"")
    return objects.made(data, ours), data is not None
