"""The one issue about upstream's drift: its text, and how it is opened, updated and closed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from patcher.base.printable import markdown as inert
from patcher.base.printable import readable
from patcher.drift.cause import Cause
from patcher.engine.patchset import PatchSet
from patcher.guard.watch import Watched

MARKER = "<!-- q8a8-patch guard: upstream drift -->"
_MARKER_OF = "<!-- q8a8-patch guard: upstream drift of {} -->"
LABEL = "q8a8-patch"
MOST = 60_000  # characters of a body: GitHub takes 65,536
_GITHUB = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+?(?:\.git)?/?")


@dataclass(frozen=True)
class Issue:
    """An issue that a tracker has."""

    number: int
    title: str
    body: str
    url: str


class Tracker(Protocol):
    """Where issues are kept."""

    def mine(self) -> Issue | None:
        """The open issue that has :data:`LABEL` and the type's marker; the oldest where there are several."""

    def open(self, title: str, body: str) -> Issue:
        """A new one."""

    def change(self, issue: Issue, title: str, body: str) -> Issue:
        """Give it another text."""

    def close(self, issue: Issue, comment: str) -> None:
        """Close it, and say why."""


def marker_of(patchset: PatchSet) -> str:
    """What the issue about a type is known by: each of one's own has its own, so that two may be watched."""
    return MARKER if patchset.home is None else _MARKER_OF.format(patchset.type.name)


def keep(tracker: Tracker, watched: Watched) -> tuple[str, Issue | None]:
    """Bring the tracker in line: ``opened``, ``updated``, ``unchanged``, ``closed`` or ``none``.

    The label is looked for as well as the marker: strangers can write a marker, but set no label.
    """
    there = tracker.mine()
    if not watched.broken:
        if there is None:
            return "none", None
        newest = watched.drift.revisions[-1]
        tracker.close(there, f"Every edit can be placed again, at {newest.commit} ({newest.date}).")
        return "closed", there
    title, body = title_of(watched), body_of(watched)
    if there is None:
        return "opened", tracker.open(title, body)
    if _same(there.title, title) and _same(there.body, body):
        return "unchanged", there
    return "updated", tracker.change(there, title, body)


def _same(one: str, other: str) -> bool:
    return one.replace("\r\n", "\n").strip() == other.replace("\r\n", "\n").strip()


def title_of(watched: Watched) -> str:
    """One line: how many edits, since which commit."""
    conflicts = watched.drift.revisions[-1].conflicts
    edits = f"{len(conflicts)} edit{'s' if len(conflicts) > 1 else ''}"
    first = _first(watched)
    since = f" since {first.commit[:12]}" if first else ""
    return f"{watched.patchset.type.upper} no longer fits upstream's newest: {edits}{since}"


def _first(watched: Watched) -> Cause | None:
    causes = watched.drift.causes
    return min(causes, key=lambda cause: cause.date) if causes else None


def body_of(watched: Watched) -> str:
    """What is refused, since when and why. The same findings give the same text."""
    found = watched.drift
    newest, good = found.revisions[-1], found.last_good
    first = _first(watched)
    known = ", ".join(watched.patchset.known_good)
    far = f"the last {watched.days} days" if watched.days else "all of its history"
    kept = f"{_commit(watched, good.commit)} ({good.date})" if good else f"none in {far}; releases: {known}"
    broke = (
        f"{_commit(watched, first.commit)} ({first.date}) {inert(first.subject)}"
        if first
        else f"before {far}"
    )
    lines = [
        marker_of(watched.patchset),
        f"{len(newest.conflicts)} of {len(watched.patchset.edits)} edits of {watched.patchset.type.upper}"
        f" can't be placed in the newest commit of {inert(watched.upstream)}; 'apply' writes nothing.",
        "",
        f"- last good: {kept}",
        f"- broken by: {broke}",
        "",
    ]
    causes = {cause.edit: cause for cause in found.causes}
    purposes = {edit.id: edit.purpose for edit in watched.patchset.edits}
    for conflict in newest.conflicts:
        lines += [f"### {inert(conflict.edit)}", "", f"{inert(purposes.get(conflict.edit, ''))}", ""]
        lines += [f"{inert(conflict.file)}: {inert(conflict.detail)}", ""]
        cause = causes.get(conflict.edit)
        if cause is not None:
            lines += [f"Since {_commit(watched, cause.commit)} ({cause.date}) {inert(cause.subject)}:", ""]
            lines += [*_fenced(cause.hunk), ""]
    chosen = "" if watched.patchset.home is None else " --type FILE"
    again = f"q8a8-patch drift CLONE{chosen} --refs {good.commit[:12] if good else 'A'}..HEAD --bisect"
    lines += [f"To see it again, in a clone of upstream: `{again}`", ""]
    body = "\n".join(lines)
    return (
        body if len(body) <= MOST else body[:MOST].rpartition("\n### ")[0] + "\n\n(cut off: there is more)\n"
    )


def _commit(watched: Watched, name: str) -> str:
    url = watched.upstream.removesuffix("/").removesuffix(".git")
    return f"[{name[:12]}]({url}/commit/{name})" if _GITHUB.fullmatch(url) else f"`{name[:12]}`"


def _fenced(hunk: str) -> list[str]:
    """A diff as a block that nothing in it can end."""
    longest = max((len(run) for run in re.findall(r"`+", hunk)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}diff", *(readable(line.replace("\t", "    ")) for line in hunk.splitlines()), fence]
