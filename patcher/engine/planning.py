"""Every edit computed in memory: what would be written, what is there, what is in the way.

Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from patcher.base.progress import SILENT, Reporter
from patcher.engine import (
    architectures,
    enum_numbers,
    foreign,
    layout,
    patterns,
    retired,
)
from patcher.engine.anchors import ParsedFile, Source, Splice
from patcher.engine.comparison import tokens, unlike
from patcher.engine.edit_planning import OLDER, Editor, unplaced
from patcher.engine.foreign import Foreign
from patcher.engine.patchset import NEW_FILE, Edit, PatchSet
from patcher.engine.plan import EditPlan, FilePlan, Plan, State
from patcher.engine.tree import Tree
from patcher.engine.tree_record import text_hash


def make_plan(tree: Tree, patchset: PatchSet, reporter: Reporter = SILENT) -> Plan:
    """Compute every edit of ``patchset`` on ``tree``. Never raises for a conflict: it is in the plan."""
    patchset = architectures.fitted(layout.fitted(patchset, tree), tree)
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
                plans.append(Editor(tree, patchset, edit, parsed[path]).plan(second.get(edit.id, [])))
    plans += retired.plans(patchset, tree)
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


def _without_file(edit: Edit) -> EditPlan:
    if edit.unless_missing is not None:
        return EditPlan(edit, State.NOT_NEEDED, edit.files[0], edit.unless_missing)
    return unplaced(edit, edit.files[0], "looked for the file; found none of that name")


def _plan_new_file(tree: Tree, patchset: PatchSet, edit: Edit) -> EditPlan:
    """A file of our own: it is the whole template, or it is somebody else's."""
    place = edit.new_place(lambda name: tree.read(name) is not None)
    if place is None:
        if edit.unless_missing is not None:
            return EditPlan(edit, State.NOT_NEEDED, edit.files[0], edit.unless_missing)
        return unplaced(edit, edit.files[0], no_neighbour(edit))
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
        said = f"there: {path}; {OLDER}"
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
    return unplaced(edit, path, detail, choosable=True)


def no_neighbour(edit: Edit) -> str:
    """What is said of a new file that has no place."""
    return f"looked for {' or '.join(edit.besides)}, to put it beside; found none"


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
        elif plan.state is State.PRESENT and plan.edit.kind != retired.KIND:
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
