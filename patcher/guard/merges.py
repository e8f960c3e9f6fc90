"""Merges of a branch as the guard's problems: what a merge commit lost is what a change may have lost."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from patcher import git
from patcher.base.errors import UsageError
from patcher.base.printable import readable
from patcher.guard.problem import Judgement, Problem, Stage
from patcher.merge_audit import Finding, Merge


def problem(merge: Merge, found: Finding, prefix: str = "") -> Problem:
    """``found`` as a problem of the tree below ``prefix``."""
    rule = "merge-waived" if found.waived else found.rule
    return Problem(rule, f"{found.message} (merge {merge.name})", found.file.removeprefix(prefix), found.line)


def stage(merge: Merge) -> Stage:
    """One line for one merge."""
    name = readable(f"{merge.name} {merge.subject}".strip())
    failed = any(one.severity == "error" for one in merge.findings)
    said = f"{name}: {merge.changed} files changed, {merge.read} compared item by item"
    if merge.own:
        said += f", {merge.own} items are the merge's own"
    return Stage("merge", "failed" if failed else "ok", merge.seconds, said)


def judgement(source: str, merges: Sequence[Merge], fail_on: str, prefix: str | None) -> Judgement:
    """Audited merges as one check, for the forms that the guard has."""
    problems = tuple(problem(merge, one) for merge in merges for one in merge.findings)
    commit = merges[-1].commit if merges else None
    return Judgement(source, None, commit, False, prefix, fail_on, tuple(map(stage, merges)), problems)


def range_of(repo: Path, environment: Mapping[str, str] = os.environ) -> str | None:
    """The commits of the pull request that a service runs for, as ``A..HEAD``; None outside of one.

    Raises :class:`UsageError` where the clone lacks the commit that it starts from.
    """
    target = environment.get("GITHUB_BASE_REF")
    base = environment.get("CI_MERGE_REQUEST_DIFF_BASE_SHA") or (
        f"refs/remotes/origin/{target}" if target else ""
    )
    if not base:
        return None
    try:
        return f"{git.resolve(repo, base)}..HEAD"
    except UsageError as why:
        raise UsageError(
            f"{repo}: looked for {base}, which the change is to be merged into, found none",
            hint="check out the whole history (fetch-depth: 0)",
        ) from why
