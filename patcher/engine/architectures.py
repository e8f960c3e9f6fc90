"""Which architectures of a tree's CPU backend have a function of their own, in their folder of ``arch/``.

A header beside that folder gives the plain text of a function the name of one that an architecture lacks. A
later release may have written that one: then the two don't link.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from typing import cast

from patcher.engine.anchors import Source
from patcher.engine.anchors.definitions import definitions
from patcher.engine.patchset import Edit, PatchSet
from patcher.engine.tree import ListedTree, Tree

_NAMED = re.compile(r"#\s*define\s+\w+\s+(\w+)")


def fitted(patchset: PatchSet, tree: Tree) -> PatchSet:
    """The patch set with what ``tree`` says to its edits of the kind ``branch-define``: where an architecture
    defines the function itself. A tree that doesn't know its files says nothing."""
    edits = [edit for edit in patchset.edits if edit.kind == "branch-define" and edit.unneeded is None]
    if not edits or not hasattr(tree, "files"):
        return patchset
    paths = cast(ListedTree, tree).files()
    told = {edit.id: _told(patchset, tree, edit, paths) for edit in edits}
    return replace(patchset, edits=tuple(told.get(edit.id, edit) for edit in patchset.edits))


def _told(patchset: PatchSet, tree: Tree, edit: Edit, paths: list[str]) -> Edit:
    header = next((path for path in edit.files if tree.read(path) is not None), None)
    if header is None:
        return edit
    named = _NAMED.search(patchset.render(edit, tree, {}))
    if named is None:
        return edit
    folder = posixpath.join(posixpath.dirname(header), "arch", "")
    own = [
        path
        for path in paths
        if path.startswith(folder)
        and path.endswith((".c", ".cpp"))
        and defines(path, tree.read(path) or b"", named[1])
    ]
    return replace(edit, anchor={**edit.anchor, "own": [*edit.anchor.get("own", ()), *own]}) if own else edit


def defines(path: str, data: bytes, name: str) -> bool:
    """Whether the source ``data`` defines a function ``name`` that other files see."""
    if re.search(rb"\b%b\s*\(" % name.encode(), data) is None:
        return False
    source = Source(path, data)
    return any(
        one.name == name
        and one.construct == "function"
        and b"static" not in source.code[one.start : one.end].partition(b"(")[0].split()
        for one in definitions(source)
    )
