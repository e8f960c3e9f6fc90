"""The tree's own file brought up to date: what an apply adds to it, and what a revert takes out."""

from __future__ import annotations

from collections.abc import Iterable

from patcher.base.progress import SILENT, Reporter
from patcher.engine import tree_record
from patcher.engine.anchors import Splice
from patcher.engine.patchset import PatchSet
from patcher.engine.plan import FilePlan, Plan, State
from patcher.engine.tree import Tree
from patcher.engine.tree_record import PLACE, Choices, TypeRecord

EDIT = "record"  # what the journal calls the change of this file


def decided(patchset: PatchSet, plan: Plan, reporter: Reporter = SILENT) -> Choices:
    """The patch set's choices, and theirs kept where it differs and nobody has said anything.

    Each of those is warned of: the type goes in, and what stands there is said to be somebody's.
    """
    for place in plan.foreign:
        if place.construct == "number":
            reporter.warn(f"{place.file}: line {place.line}: {place.name}: {place.consequence}")
    names = []
    for edit in plan.differing:
        reporter.warn(
            f"{edit.edit.id}: {edit.file}: theirs stays, written differently from ours ({edit.differs});"
            f" --replace {edit.edit.id} puts ours there"
        )
        names.append(edit.edit.id)
    return patchset.choices.merged(keep=tuple(names))


def recorded(tree: Tree, plan: Plan, choices: Choices) -> FilePlan | None:
    """What writing ``plan`` makes of the tree's file; None where it stays as it is."""
    from patcher import __version__

    now = tree_record.read(tree)
    part = now.of(plan.patchset.name)
    standing = {edit.edit.id for edit in plan.edits if edit.state in (State.PRESENT, State.APPLIED)}
    gone = {
        edit.edit.id for edit in plan.missing if edit.hashes
    } - standing  # nothing that was written is there
    gone |= {one.id for one in plan.patchset.retired} - standing
    wrote = {name: hashes for name, hashes in part.wrote.items() if name not in gone}
    for edit in plan.missing:
        if edit.hashes:
            fresh = (
                edit.hashes if edit.resolution == "replaced" else (*wrote.get(edit.edit.id, ()), *edit.hashes)
            )
            wrote[edit.edit.id] = tuple(dict.fromkeys(fresh))
    if not plan.missing and choices == part.choices:
        return None
    if not plan.missing and not part.tool and choices == Choices():
        return None  # all is another hand's, and nothing was decided
    tool = __version__ if plan.missing or not part.tool else part.tool
    return _file(tree, now.with_type(plan.patchset.name, TypeRecord(tool, choices, wrote)).text())


def _file(tree: Tree, text: bytes | None) -> FilePlan | None:
    before = tree.read(PLACE)
    if text is None or text == before:
        return None
    cut = Splice(0, len(before or b""), text)
    return FilePlan(PLACE, before or b"", ((EDIT, cut),), before is None)


def taken_out(tree: Tree, type_names: Iterable[str]) -> bytes | None:
    """The tree's file, which was edited since, without those types; None where nothing is left."""
    record = tree_record.read(tree)
    for name in type_names:
        record = record.with_type(name, None)
    return record.text()
