"""Prove that a merge lost nothing: what either side brought is there, what one removed is gone.

Items are enumerators, cases, rows, declarations, definitions, includes, sources and lines, each with its
owner; how often the base and the sides have one says how often the merge must. Nothing of a tree is run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from patcher.base.errors import UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.base.units import how_many
from patcher.git.changes import read_commit
from patcher.git.history import is_shallow, merge_bases, merges
from patcher.git.repository import NoCommitError
from patcher.merge_audit.auditing import Auditing
from patcher.merge_audit.finding import RULES, Finding
from patcher.merge_audit.meeting import Meeting
from patcher.merge_audit.octopus import NOTHING, agreed, joined
from patcher.merge_audit.origin import Origins
from patcher.merge_audit.sides import Version, of_commit, sides
from patcher.merge_audit.waiver import Waiver, load

__all__ = ["RULES", "Finding", "Merge", "Waiver", "audit_commit", "audit_range", "audit_sides", "load"]


@dataclass(frozen=True)
class Merge:
    """One merge, audited. ``commit`` is None where the merge is a folder; ``bases`` are names."""

    name: str
    commit: str | None
    subject: str
    bases: tuple[str, ...]
    ours: str
    theirs: str
    findings: tuple[Finding, ...]
    changed: int  # files that differ between the versions
    read: int  # of them, those that were read item by item
    own: int  # items that only the merge has
    seconds: float
    used: frozenset[Waiver] = frozenset()

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "name": self.name,
            "commit": self.commit,
            "subject": self.subject,
            "bases": list(self.bases),
            "ours": self.ours,
            "theirs": self.theirs,
            "changed": self.changed,
            "read": self.read,
            "own": self.own,
            "findings": [one.document() for one in self.findings],
        }


def audit_sides(
    repo: Path,
    base: str,
    ours: str,
    theirs: str,
    merged: str,
    *,
    waivers: Sequence[Waiver] = (),
    reporter: Reporter = SILENT,
) -> Merge:
    """Audit the merge ``merged`` of ``ours`` and ``theirs``; each is a folder, or a commit of ``repo``.

    Raises :class:`UsageError` for what is neither.
    """
    versions = sides(repo, (base, ours, theirs, merged))
    return _audited(repo, versions[:1], *versions[1:], subject="", waivers=waivers, reporter=reporter)


def audit_commit(
    repo: Path,
    ref: str,
    *,
    prefix: str = "",
    waivers: Sequence[Waiver] = (),
    reporter: Reporter = SILENT,
) -> Merge:
    """Audit the merge commit ``ref``: its parents, and what they have in common, are the sides.

    ``prefix`` (``a/b/``) leaves the files elsewhere out. Of more than two parents all but the last, joined by
    lines, are ours. Raises :class:`UsageError` for what is no merge commit.
    """
    commit = read_commit(repo, ref)
    if len(commit.parents) < 2:
        raise UsageError(
            f"{repo}: looked for a merge commit, found {commit.id[:12]}"
            f" with {how_many(len(commit.parents), 'parent')}",
            hint="name base, ours, theirs and the merge",
        )
    *first, last = commit.parents
    try:
        theirs, merged = (of_commit(repo, one, prefix) for one in (last, commit.id))
        ours, conflicts = joined(repo, first, prefix)
        bases = agreed(repo, merge_bases(repo, last, *first), prefix)
    except NoCommitError:
        if not is_shallow(repo):
            raise
        bases = []
    if not bases and is_shallow(repo):
        # what is cut off would count as nothing, and all that the sides have as theirs
        raise UsageError(
            f"{repo}: looked for what the parents of {commit.id[:12]} have in common, found a shallow clone"
            " that ends before it",
            hint="'git fetch --unshallow' gets the history; a checkout of GitHub's takes fetch-depth: 0",
        )
    bases = bases or [NOTHING]
    beside = [
        Finding(
            "merge-unread", path, None, "file", (), path, "ours", None,
            f"{len(first)} of the parents conflict in it: audit the merge two at a time, with their base",
        )
        for path in conflicts
    ]  # fmt: skip
    return _audited(
        repo, bases, ours, theirs, merged, subject=commit.subject, waivers=waivers, reporter=reporter,
        beside=beside,
    )  # fmt: skip


def audit_range(
    repo: Path,
    wanted: str,
    *,
    prefix: str = "",
    waivers: Sequence[Waiver] = (),
    reporter: Reporter = SILENT,
) -> list[Merge]:
    """Audit all merge commits of ``A..B``, oldest first. Raises :class:`UsageError` for what is no range."""
    base, dots, tip = wanted.partition("..")
    if not dots or not base or tip.startswith("."):
        raise UsageError(f"{wanted}: looked for a range A..B of commits", hint="write it like v0.5.0..HEAD")
    return [
        audit_commit(repo, commit, prefix=prefix, waivers=waivers, reporter=reporter)
        for commit in merges(repo, base, tip or "HEAD")
    ]


def _audited(
    repo: Path,
    bases: Sequence[Version],
    ours: Version,
    theirs: Version,
    merged: Version,
    *,
    subject: str,
    waivers: Sequence[Waiver],
    reporter: Reporter,
    beside: Sequence[Finding] = (),
) -> Merge:
    start = time.monotonic()
    result = Auditing(Meeting(bases, ours, theirs, merged), reporter).run()
    result.findings += beside
    used: set[Waiver] = set()
    found = []
    for one in result.findings:
        waiver = next((rule for rule in waivers if rule.covers(one, merged.commit)), None)
        if waiver is not None:
            used.add(waiver)
        found.append(one if waiver is None else replace(one, waived=waiver.reason))
    found = Origins(repo, bases[0].commit, {"ours": ours, "theirs": theirs}).traced(found)
    return Merge(
        merged.name, merged.commit, subject, tuple(base.name for base in bases), ours.name, theirs.name,
        tuple(found), result.changed, result.read, result.own, time.monotonic() - start, frozenset(used),
    )  # fmt: skip
