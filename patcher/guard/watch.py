"""Upstream's newest, judged: does the type still fit, and if not, since which commit and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from patcher import git
from patcher.base.errors import SourceError, UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.drift import drift
from patcher.drift.result import Drift
from patcher.engine.patchset import PatchSet, load
from patcher.source import DEFAULT_URL, SourceForm, parse

DAYS = 30  # of history that is looked at first
STEPS = 3  # each time four times as far back, where the cause lies further back still


@dataclass(frozen=True)
class Watched:
    """What became of the type at ``upstream``. ``days``: how far back was looked; None for all there is."""

    upstream: str
    drift: Drift
    patchset: PatchSet
    days: int | None

    @property
    def broken(self) -> bool:
        """Whether the newest refuses an edit."""
        return bool(self.drift.revisions[-1].conflicts)

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {"upstream": self.upstream, "days": self.days, "broken": self.broken, **self.drift.document()}


def watch(
    upstream: str | None,
    work: Path,
    *,
    refs: Iterable[str] = (),
    days: int = DAYS,
    patchset: PatchSet | None = None,
    jobs: int | None = None,
    reporter: Reporter = SILENT,
) -> Watched:
    """Judge the newest of ``upstream``, a URL or a repository on this disk; bisect where it refuses an edit.

    A URL is fetched into ``work``, no more of its history than it takes to find the cause. Raises
    :class:`SourceError` where it can't be had, :class:`UsageError` for what is no repository.
    """
    patchset = patchset or load()
    locator = parse(upstream or DEFAULT_URL)
    if locator.form is SourceForm.GIT_REPOSITORY:
        found = drift(
            Path(locator.name), patchset, refs=tuple(refs), bisect=True, jobs=jobs, reporter=reporter
        )
        return Watched(locator.name, found, patchset, None)
    if locator.form not in (SourceForm.GIT_URL, SourceForm.BUNDLE):
        raise UsageError(f"--upstream {upstream}: is no git repository", hint="name a URL, or a clone")
    mirror = work / "upstream.git"
    for step in range(STEPS):
        far = days * 4**step
        since = (datetime.now(timezone.utc) - timedelta(days=far)).strftime("%Y-%m-%d")
        last = step == STEPS - 1
        try:
            git.mirror(locator.name, mirror, since=since, reporter=reporter)
        except SourceError:
            if last:
                raise
            continue  # nothing is that young, or the server knows no dates: its whole word comes at the end
        found = drift(mirror, patchset, refs=tuple(refs), bisect=True, jobs=jobs, reporter=reporter)
        explained = {cause.edit for cause in found.causes}
        if last or all(conflict.edit in explained for conflict in found.revisions[-1].conflicts):
            return Watched(locator.name, found, patchset, far)
        reporter.note(f"broken for more than {far} days: looking further back")
    raise AssertionError("the last step returns or raises")
