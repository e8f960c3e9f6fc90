"""A tree that has a type, with the type taken out of it by its own edits; and what putting it back makes.

    python -m benchmarks.lift_taken_out TYPE_FOLDER RELEASE FOLDER

writes such a tree into FOLDER, for ``type prove`` to put the type into.
"""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from patcher.engine.anchors import Source
from patcher.engine.anchors.definitions import definitions
from patcher.engine.comparison import tokens
from patcher.engine.patchset import NEW_FILE, PatchSet, load
from patcher.engine.plan import EditPlan, State
from patcher.engine.planning import make_plan
from patcher.engine.replacement import merged, whole_lines, without
from patcher.engine.tree import ListedTree, Overlaid, OverlaidListed, WorkTree
from patcher.lift.places import paragraph

# what these find is one expression with what was there before: it can't be cut out, and stays
_ONE_WITH_OTHERS = ("enum-count", "comparison", "py-branch", "py-string", "count-assert")


class _Few(Overlaid):
    """A tree of which only the files over it are searched for what other hands have written."""

    def files(self) -> list[str]:
        return sorted(self._over)


@dataclass
class TakenOut:
    """The tree without the type: the edits that were cut out, and each file as it is then."""

    edits: list[str]
    files: dict[str, bytes | None]


@dataclass
class PutBack:
    """What planning the type on that tree gives: of ``edits`` those ``placed`` so that the file is as it was,
    those that give its lines in another order (``moved``) or others (``changed``), those ``refused``.

    ``files`` is every file that lost something -> whether its lines are those that it had, in some order.
    """

    edits: int
    placed: int = 0
    moved: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    files: dict[str, bool] = field(default_factory=dict)


def taken_out(tree: ListedTree, folder: Path) -> TakenOut:
    """``tree`` without what the edits of the type in ``folder`` find in it."""
    plan = make_plan(tree, load(folder))
    spans: dict[str, list[tuple[int, int]]] = {}
    made = TakenOut([], {})
    for edit in plan.edits:
        if not edit.there or edit.edit.kind in _ONE_WITH_OTHERS:
            continue
        made.edits.append(edit.edit.id)
        if edit.edit.kind == NEW_FILE:
            made.files[edit.file] = None
            continue
        source = Source(edit.file, tree.read(edit.file) or b"")
        spans.setdefault(edit.file, []).extend(_spans(source, edit))
    for path, found in spans.items():
        made.files[path] = without(tree.read(path) or b"", merged(found))
    return made


def _spans(source: Source, edit: EditPlan) -> list[tuple[int, int]]:
    """What the edit's text is in the file: with the paragraph of a block, and under all conditions."""
    if edit.edit.kind == "item":
        return [paragraph(source, *span) for span in edit.there]
    if edit.edit.kind == "definition":
        named = [one for one in definitions(source) if one.name == edit.edit.anchor["ours"]]
        return [_whole(source, one.start, one.end) for one in named if one.construct != "declaration"]
    return [_whole(source, *span) for span in edit.there]


def _whole(source: Source, start: int, end: int) -> tuple[int, int]:
    """The span with its lines, and the decorations before it that the anchors don't see."""
    before = re.compile(rb"[ \t]*(?:GGML_API|LLAMA_API)[ \t]+\Z").search(
        source.data, source.line_start(start), start
    )
    return whole_lines(source, before.start() if before is not None else start, end)


def put_back(tree: ListedTree, out: TakenOut, folder: Path) -> PutBack:
    """The type planned on ``tree`` without it, and compared with ``tree`` as it is."""
    there = OverlaidListed(tree, out.files)
    plan = make_plan(there, load(folder))
    by_id = {edit.edit.id: edit for edit in plan.edits}
    made = PutBack(len(out.edits))
    unlike = {
        file.path
        for file in plan.files
        if _said(file.path, file.after()) != _said(file.path, tree.read(file.path) or b"")
    }
    for name in out.edits:
        edit = by_id[name]
        if edit.state is not State.MISSING:
            made.refused.append(name)
        elif edit.file not in unlike or (how := _alike(tree, edit, plan.patchset)) == "placed":
            made.placed += 1
        else:
            getattr(made, how).append(name)
    after = {file.path: file.after() for file in plan.files}
    refused = {by_id[name].file for name in made.refused}
    for path in sorted(out.files):
        again, was = (_lines(path, data or b"") for data in (after.get(path), tree.read(path)))
        made.files[path] = path not in refused and again == was
    return made


def _alike(tree: ListedTree, edit: EditPlan, patchset: PatchSet) -> str:
    """How like the file as it was is to what this edit alone makes of it, taken out and put back."""
    alone = replace(patchset, edits=tuple(one for one in patchset.edits if one.id == edit.edit.id))
    source = Source(edit.file, tree.read(edit.file) or b"")
    before = make_plan(_Few(tree, {edit.file: source.data}), alone).edits[0]
    data = without(source.data, merged(_spans(source, before)))
    files = make_plan(_Few(tree, {edit.file: data}), alone).files
    after = next((file.after() for file in files if file.path == edit.file), data)
    if _said(edit.file, after) == _said(edit.file, source.data):
        return "placed"
    return "moved" if _lines(edit.file, after) == _lines(edit.file, source.data) else "changed"


def _lines(path: str, data: bytes) -> list[str]:
    """What its lines say, sorted: two files that have the same lines, in whatever order, give the same."""
    return sorted(said for line in data.split(b"\n") if (said := _said(path, line)))


def _said(path: str, data: bytes) -> str:
    return tokens(data, python=path.endswith((".py", ".txt", ".cmake")))


def write(tree: WorkTree, out: TakenOut, place: Path) -> None:
    """That tree as a folder of its own, which mustn't be there yet."""
    shutil.copytree(tree.root, place, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    for path, data in out.files.items():
        if data is None:
            (place / path).unlink()
        else:
            (place / path).write_bytes(data)


def main(arguments: list[str]) -> int:
    """Write one, and say what putting the type back makes of it."""
    folder, release, place = map(Path, arguments)
    tree = WorkTree(release)
    out = taken_out(tree, folder)
    write(tree, out, place)
    sys.stdout.write(f"{place}: {put_back(tree, out, folder)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
