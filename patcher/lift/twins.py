"""Functions and classes of Python that a carried text names and BASE lacks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass

from patcher.engine.anchors import AnchorError, Source
from patcher.engine.anchors.definitions import with_comment
from patcher.engine.anchors.python_module import Module
from patcher.lift.places import SetPlace
from patcher.lift.texts import verbatim
from patcher.lift.tree_index import WORD, TreeIndex


@dataclass(frozen=True)
class Twin:
    """One definition of a module; ``behind`` is the nearest one before it that BASE has, too."""

    path: str
    name: str
    span: tuple[int, int]
    behind: str
    template: str
    needed_by: str
    when: str | None = None  # a pattern without which the file has no place for what needs it


def of_places(tree: TreeIndex, base: TreeIndex, found: Iterable[SetPlace]) -> list[Twin]:
    """All that the texts of ``found`` need, each once, what is needed first before what needs it."""
    made: dict[tuple[str, str], Twin] = {}
    for place in found:
        if place.template is None or not place.path.endswith(".py"):
            continue
        source, before = tree.source(place.path), base.same(place.path)
        if source is None or before is None:
            continue
        try:
            ours, theirs = _definitions(source), _definitions(before)
        except AnchorError:
            continue
        _add(made, place, source, ours, theirs, place.template, place.edit.id)
    return list(made.values())


_Nodes = dict[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]


def _definitions(source: Source) -> _Nodes:
    return {
        node.name: node
        for node in Module(source).tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }


def _add(
    made: dict[tuple[str, str], Twin],
    place: SetPlace,
    source: Source,
    ours: _Nodes,
    theirs: _Nodes,
    text: str,
    by: str,
) -> None:
    own = str(place.edit.anchor.get("ours"))
    for word in dict.fromkeys(WORD.findall(re.sub(r"#[^\n]*", "", text))):
        node = ours.get(word)
        if node is None or word in theirs or word == own or (place.path, word) in made:
            continue
        before = [name for name, other in ours.items() if other.lineno < node.lineno and name in theirs]
        if not before:
            continue
        start = with_comment(source, source.starts[node.lineno - 1])
        end = source.starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        body = source.text(start, end).replace("\r\n", "\n")
        _add(made, place, source, ours, theirs, body.partition("\n")[2], word)
        made[place.path, word] = Twin(
            place.path, word, (start, end), before[-1], verbatim(body) + "\n", by, place.edit.when
        )
