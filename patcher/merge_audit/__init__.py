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
from patcher.git.changes import read_commit
from patcher.git.history import merge_bases, merges
from patcher.merge_audit.auditing import Auditing
from patcher.merge_audit.finding import RULES, Finding
from patcher.merge_audit.origin import Origins
from patcher.merge_audit.sides import Version, of_commit, side
from patcher.merge_audit.waiver import Waiver, load

__all__ = ["RULES", "Finding", "Merge", "Waiver", "audit_commit", "audit_range", "audit_sides", "load"]

_NOTHING = Version("nothing", {})  # the base of two histories that have none


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
    skipped: str = ""  # why it was not audited

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
            "skipped": self.skipped or None,
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
    versions = [side(repo, word) for word in (base, ours, theirs, merged)]
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

    ``prefix`` (``a/b/``) leaves the files elsewhere out. One of more than two parents is not audited, and
    says so. Raises :class:`UsageError` for what is no merge commit.
    """
    commit = read_commit(repo, ref)
    if len(commit.parents) < 2:
        raise UsageError(
            f"{repo}: looked for a merge commit, found {commit.id[:12]} with {len(commit.parents)} parents",
            hint="name base, ours, theirs and the merge",
        )
    ours, theirs = commit.parents[:2]
    if len(commit.parents) > 2:
        why = f"it has {len(commit.parents)} parents: audit two at a time, with their base"
        return Merge(
            commit.id[:12], commit.id, commit.subject, (), ours, theirs, (), 0, 0, 0, 0.0, skipped=why
        )
    bases = [of_commit(repo, one, prefix) for one in merge_bases(repo, ours, theirs)] or [_NOTHING]
    sides = [of_commit(repo, one, prefix) for one in (ours, theirs, commit.id)]
    return _audited(repo, bases, *sides, subject=commit.subject, waivers=waivers, reporter=reporter)


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
        raise UsageError(f"{wanted}: looked for a range A..B of commits")
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
) -> Merge:
    start = time.monotonic()
    result = Auditing(bases, ours, theirs, merged, reporter).run()
    used: set[Waiver] = set()
    found = []
    for one in result.findings:
        waiver = next((rule for rule in waivers if rule.covers(one, merged.commit)), None)
        if waiver is not None:
            used.add(waiver)
        found.append(one if waiver is None else replace(one, waived=waiver.reason))
    sides = {"ours": ours, "theirs": theirs}
    found = Origins(repo, bases[0].commit, sides).traced(found)
    return Merge(
        merged.name, merged.commit, subject, tuple(base.name for base in bases), ours.name, theirs.name,
        tuple(found), result.changed, result.read, result.own, time.monotonic() - start, frozenset(used),
    )  # fmt: skip
