"""Every edit computed in memory: what would be written, what is there, what is in the way.

Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from patcher.base.progress import SILENT, Reporter
from patcher.engine import (
    comparison,
    enum_numbers,
    equivalence,
    foreign,
    layout,
    merging,
    patterns,
    replacement,
)
from patcher.engine.anchors import AnchorError, Existing, Located, ParsedFile, Site, Source, Splice, splice
from patcher.engine.comparison import tokens, unlike
from patcher.engine.foreign import Foreign
from patcher.engine.patchset import NEW_FILE, Edit, PatchSet
from patcher.engine.plan import EditPlan, FilePlan, Plan, State
from patcher.engine.tree import Tree
from patcher.engine.tree_record import text_hash

_OLDER = "as an earlier q8a8-patch wrote it; 'apply --update' brings it to today's"


def make_plan(tree: Tree, patchset: PatchSet, reporter: Reporter = SILENT) -> Plan:
    """Compute every edit of ``patchset`` on ``tree``. Never raises for a conflict: it is in the plan."""
    patchset = layout.fitted(patchset, tree)
    paths = {edit.id: _candidate(tree, edit) for edit in patchset.edits}
    parsed = _parsed(tree, patchset, paths)
    named = list(foreign.files(tree, patchset))
    homes = {name: path for name, path in paths.items() if path is not None}
    second = foreign.second_definitions(patchset, named, homes)
    plans: list[EditPlan] = []
    with reporter.step("Planning", total=len(patchset.edits)) as step:
        for number, edit in enumerate(patchset.edits):
            step.update(done=number, detail=edit.id)
            path = paths[edit.id]
            if edit.unneeded is not None:
                plans.append(EditPlan(edit, State.NOT_NEEDED, edit.files[0], edit.unneeded))
            elif edit.kind == NEW_FILE:
                plans.append(_plan_new_file(tree, patchset, edit))
            elif path is None:
                plans.append(_without_file(edit))
            else:
                plans.append(_Editor(tree, patchset, edit, parsed[path]).plan(second.get(edit.id, [])))
    files, plans = _merge(tree, plans)
    found = _foreign(tree, patchset, plans, named, second)
    return Plan(tree.name, patchset, tuple(plans), files, (*enum_numbers.clashes(tree, patchset), *found))


def _candidate(tree: Tree, edit: Edit) -> str | None:
    """The first of the edit's files that the tree has."""
    return next((path for path in edit.files if tree.read(path) is not None), None)


def _parsed(tree: Tree, patchset: PatchSet, paths: Mapping[str, str | None]) -> dict[str, ParsedFile]:
    """Every file that an edit goes to, with all the anchors that will be looked for in it."""
    anchors: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for edit in patchset.edits:
        path = paths[edit.id]
        if path is not None and edit.kind != NEW_FILE and edit.unneeded is None:
            anchors.setdefault(path, []).append((edit.kind, edit.anchor))
    return {path: ParsedFile(Source(path, tree.read(path) or b""), asked) for path, asked in anchors.items()}


def _refused(
    edit: Edit, path: str, detail: str, *, choosable: bool = False, there: tuple[tuple[int, int], ...] = ()
) -> EditPlan:
    """A conflict; of an optional edit a note, unless somebody's own is in the way of it."""
    if edit.optional is not None and not choosable:
        return EditPlan(edit, State.UNPLACED, path, f"{detail}; optional: {edit.optional}")
    return EditPlan(edit, State.CONFLICT, path, detail, choosable=choosable, there=there)


def _without_file(edit: Edit) -> EditPlan:
    if edit.unless_missing is not None:
        return EditPlan(edit, State.NOT_NEEDED, edit.files[0], edit.unless_missing)
    return _refused(edit, edit.files[0], "looked for the file; found none of that name")


def _plan_new_file(tree: Tree, patchset: PatchSet, edit: Edit) -> EditPlan:
    """A file of our own: it is the whole template, or it is somebody else's."""
    place = edit.new_place(lambda name: tree.read(name) is not None)
    if place is None:
        if edit.unless_missing is not None:
            return EditPlan(edit, State.NOT_NEEDED, edit.files[0], edit.unless_missing)
        return _refused(edit, edit.files[0], no_neighbour(edit))
    path, beside = place
    if edit.when is not None and not patterns.search(edit, "when", tree.read(beside) or b""):
        return EditPlan(edit, State.NOT_NEEDED, path, f"nothing in {beside} matches '{edit.when}'")
    text = patchset.render(edit, tree, {}).encode()
    ours, there = tokens(text), tree.read(path)
    made = (text_hash(ours),)
    if there is None:
        return EditPlan(
            edit, State.MISSING, path, "to add: the file", (Splice(0, 0, text),), (path,), hashes=made
        )
    whole = ((0, len(there)),)
    found = tokens(there)
    if found == ours:
        return EditPlan(edit, State.PRESENT, path, "there", owners=(path,), there=whole)
    detail = f"looked for no file, or ours; found one {unlike(ours, found)}"
    is_old = text_hash(found) in patchset.wrote.get(edit.id, ())
    if is_old and not patchset.updates:
        said = f"there: {path}; {_OLDER}"
        return EditPlan(edit, State.PRESENT, path, said, owners=(path,), there=whole, is_old=True)
    if is_old or patchset.replaces(edit):
        cut = (Splice(0, len(there), text),)
        return EditPlan(
            edit,
            State.MISSING,
            path,
            "to replace: the file",
            cut,
            (path,),
            hashes=made,
            resolution="replaced",
        )
    if patchset.keeps(edit):
        said = f"kept: theirs, {unlike(ours, found)}"
        return EditPlan(edit, State.PRESENT, path, said, owners=(path,), there=whole, resolution="kept")
    return _refused(edit, path, detail, choosable=True)


def no_neighbour(edit: Edit) -> str:
    """What is said of a new file that has no place."""
    return f"looked for {' or '.join(edit.besides)}, to put it beside; found none"


class _Editor:
    """One edit in the one file that it goes to."""

    def __init__(self, tree: Tree, patchset: PatchSet, edit: Edit, file: ParsedFile) -> None:
        self.tree, self.patchset, self.edit, self.file = tree, patchset, edit, file
        self.source = file.source
        self.path = file.source.path

    def plan(self, second: list[Foreign]) -> EditPlan:
        """What the edit means here; ``second`` are definitions of its symbol in other files."""
        edit = self.edit
        merge = merging.progress(self.source)
        if merge is not None:
            return EditPlan(edit, State.CONFLICT, self.path, merge)
        if edit.when is not None and not patterns.search(edit, "when", self.source.data):
            return EditPlan(edit, State.NOT_NEEDED, self.path, f"nothing here matches '{edit.when}'")
        patterns.try_anchor(edit, lambda: self.file.locate(edit.kind, edit.anchor))
        try:
            located = self.file.locate(edit.kind, edit.anchor)
        except AnchorError as why:
            return _refused(edit, self.path, str(why))
        if not located.sites and not located.existing:
            return _refused(edit, self.path, f"looked for a place ({edit.kind}); found none")
        hard, soft, proofs, spans, old = self._judged(located)
        hard += [f"{one.name} in {one.file}, line {one.line}: {one.consequence}" for one in second]
        said = hard + soft
        if old and not said and self.patchset.updates:
            return self._replaced(old, second)
        if said and self.patchset.replaces(edit):
            return self._replaced(spans, second)
        if said and self.patchset.keeps(edit):
            return self._kept(located, said, second)
        if hard and edit.optional is None:
            detail = "looked for ours; found " + "; ".join(hard)
            return _refused(edit, self.path, detail, choosable=True, there=_spans(located))
        return self._as_it_is(located, "; ".join(said), proofs, is_old=bool(old))

    def _judged(
        self, located: Located
    ) -> tuple[list[str], list[str], list[str], list[tuple[int, int]], list[tuple[int, int]]]:
        """What is hard and what is soft of the differences, what was proved equal, and where they are; where
        texts are that an earlier release of this tool wrote."""
        hard = [there.contradiction for there in located.existing if there.contradiction]
        spans = [(there.start, there.end) for there in located.existing if there.contradiction]
        soft: list[str] = []
        proofs: list[str] = []
        old: list[tuple[int, int]] = []
        found = comparison.differences(self.tree, self.patchset, self.edit, self.source, located)
        for one in found:
            reason = self._proof(one.there)
            if reason is not None:
                proofs.append(f"{one.there.owner}: {reason}")
            elif comparison.written_before(self.patchset, self.edit, self.source, one.there):
                old.append((one.there.start, one.there.end))
            else:
                (hard if one.hard or self.edit.id in self.patchset.wrote else soft).append(one.detail)
                spans.append((one.there.start, one.there.end))
        return hard, soft, proofs, spans, old

    def _proof(self, there: Existing) -> str | None:
        theirs = tokens(self.source.data[there.start : there.end], python=self.path.endswith(".py"))
        if there.twin is not None and not self.edit.anchor.get("arm"):
            ours, twin = "", tokens(self.source.data[slice(*there.twin)])
        else:
            text = self.patchset.render(self.edit, self.tree, there.values or {})
            ours, twin = comparison.part_of(self.edit, text), ""
        return equivalence.proof(self.tree, self.patchset, self.edit, self.source, ours, theirs, twin)

    def _cuts(self, sites: Iterable[Site]) -> tuple[Splice, ...]:
        return tuple(splice(self.source, site, self._text(site)) for site in sites)

    def _text(self, site: Site) -> str:
        return site.text if site.text is not None else self.patchset.render(self.edit, self.tree, site.values)

    def _hashes(self, sites: Iterable[Site]) -> tuple[str, ...]:
        texts = [comparison.part_of(self.edit, self._text(site)) for site in sites]
        return tuple(dict.fromkeys(text_hash(text) for text in texts))

    def _replaced(self, spans: list[tuple[int, int]], second: list[Foreign]) -> EditPlan:
        edit = self.edit
        sites: list[Site] = []

        def rendered(site: Site) -> str:
            sites.append(site)
            return self._text(site)

        try:
            cuts = replacement.replaced(edit, self.source, spans, rendered)
        except AnchorError as why:
            return EditPlan(edit, State.CONFLICT, self.path, f"theirs can't be replaced: {why}")
        gone = tuple(
            (one.file, cut)
            for one in second
            for cut in replacement.removed(
                Source(one.file, self.tree.read(one.file) or b""), [(one.start, one.end)]
            )
        )
        where = [f"line {self.source.line_number(start)}" for start, _ in spans]
        where += [f"{one.file}, line {one.line}" for one in second]
        return EditPlan(
            edit, State.MISSING, self.path, f"to replace: theirs in {'; '.join(where)}", cuts,
            tuple(site.owner for site in sites), gone, hashes=self._hashes(sites), resolution="replaced",
        )  # fmt: skip

    def _kept(self, located: Located, said: list[str], second: list[Foreign]) -> EditPlan:
        """Theirs stays; what else the edit puts elsewhere in the file is put there."""
        detail = f"kept: theirs, {'; '.join(said)}; ours was there because: {self.edit.purpose}"
        sites = () if second else located.sites
        cuts = self._cuts(sites)
        owners = tuple(there.owner for there in located.existing) + tuple(site.owner for site in sites)
        return EditPlan(
            self.edit, State.MISSING if cuts else State.PRESENT, self.path, detail, cuts, owners,
            there=_spans(located), hashes=self._hashes(sites), resolution="kept",
        )  # fmt: skip

    def _as_it_is(
        self, located: Located, differs: str, proofs: list[str], *, is_old: bool = False
    ) -> EditPlan:
        edit = self.edit
        there = tuple(item.owner for item in located.existing)
        owners = tuple(site.owner for site in located.sites)
        told = [f"written differently from ours ({differs})"] if differs else []
        told += [f"equal to ours: {one}" for one in proofs]
        told += [_OLDER] if is_old else []
        if not located.sites:
            detail = "; ".join([_listed("there", there), *told])
            return EditPlan(
                edit, State.PRESENT, self.path, detail, owners=there, there=_spans(located), differs=differs,
                is_old=is_old,
            )  # fmt: skip
        detail = "; ".join([_listed("to add", owners), *([_listed("there", there)] if there else []), *told])
        return EditPlan(
            edit, State.MISSING, self.path, detail, self._cuts(located.sites), owners,
            there=_spans(located), hashes=self._hashes(located.sites), differs=differs,
        )  # fmt: skip


def _spans(located: Located) -> tuple[tuple[int, int], ...]:
    return tuple((item.start, item.end) for item in located.existing)


def _listed(word: str, owners: Iterable[str]) -> str:
    names = [name for name in dict.fromkeys(owners) if name]
    return f"{word}: {', '.join(names)}" if names else word


def _merge(tree: Tree, plans: list[EditPlan]) -> tuple[tuple[FilePlan, ...], list[EditPlan]]:
    """Bring each file's splices in order; two that overlap are a conflict of the later edit."""
    by_file: dict[str, list[tuple[str, Splice]]] = {}
    out: list[EditPlan] = []
    for plan in plans:
        cuts = [(plan.file, cut) for cut in plan.splices] + list(plan.elsewhere)
        clash = next(
            (name for path, ours in cuts for name, cut in by_file.get(path, ()) if _overlap(cut, ours)), None
        )
        if clash is not None:
            detail = f"looked for free text; found edit {clash} there"
            out.append(EditPlan(plan.edit, State.CONFLICT, plan.file, detail))
            continue
        for path, cut in cuts:
            by_file.setdefault(path, []).append((plan.edit.id, cut))
        out.append(plan)
    files = []
    for path, taken in by_file.items():
        there = tree.read(path)
        # a stable sort: where two edits insert at one offset, the patch set's order holds; before a hole
        ordered = sorted(taken, key=lambda item: (item[1].start, item[1].end > item[1].start))
        files.append(FilePlan(path, there or b"", tuple(ordered), there is None))
    return tuple(files), out


def _overlap(one: Splice, other: Splice) -> bool:
    if one.start == one.end or other.start == other.end:  # an insertion clashes only inside a replacement
        return one.start < other.start < one.end or other.start < one.start < other.end
    return one.start < other.end and other.start < one.end


def _foreign(
    tree: Tree,
    patchset: PatchSet,
    plans: list[EditPlan],
    named: list[tuple[str, bytes]],
    second: Mapping[str, list[Foreign]],
) -> tuple[Foreign, ...]:
    """What another hand has written about the type and no edit accounts for, second definitions first."""
    if not named:
        return ()
    ours: dict[str, list[tuple[int, int]]] = {}
    lines: dict[str, set[str]] = {}
    whole: set[str] = set()
    for plan in plans:
        ours.setdefault(plan.file, []).extend(plan.there)
        # what a replacement takes out is not there any more
        for path, cut in [(plan.file, cut) for cut in plan.splices] + list(plan.elsewhere):
            if cut.end > cut.start:
                ours.setdefault(path, []).append((cut.start, cut.end))
        if plan.edit.kind == NEW_FILE:
            whole |= {plan.file} if plan.state in (State.PRESENT, State.APPLIED) else set()
        elif plan.state is State.PRESENT:
            text = patchset.render(plan.edit, tree, _NO_VALUES)
            lines.setdefault(plan.file, set()).update(" ".join(line.split()) for line in text.splitlines())
    said = [one for found in second.values() for one in found]
    for one in said:
        ours.setdefault(one.file, []).append((one.start, one.end))
    return (*said, *foreign.others(patchset, named, ours, lines, frozenset(whole)))


# what templates may ask of a site, where there is none: enough to know our own lines again
_NO_VALUES: Mapping[str, object] = {
    "open": "", "close": "", "expr": "", "left": "", "count": 0,
    "missing": ["bool", "int32_t", "uint32_t", "int64_t", "uint64_t", "float", "double", "std::string"],
}  # fmt: skip


__all__ = ["make_plan", "no_neighbour"]
