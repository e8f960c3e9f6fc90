"""A tree with the type in it, moved to another release of upstream: the user's own commits stay.

The type is taken out of the branch's commits, what is left of them is done again on the new base, the type
is put in as today's edits say it: first in memory, where every conflict shows, and then in the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from patcher import git
from patcher.base.errors import PatcherError, UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.engine import commit as committing
from patcher.engine import settled, transaction
from patcher.engine.journal import Journal
from patcher.engine.patchset import PatchSet
from patcher.engine.plan import Plan
from patcher.engine.planning import make_plan
from patcher.engine.recording import decided, recorded
from patcher.engine.tree import WorkTree
from patcher.git import changes
from patcher.git.contents import Contents, Objects
from patcher.move import state
from patcher.move.course import Course, planned, top_of
from patcher.move.replay import Meeting, Own, Renames, marked, replay
from patcher.move.state import MoveState


@dataclass(frozen=True)
class Moved:
    """What a move did, or would do. Commits are full hashes."""

    tree: Path
    old: str
    base: str  # the release that it is on now
    new: str | None  # None: a dry run, or stopped
    own: tuple[str, ...]  # subjects of the user's commits
    plan: Plan | None = field(repr=False)  # of the type on the new base; None where it stopped before
    conflicts: tuple[str, ...] = ()  # files in which the user's commit and upstream meet
    stopped_at: str = ""  # the subject of that commit


def move(
    tree: WorkTree,
    ref: str,
    patchset: PatchSet,
    *,
    onto: str | None = None,
    base: str | None = None,
    dry_run: bool = False,
    reporter: Reporter = SILENT,
) -> Moved:
    """Bring ``tree`` to the commit ``ref``, with the user's own commits and the type.

    ``base`` is the commit that the branch grew from, where history doesn't tell; ``onto`` names a new branch
    for the result. Raises :class:`ConflictError` where the type can't be placed there (nothing is changed
    then), :class:`TreeChangedError` where there are changes that aren't committed, :class:`UsageError` for
    refs. Where a commit of the user's own meets upstream's changes it stops, as :attr:`Moved.conflicts` says.
    """
    course = planned(tree, ref, patchset, base, reporter)
    if onto is not None:
        _require_new_branch(course.objects.repo, onto)
    if dry_run:
        return _tried(tree, course, reporter)
    if state.read(tree) is not None:
        raise UsageError(
            f"{tree.root}: a move was begun and not ended", hint="'q8a8-patch move --continue' or '--abort'"
        )
    changes.require_identity(course.objects.repo)
    _tried(tree, course, reporter)  # raises where the type can't be placed
    stripped = _written_row(course)
    begun = MoveState(
        old=course.old, branch=course.branch, onto=onto, base=course.base, tip=course.base, rest=stripped,
        carried=course.carried, parents=list(course.parents or ()),
    )  # fmt: skip
    state.write(tree, begun)
    if course.carried == "uncommitted":
        done = transaction.revert(tree, course.patchset.name, reporter=reporter)
        stock = Contents(course.objects, course.old)  # what of the type is staged goes as well
        paths = [course.prefix + path for path in done.files]
        changes.stage(course.objects.repo, {path: stock.version(path) for path in paths})
    try:
        return _go_on(tree, begun, at=course.old, patchset=course.patchset, reporter=reporter)
    except PatcherError:
        abort(tree, patchset, reporter=reporter)
        raise


def go_on(tree: WorkTree, patchset: PatchSet, *, reporter: Reporter = SILENT) -> Moved:
    """Go on with a move that stopped or was cut off. Raises :class:`UsageError` where there is none, and
    where files are still unmerged."""
    begun = _begun(tree)
    top = top_of(tree)
    patchset = settled.remembered(patchset, Contents(Objects(top), begun.old, git.prefix(top, tree.root)))
    left = sorted(changes.unmerged(top))
    if left:
        raise UsageError(f"{top}: {left[0]} is unmerged", hint="settle it, 'git add' it, then --continue")
    tip, at = begun.tip, begun.tip
    if begun.stopped:
        written = changes.read_commit(top, begun.rest[0][1])
        tip = changes.commit_index(top, on=begun.tip, message=written.message, author=written.author)
        begun = begun.past_stop(tip)
        state.write(tree, begun)
        at = tip
    else:
        _take_back(tree, begun, patchset, reporter)
        changes.restore(top, begun.tip)  # it was cut off: the tree may be between two commits
    return _go_on(tree, begun, at=at, patchset=patchset, reporter=reporter)


def abort(tree: WorkTree, patchset: PatchSet, *, reporter: Reporter = SILENT) -> str:
    """Go back to where the move began; the commit. Raises :class:`UsageError` where there is none."""
    begun = _begun(tree)
    top = top_of(tree)
    _take_back(tree, begun, patchset, reporter)
    changes.restore(top, begun.old)
    _settle(top, begun.branch, begun.old)
    if begun.carried == "uncommitted":
        transaction.apply(tree, settled.remembered(patchset, tree), reporter=reporter)
    state.drop(tree)
    return begun.old


def _take_back(tree: WorkTree, begun: MoveState, patchset: PatchSet, reporter: Reporter) -> None:
    """Take the type out where a move that was cut off had not yet, was at it, or had just put it in again."""
    if begun.carried != "uncommitted":
        return
    journal = Journal(tree)
    with journal.lock():
        transaction.heal(journal, reporter)
    if any(record.type_name == patchset.name for record in Journal(tree).applied):
        transaction.revert(tree, patchset.name, reporter=reporter)


def _begun(tree: WorkTree) -> MoveState:
    begun = state.read(tree)
    if begun is None:
        raise UsageError(
            f"{tree.root}: looked for a move that was begun, found none",
            hint="there is nothing to go on with: name a release, q8a8-patch move REF",
        )
    return begun


def _tried(tree: WorkTree, course: Course, reporter: Reporter) -> Moved:
    """The whole course in memory. Raises :class:`ConflictError` where the type can't be placed."""
    contents = Contents(course.objects, course.base, course.prefix)
    subjects = tuple(own.written.subject for own in course.own)
    meetings: list[Meeting] = []
    stopped = ""
    start = course.own[0].written.parents[0] if course.own else course.base
    renames = Renames(course.objects.repo, start, course.base)
    for own in course.own:
        found = replay(contents, own, renames)
        meetings += found
        stopped = stopped or (own.written.subject if found else "")
    plan = make_plan(contents, course.patchset, reporter)
    plan.require_clean()
    paths = tuple(dict.fromkeys(one.path for one in meetings))
    return Moved(tree.root, course.old, course.base, None, subjects, plan, paths, stopped)


def _written_row(course: Course) -> list[tuple[str, str]]:
    """The user's commits without the type, as objects: (before, after) of each, in their order."""
    objects, row = course.objects, []
    for own in course.own:
        before = {path: pair[0] for path, pair in own.changes.items()}
        after = {path: pair[1] for path, pair in own.changes.items()}
        objects.keep(before)
        objects.keep(after)
        one = changes.write_commit(
            course.objects.repo,
            on=own.written.parents[0],
            changes=before,
            message=b"before\n",
            author=own.written.author,
        )
        other = changes.write_commit(
            course.objects.repo, on=one, changes=after, message=own.written.message, author=own.written.author
        )
        row.append((one, other))
    return row


def _go_on(tree: WorkTree, begun: MoveState, *, at: str, patchset: PatchSet, reporter: Reporter) -> Moved:
    """From the commit ``at``, which index and work tree are at, to the end or the next stop."""
    top = top_of(tree)
    prefix = git.prefix(top, tree.root)
    objects = Objects(top)
    renames = Renames(top, begun.rest[0][0] if begun.rest else begun.base, begun.base)
    tip, subjects = begun.tip, [changes.read_commit(top, new).subject for _, new in begun.rest]
    with reporter.step("Moving your commits", total=max(1, len(begun.rest))) as step:
        for number, (before, after) in enumerate(begun.rest):
            step.update(done=number, detail=subjects[number])
            written = changes.read_commit(top, after)
            own = Own(written, changes.changed(top, before, after))
            contents = Contents(objects, tip, prefix)
            meetings = replay(contents, own, renames)
            if meetings:
                _stop(tree, begun.stopped_at(number, tip), contents, meetings, at=at)
                paths = tuple(one.path for one in meetings)
                return Moved(
                    tree.root, begun.old, begun.base, None, tuple(subjects), None, paths, written.subject
                )
            objects.keep(contents.over)
            parents = begun.parents if begun.parents else [tip]
            tip = changes.write_commit(
                top,
                on=tip,
                changes=contents.over,
                message=written.message,
                parents=parents,
                author=written.author,
            )
    plan = make_plan(Contents(objects, tip, prefix), patchset, reporter)
    plan.require_clean()
    if begun.carried == "committed":
        there = Contents(objects, tip, prefix)
        record = recorded(there, plan, decided(patchset, plan, reporter))
        made = {
            prefix + file.path: objects.made(file.after(), there.version(prefix + file.path))
            for file in (*plan.files, *([record] if record is not None else []))
        }
        objects.keep(made)
        tip = changes.write_commit(top, on=tip, changes=made, message=committing.message(patchset))
    state.write(tree, begun.ending(tip))
    changes.switch(top, at, tip)
    where = f"refs/heads/{begun.onto}" if begun.onto is not None else begun.branch
    _settle(top, where, tip)
    git.record_base(top, begun.base)
    if begun.carried == "uncommitted":
        plan = transaction.apply(tree, patchset, reporter=reporter).plan
    state.drop(tree)
    return Moved(tree.root, begun.old, begun.base, tip, tuple(subjects), plan)


def _stop(
    tree: WorkTree, stopped: MoveState, contents: Contents, meetings: Sequence[Meeting], *, at: str
) -> None:
    """Leave the commit's other changes staged, and both sides of the files where it meets upstream's."""
    top, objects = contents.objects.repo, contents.objects
    labels = ("upstream", "before", "your commit")
    for meeting in meetings:
        contents.put(meeting.path, marked(contents, meeting, labels))
    objects.keep(contents.over)
    shown = changes.write_commit(top, on=contents.commit, changes=contents.over, message=b"stopped\n")
    state.write(tree, stopped)
    changes.switch(top, at, shown)
    changes.detach(top, stopped.tip)
    changes.stage_sides(top, {one.path: (one.before, one.now, one.after) for one in meetings})


def _settle(top: Path, branch: str | None, commit: str) -> None:
    """Let HEAD be ``branch`` at ``commit``; detached where there is none."""
    if branch is None:
        changes.detach(top, commit)
    else:
        changes.point(top, branch, commit, reason="q8a8-patch move")
        changes.check_out(top, branch)


def _require_new_branch(top: Path, name: str) -> None:
    changes.require_branch_name(top, name)
    if changes.has_ref(top, f"refs/heads/{name}"):
        raise UsageError(f"{top}: there is a branch {name} already", hint="name a new one with --onto")


__all__ = ["Moved", "abort", "go_on", "move"]
