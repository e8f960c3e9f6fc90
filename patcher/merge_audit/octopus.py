"""Commits that are one side of a merge together, or one base of it, joined file by file as git does it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from patcher import git
from patcher.git.history import merge_bases
from patcher.merge_audit.sides import Version, is_text, of_commit

NOTHING = Version("nothing", {})  # the base of histories that have nothing in common


def joined(repo: Path, parents: Sequence[str], prefix: str) -> tuple[Version, list[str]]:
    """What ``parents`` have together, and the paths in which two of them conflict.

    Where they do, the one that comes first has its way.
    """
    made = of_commit(repo, parents[0], prefix)
    conflicts: list[str] = []
    for number, parent in enumerate(parents[1:], 1):
        base = next(
            (of_commit(repo, one, prefix) for one in merge_bases(repo, parent, *parents[:number])), NOTHING
        )
        made = _join(base, made, of_commit(repo, parent, prefix), conflicts)
    return made, conflicts


def agreed(repo: Path, bases: Sequence[str], prefix: str) -> list[Version]:
    """The bases of a merge. Where there are several, since the sides have merged each other before, each is
    what they have together, as in git's own merge; in a file in which they conflict each is what it is."""
    made = [of_commit(repo, one, prefix) for one in bases]
    if len(made) < 2:
        return made
    together, conflicts = joined(repo, bases, prefix)
    for one in made:
        own = {path: one.contents[path] for path in conflicts if path in one.contents}
        one.contents = {
            path: content for path, content in together.contents.items() if path not in conflicts
        } | own
        one.programs = frozenset(
            path
            for path in one.contents
            if path in (one.programs if path in conflicts else together.programs)
        )
        one.written = together.written
    return made


def _join(base: Version, ours: Version, theirs: Version, conflicts: list[str]) -> Version:
    made = Version(
        f"{ours.name}+{theirs.name}", dict(ours.contents), None, ours.repo, written=dict(ours.written)
    )
    made.programs = (ours.programs | theirs.programs) - (
        base.programs - (ours.programs & theirs.programs)
    )  # what either allowed, less what either forbade
    for path in base.contents.keys() | theirs.contents.keys():
        before, mine, other = (one.contents.get(path) for one in (base, ours, theirs))
        if other in (before, mine):
            continue
        if mine != before:
            data = _merged(path, base, ours, theirs)
            if data is None:
                conflicts.append(path)
                continue
            other = f"joined {hashlib.sha256(data).hexdigest()}"
            made.written[other] = data
        if other is None:
            made.contents.pop(path, None)
        else:
            made.contents[path] = other
    return made


def _merged(path: str, base: Version, ours: Version, theirs: Version) -> bytes | None:
    texts = [one.read(path) for one in (base, ours, theirs)]
    before, mine, other = texts
    if mine is None or other is None or not all(is_text(one) for one in texts if one is not None):
        return None
    return git.merge(mine, base=before or b"", other=other)
