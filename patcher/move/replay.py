"""A branch's own commits on another base, file by file, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from patcher import git
from patcher.base.errors import ConflictError
from patcher.git import changes, history
from patcher.git.changes import FileVersion, Written
from patcher.git.contents import Contents
from patcher.move.stripping import Stripping

Change = tuple[FileVersion | None, FileVersion | None]  # before, after


@dataclass(frozen=True)
class Own:
    """One commit that isn't ours, without the type: what it changed, by path from the top."""

    written: Written
    changes: Mapping[str, Change]


@dataclass(frozen=True)
class Meeting:
    """A file that the commit and the new base both changed in the same lines."""

    path: str
    now: FileVersion | None
    before: FileVersion | None
    after: FileVersion | None


def own_commits(repo: Path, commits: list[Written], stripping: Stripping) -> list[Own]:
    """``commits``, a row along first parents, without the type.

    One of which that leaves nothing is ours and goes; one that was empty before is meant. Raises
    :class:`ConflictError` for one that changed the type's own lines.
    """
    found = []
    for commit in commits:
        changed = changes.changed(repo, commit.parents[0], commit.id)
        try:
            made = _stripped(changed, stripping)
        except ConflictError as why:
            short = commit.id[:12]
            raise ConflictError(
                f"{why.message}, in {short} '{commit.subject}'",
                hint=f"'git rebase --onto {short}^ {short}' leaves that commit out; after the move"
                f" 'git cherry-pick {short}' makes it again",
            ) from why
        if made or not changed:
            found.append(Own(commit, made))
    return found


def stripped_changes(repo: Path, old: str, new: str, stripping: Stripping) -> dict[str, Change]:
    """What differs between two commits when the type is taken out of both."""
    return _stripped(changes.changed(repo, old, new), stripping)


def _stripped(changed: Mapping[str, Change], stripping: Stripping) -> dict[str, Change]:
    made = {}
    for path, (before, after) in changed.items():
        pair = stripping.version(path, before), stripping.version(path, after)
        if pair[0] != pair[1]:
            made[path] = pair
    return made


class Renames:
    """What upstream calls a file now, found out when somebody asks: from the commit ``old`` to ``new``."""

    def __init__(self, repo: Path, old: str, new: str) -> None:
        self._between = repo, old, new

    @cached_property
    def _known(self) -> Mapping[str, str]:
        return history.renames(*self._between)

    def now(self, path: str) -> str:
        """The name of ``path``; itself where it has no other."""
        return self._known.get(path, path)


def replay(contents: Contents, own: Own, renames: Renames) -> list[Meeting]:
    """Make the changes of ``own`` in ``contents``; the files where that can't be done stay as they are."""
    meetings = []
    for name, (before, after) in own.changes.items():
        path, now = name, contents.version(name)
        if now in (before, after):
            contents.put(path, after)
            continue
        if now is None and before is not None and after is not None:
            path = renames.now(name)
            now = contents.version(path)
        merged = after if now == before else _merged(contents, now, before, after)
        if merged is None:
            meetings.append(Meeting(path, now, before, after))
        else:
            contents.put(path, merged)
    return meetings


def _merged(
    contents: Contents, now: FileVersion | None, before: FileVersion | None, after: FileVersion | None
) -> FileVersion | None:
    if now is None or before is None or after is None:
        return None  # added on both sides, or changed on one and removed on the other
    if not (now.is_file and before.is_file and after.is_file):
        return None  # a link or a submodule has no lines
    read = contents.objects.read
    mine, base, other = read(now), read(before), read(after)
    data = git.merge(mine or b"", base=base or b"", other=other or b"")
    mode = now.mode if before.mode == after.mode else after.mode
    return contents.objects.made(data, FileVersion(mode, now.blob))


def marked(contents: Contents, meeting: Meeting, labels: tuple[str, str, str]) -> FileVersion | None:
    """The file with both sides between marks, as git would leave it; a side that has none stays out."""
    read = contents.objects.read
    sides = [read(one) for one in (meeting.now, meeting.before, meeting.after)]
    like = meeting.now or meeting.after
    if meeting.now is None or meeting.after is None:
        return like
    data, _ = git.merge_marked(sides[0] or b"", base=sides[1] or b"", other=sides[2] or b"", labels=labels)
    return contents.objects.made(data, like)
