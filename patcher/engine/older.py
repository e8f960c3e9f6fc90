"""Texts of edits that there are, as an earlier release of this tool wrote them: brought to today's."""

from __future__ import annotations

from dataclasses import replace

from patcher.engine.patchset import PatchSet
from patcher.engine.planning import make_plan
from patcher.engine.tree import Tree


def brought_up(patchset: PatchSet, tree: Tree, path: str, data: bytes) -> bytes:
    """``data``, the file ``path`` of ``tree``, with today's texts where the tree says that what it has was
    ours. What is missing isn't added, and what somebody has changed stays."""
    edits = tuple(
        edit
        for edit in patchset.edits
        if edit.id in patchset.wrote and path in {name.removeprefix(patchset.strip) for name in edit.files}
    )
    if not edits:
        return data
    plan = make_plan(tree, replace(patchset, edits=edits, updates=True))
    older = {edit.edit.id for edit in plan.missing if edit.resolution == "replaced"}
    files = [file for file in plan.files if file.path == path]
    return files[0].after(older) if files and older else data
