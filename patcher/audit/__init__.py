"""Is the type everywhere that its sibling is? Every site: handled, waived with a reason, or new.

The tree is looked at as it would be once the plan is written, so an unpatched tree can be audited too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from patcher.audit.judged import SiteCache
from patcher.audit.sites import SUFFIXES, SiblingSite
from patcher.audit.waivers import SiteWaiver, load, own
from patcher.base.progress import SILENT, Reporter
from patcher.engine.patchset import PatchSet
from patcher.engine.plan import Plan
from patcher.engine.planning import make_plan
from patcher.engine.tree import ListedTree

__all__ = ["Audit", "Audited", "SiblingSite", "SiteWaiver", "audit"]


@dataclass(frozen=True)
class Audited:
    """A site and what is to be said of it: ``handled``, ``waived`` or ``new``."""

    site: SiblingSite
    state: str
    reason: str = ""

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {**self.site.document(), "state": self.state, "reason": self.reason}


@dataclass(frozen=True)
class Audit:
    """Every site of the sibling in a tree."""

    tree: str
    sites: tuple[Audited, ...]
    unused: tuple[SiteWaiver, ...] = field(default=())  # waivers that nothing needed: they may be stale

    @property
    def new(self) -> tuple[Audited, ...]:
        """The sites that nobody has thought about."""
        return tuple(one for one in self.sites if one.state == "new")

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        counts = Counter(one.state for one in self.sites)
        return {
            "tree": self.tree,
            "counts": {state: counts[state] for state in ("handled", "waived", "new")},
            "sites": [one.document() for one in self.sites],
            "unused_waivers": [asdict(waiver) for waiver in self.unused],
        }


def audit(
    tree: ListedTree,
    patchset: PatchSet,
    *,
    waivers: tuple[SiteWaiver, ...] | None = None,
    plan: Plan | None = None,
    reporter: Reporter = SILENT,
) -> Audit:
    """Judge every site of the sibling in ``tree``, as it would be with ``patchset`` applied.

    ``plan`` is that of the tree, where it was made already. Edits that are in conflict count as not made.
    Raises what reading the tree raises, and :class:`UsageError` where a waiver's pattern has no end on it.
    """
    strangers = own(patchset.waivers, patchset.source) if waivers is None else ()
    rules = (*load(), *strangers) if waivers is None else waivers
    plan = make_plan(tree, patchset, reporter) if plan is None else plan
    audited: list[Audited] = []
    used: set[SiteWaiver] = set()
    sites = list(_all_sites(tree, plan, patchset, reporter))
    for rule in strangers:
        rule.try_on(sites, patchset.source)
    for site in sites:
        waiver = None if site.handled else next((rule for rule in rules if rule.covers(site)), None)
        if waiver is not None:
            used.add(waiver)
        state = "handled" if site.handled else "waived" if waiver else "new"
        audited.append(Audited(site, state, waiver.reason if waiver else ""))
    return Audit(tree.name, tuple(audited), tuple(rule for rule in rules if rule not in used))


def _all_sites(tree: ListedTree, plan: Plan, patchset: PatchSet, reporter: Reporter) -> Iterator[SiblingSite]:
    planned = {file.path: file.after() for file in plan.files}
    paths = sorted({*tree.files(), *planned})
    paths = [path for path in paths if PurePosixPath(path).suffix in SUFFIXES]
    contents = {path: planned[path] if path in planned else tree.read(path) for path in paths}
    there = [(path, data) for path, data in contents.items() if data is not None]
    with reporter.step("Auditing", total=len(there)) as step:
        for number, (path, found) in enumerate(SiteCache(patchset).sites(there)):
            step.update(done=number, detail=path)
            yield from found
