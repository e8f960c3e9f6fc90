"""Does the type still apply? Plans over many revisions of a repository, read from git's objects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from patcher.base.errors import UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.drift.cause import Cause, find_cause
from patcher.drift.halving import near
from patcher.drift.result import Conflict, Drift, Revision
from patcher.drift.verdicts import CONFLICT, Key, Verdicts, judge_all
from patcher.engine.layout import fitted, require_tree
from patcher.engine.patchset import NEW_FILE, Edit, PatchSet
from patcher.engine.planning import no_neighbour
from patcher.engine.settled import remembered
from patcher.engine.tree import CommitTree, WorkTree
from patcher.git.history import Commit, blobs, commit, commits
from patcher.git.repository import prefix
from patcher.git.shadow import git_folder

__all__ = ["Cause", "Drift", "Revision", "drift"]


def drift(
    repo: Path,
    patchset: PatchSet,
    *,
    refs: Iterable[str] = (),
    since: str | None = None,
    bisect: bool = False,
    jobs: int | None = None,
    reporter: Reporter = SILENT,
) -> Drift:
    """Plan ``patchset`` on revisions of ``repo``; no file is checked out, nothing is written there.

    ``repo`` is a repository of llama.cpp, or the folder of another project's that carries a copy.

    ``refs`` are refs, judged one by one, or ranges A..B, judged commit by commit along the first
    parents; HEAD's history where there are none. With ``bisect`` only as many commits are judged as it
    takes to find the first that breaks each edit that the newest refuses.

    What the repository's own record says of the type holds for all of them, and what the newest has no
    use for (llama's parts, where there is ggml alone) is judged in none. Raises :class:`UsageError` for
    refs that name nothing and for a newest that carries no ggml, :class:`ConflictError` for one that is
    from before the type's time.
    """
    refs = tuple(refs)
    place = _Place.of(repo)
    patchset = _as_here(place, patchset, refs, reporter)
    row = _row(place, patchset, refs, since)
    if not row:
        raise UsageError(
            f"{repo}: looked for commits, found none in what was asked for",
            hint="name releases or commits with --refs, or a longer time with --since",
        )
    if bisect:
        return _bisected(place, patchset, row, jobs, reporter)
    keys = [key for _, _, there in row for key in _keys(there, patchset)]
    said = judge_all(place.top, patchset, keys, jobs=jobs, reporter=reporter)
    revisions = tuple(_revision(ref, one, there, patchset, said) for ref, one, there in row)
    causes = _causes(place, patchset, row, revisions)
    return Drift(str(repo), revisions, causes, len(set(keys)))


@dataclass(frozen=True)
class _Place:
    """The tree in its repository: ``top`` is what git is asked, ``below`` (``a/b/``) where it lies there."""

    top: Path
    below: str

    @classmethod
    def of(cls, folder: Path) -> _Place:
        found = git_folder(folder)
        top = found[0] if found is not None else None  # a bare repository has none
        return cls(folder, "") if top is None else cls(top, prefix(top, folder))


def _as_here(place: _Place, patchset: PatchSet, refs: tuple[str, ...], reporter: Reporter) -> PatchSet:
    """The patch set with what the tree remembers of it, for the layout of the newest revision."""
    newest = CommitTree(place.top, refs[-1].rpartition("..")[2] or "HEAD" if refs else "HEAD", place.below)
    here = place.top / place.below
    beside = bool(place.below) or (here / ".git").exists()
    require_tree(newest, beside=here if beside else None)
    keeper = WorkTree(here) if beside else newest
    made = fitted(remembered(patchset, keeper), newest)
    needed = [edit for edit in made.edits if edit.unneeded is None]
    if made.fitted:
        total = len(made.edits)
        reporter.note(f"{newest.name}: ggml without llama; {len(needed)} of {total} edits go there")
    return replace(made, edits=tuple(needed))


Row = list[tuple[str, Commit, dict[str, str]]]  # what it was called, the commit, path -> blob


def paths_of(patchset: PatchSet) -> set[str]:
    """Every path that an edit may go to, or is put beside."""
    beside = {path for edit in patchset.edits if edit.kind == NEW_FILE for path in edit.besides}
    return {path for edit in patchset.edits for path in edit.files} | beside


def _row(place: _Place, patchset: PatchSet, refs: tuple[str, ...], since: str | None) -> Row:
    paths = paths_of(patchset)
    row: Row = []
    for ref in refs or ("HEAD",):
        base, dots, tip = ref.partition("..")
        if refs and not dots:
            one = commit(place.top, ref)
            row.append((ref, one, blobs(place.top, one.id, paths, place.below)))
            continue
        history = commits(
            place.top,
            tip or (ref if not dots else "HEAD"),
            paths,
            base=base if dots else None,
            since=since,
            below=place.below,
        )
        if history:
            row += _walked(place, history, paths)
    return row


def _walked(place: _Place, history: list[Commit], paths: set[str]) -> Row:
    """The files of each commit of a row: those of the first, then what each changed."""
    there = blobs(place.top, history[0].id, paths, place.below)
    row: Row = [(history[0].id[:12], history[0], there)]
    for one in history[1:]:
        if one.changes:
            merged: dict[str, str | None] = {**there, **one.changes}
            there = {path: blob for path, blob in merged.items() if blob is not None}
        row.append((one.id[:12], one, there))  # commits that touch nothing share one dict
    if place.below:  # before the copy was there, nothing could be refused
        row = [known for known in row if known[2]]
    return row


def _candidate(edit: Edit, there: dict[str, str]) -> str | None:
    return next((path for path in edit.files if path in there), None)


def _keys(there: dict[str, str], patchset: PatchSet) -> list[Key]:
    """The contents that have to be judged to know what the edits say of these files."""
    chosen = {_candidate(edit, there) for edit in patchset.edits if edit.kind != NEW_FILE}
    return [(path, there[path]) for path in sorted(filter(None, chosen))]


def _revision(
    ref: str, one: Commit, there: dict[str, str], patchset: PatchSet, said: dict[Key, Verdicts]
) -> Revision:
    conflicts = []
    for edit in patchset.edits:
        found = _verdict(edit, there, said)
        if found is not None:
            conflicts.append(found)
    return Revision(ref, one.id, one.subject, one.date, tuple(conflicts))


def _verdict(edit: Edit, there: dict[str, str], said: dict[Key, Verdicts]) -> Conflict | None:
    if edit.kind == NEW_FILE:
        optional = edit.unless_missing is not None or edit.optional is not None
        if edit.new_place(there.__contains__) is None and not optional:
            return Conflict(edit.id, edit.files[0], no_neighbour(edit))
        return None
    path = _candidate(edit, there)
    if path is None:
        if edit.unless_missing is not None or edit.optional is not None:
            return None
        return Conflict(edit.id, edit.files[0], "looked for the file; found none of that name")
    state, detail = said[path, there[path]][edit.id]
    return Conflict(edit.id, path, detail) if state == CONFLICT else None


def _causes(
    place: _Place, patchset: PatchSet, row: Row, revisions: tuple[Revision, ...]
) -> tuple[Cause, ...]:
    """For each edit that the newest refuses: the commit since which it is refused, if the row holds it."""
    causes = []
    for conflict in revisions[-1].conflicts:
        first = len(revisions) - 1
        while first and any(one.edit == conflict.edit for one in revisions[first - 1].conflicts):
            first -= 1
        if first:
            causes.append(
                find_cause(
                    place.top,
                    patchset,
                    conflict.edit,
                    conflict.detail,
                    row[first][1],
                    row[first - 1][2],
                    row[first][2],
                    place.below,
                )
            )
    return tuple(causes)


def _bisected(place: _Place, patchset: PatchSet, row: Row, jobs: int | None, reporter: Reporter) -> Drift:
    """Judge the ends, then halve: for each refused edit, along the commits that touched its files."""
    judged: dict[int, Revision] = {}
    seen: set[Key] = set()

    def at(position: int) -> Revision:
        if position not in judged:
            ref, chosen, there = row[position]
            keys = _keys(there, patchset)
            seen.update(keys)
            said = judge_all(place.top, patchset, keys, jobs=jobs)
            judged[position] = _revision(ref, chosen, there, patchset, said)
        return judged[position]

    newest = at(len(row) - 1)
    at(0)
    changed = [number for number in range(len(row) - 1) if row[number][2] is not row[number + 1][2]]
    causes = []
    with reporter.step("Bisecting", total=len(newest.conflicts)) as step:
        for number, conflict in enumerate(newest.conflicts):
            step.update(done=number, detail=conflict.edit)

            def refused(position: int, edit: str = conflict.edit) -> bool:
                return any(one.edit == edit for one in at(position).conflicts)

            found = near(refused, len(row) - 1, changed)
            if found is not None:
                good, bad = found
                what = (conflict.edit, conflict.detail, row[bad][1], row[good][2], row[bad][2])
                causes.append(find_cause(place.top, patchset, *what, place.below))
    # the newest that takes all of them lies before the first commit that breaks any
    if newest.conflicts:
        near(lambda position: bool(at(position).conflicts), len(row) - 1, changed)
    revisions = tuple(judged[position] for position in sorted(judged))
    return Drift(str(place.top / place.below), revisions, tuple(causes), len(seen))
