"""Would it link? What the entries and the texts of a type call is carried, or in BASE; else it is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping

from patcher.base.errors import ConflictError
from patcher.engine.anchors import Source
from patcher.engine.anchors.definitions import definitions
from patcher.engine.replacement import without
from patcher.lift import type_facts
from patcher.lift.places import SetPlaces
from patcher.lift.texts import Texts
from patcher.lift.tree_index import LIBRARY, TreeIndex
from patcher.lift.type_facts import TypeFacts

_CALL = re.compile(r"(?<![\w.])([A-Za-z_]\w*)\s*\(")
_HINT = (
    "what ggml's base and its CPU backend define is lifted, in C that both trees' files have or in sources"
    " below ggml/src that belong to no other backend"
)


def require_bound(tree: TreeIndex, facts: TypeFacts, found: SetPlaces, needed: Texts) -> None:
    """Refuse a type of which functions are named in its entries and defined where nothing is lifted from."""
    carried = {text.name for text in needed.carried}
    carried |= {str(one.edit.anchor["ours"]) for one in found.there if one.edit.kind == "function"}
    names = [name for name in type_facts.functions(tree, facts) if name not in carried]
    if names:
        raise _refused(tree, facts, {name: type_facts.home_of(tree, name) for name in names})


def require_linked(
    tree: TreeIndex, base: TreeIndex, facts: TypeFacts, found: SetPlaces, templates: Mapping[str, str]
) -> None:
    """Refuse a type whose texts call what only another file of the tree defines, and BASE doesn't."""
    called: set[str] = set()
    carried = {str(one.edit.anchor["ours"]) for one in found.there if one.edit.kind == "function"}
    for place, text in templates.items():
        if LIBRARY.match(place):
            source = Source("text.c", text.encode("utf-8", "surrogateescape"))
            there = definitions(source)
            said = without(
                source.code, sorted((o.start, o.end) for o in there if o.construct == "declaration")
            )
            called |= set(_CALL.findall(said.decode("utf-8", "replace")))
            carried |= {one.name for one in there if one.construct != "declaration"}
    lacking = {
        name: tree.shared[name]
        for name in sorted(called - carried)
        if name in tree.shared and name not in base.shared
    }
    if lacking:
        raise _refused(tree, facts, lacking)


def _refused(tree: TreeIndex, facts: TypeFacts, lacking: Mapping[str, str | None]) -> ConflictError:
    return ConflictError(
        f"{tree.name}: {facts.upper}: {len(lacking)} of its functions can't be lifted",
        hint=_HINT,
        details=tuple(
            f"{name}: defined in {home or 'no file that was read'}" for name, home in lacking.items()
        ),
    )
