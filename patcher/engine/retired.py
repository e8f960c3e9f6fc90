"""Edits that earlier releases of this tool had and today's hasn't: known where they stand, and taken out.

A tree keeps what was written to it. Without this, a text whose edit is gone would stay there for ever, and
would be told of as somebody's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from patcher.engine.anchors import Splice
from patcher.engine.patchset import Edit, PatchSet, Retired
from patcher.engine.plan import EditPlan, State
from patcher.engine.tree import Tree

KIND = "retired"  # stands where other edits have the kind of their anchor
OLD = "an earlier q8a8-patch wrote it, and today's doesn't; 'apply --update' takes it out"


def plans(patchset: PatchSet, tree: Tree) -> Iterator[EditPlan]:
    """Each of them that stands in ``tree``, where the tree says that this tool wrote it."""
    for one in _written(patchset):
        for path in _files(patchset, one):
            spans = _spans(one, tree.read(path) or b"")
            if spans:
                yield _plan(patchset, one, path, spans)


def without(patchset: PatchSet, path: str, data: bytes) -> bytes:
    """``data``, which is the file ``path`` of a tree that says so, without any of them."""
    for one in _written(patchset):
        if path in _files(patchset, one):
            for start, end in reversed(_spans(one, data)):
                data = data[:start] + data[end:]
    return data


def files(patchset: PatchSet) -> set[str]:
    """The files that may hold one."""
    return {path for one in _written(patchset) for path in _files(patchset, one)}


def _written(patchset: PatchSet) -> Iterator[Retired]:
    return (one for one in patchset.retired if one.by in patchset.wrote)


def _files(patchset: PatchSet, one: Retired) -> list[str]:
    return [path.removeprefix(patchset.strip) for path in one.files]


def _spans(one: Retired, data: bytes) -> list[tuple[int, int]]:
    """What it wrote, in order; what a group ``keep`` matches was there before."""
    spans = []
    for found in re.finditer(one.text.encode(), data, re.MULTILINE):
        start, end = found.span()
        if found.groupdict().get("keep") is not None:
            spans.append((start, found.start("keep")))
            start = found.end("keep")
        spans.append((start, end))
    return [(start, end) for start, end in spans if start < end]


def _plan(patchset: PatchSet, one: Retired, path: str, spans: list[tuple[int, int]]) -> EditPlan:
    edit = Edit(one.id, KIND, one.because, (path,), KIND, {}, "", optional=one.because)
    there = tuple(spans)
    if not patchset.updates:
        return EditPlan(edit, State.PRESENT, path, f"there: {OLD}", there=there, is_old=True)
    cuts = tuple(Splice(start, end, b"") for start, end in spans)
    return EditPlan(edit, State.MISSING, path, f"to take out: {one.because}", cuts, there=there)
