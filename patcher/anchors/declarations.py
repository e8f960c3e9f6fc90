"""Anchors at what a file declares: enumerators, functions, table entries, instantiations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from patcher.anchors.site import AnchorError, Existing, Located, Place, Site
from patcher.anchors.syntax import Syntax, ancestor

if TYPE_CHECKING:
    from tree_sitter import Node

_CONTAINERS = (
    "translation_unit",
    "declaration_list",
    "preproc_if",
    "preproc_ifdef",
    "preproc_else",
    "preproc_elif",
)


def _enum_body(syntax: Syntax, enum: str) -> list[Node]:
    """The enumerators of ``enum``, in order."""
    bodies = []
    for token in syntax.tokens(rf"\benum\s+(?:class\s+)?{re.escape(enum)}\b[^;{{]*\{{"):
        node = ancestor(syntax.at(token.start(), token.end()), "enum_specifier")
        body = node.child_by_field_name("body") if node is not None else None
        if body is not None:
            bodies.append([child for child in body.named_children if child.type == "enumerator"])
    if len(bodies) != 1 or not bodies[0]:
        raise AnchorError(f"one enum {enum} with enumerators", f"{len(bodies)}")
    return bodies[0]


def _members(syntax: Syntax, nodes: Iterable[Node]) -> dict[str, tuple[Node, int | None]]:
    """Name -> (node, value or None where it isn't a plain number)."""
    members: dict[str, tuple[Node, int | None]] = {}
    for node in nodes:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name is None:
            continue
        try:
            number = int(syntax.text(value), 0) if value is not None else None
        except ValueError:
            number = None
        members[syntax.text(name)] = (node, number)
    return members


def enumerator(
    syntax: Syntax, *, enum: str, ours: str, value: int, before: str | None = None, renumber: bool = False
) -> Located:
    """A member of ``enum``, behind its last one or the last one before ``before``.

    ``ours`` with another value, or ``value`` under another name, contradicts: files written with one
    id are unreadable with another. With ``renumber`` another value of ours gives way to ``value``.
    """
    source = syntax.source
    nodes = _enum_body(syntax, enum)
    members = _members(syntax, nodes)
    taken = next((name for name, (_, number) in members.items() if number == value and name != ours), None)
    if taken is not None and taken != before:
        raise AnchorError(f"{value} free in enum {enum}", f"it taken by {taken}")
    if ours in members:
        node, number = members[ours]
        contradiction = None
        if number != value and renumber:
            return Located((_number(node, enum, value),))
        if number != value:
            contradiction = f"{ours} = {number if number is not None else 'no plain number'}, not {value}"
        return Located(existing=(Existing(enum, node.start_byte, node.end_byte, contradiction),))
    last = nodes[-1]
    if before is not None:
        if before not in members:
            raise AnchorError(f"{before} in enum {enum}", "none")
        position = nodes.index(members[before][0])
        if position == 0:
            raise AnchorError(f"an enumerator before {before} in enum {enum}", "none")
        last = nodes[position - 1]
    if not source.code[last.end_byte :].lstrip().startswith(b","):
        raise AnchorError(f"a comma behind {syntax.text(last)} in enum {enum}", "none")
    behind = source.line_end(last.end_byte)
    start = last.start_byte
    return Located((Site(enum, behind, behind, Place.LINES, source.indent(start), source.line(start)),))


def _number(node: Node, enum: str, value: int) -> Site:
    """Where the number of an enumerator stands, or would."""
    old = node.child_by_field_name("value")
    if old is not None:
        return Site(enum, old.start_byte, old.end_byte, Place.INLINE, text=str(value))
    return Site(enum, node.end_byte, node.end_byte, Place.INLINE, text=f" = {value}")


def enum_count(syntax: Syntax, *, enum: str, count: str, ours: str, value: int) -> Located:
    """The value of ``count``, the enumerator that says how many there are: one more than the highest."""
    members = _members(syntax, _enum_body(syntax, enum))
    if count not in members:
        raise AnchorError(f"{count} in enum {enum}", "none")
    node, number = members.pop(count)
    if number is None:
        text = syntax.text(node)
        if node.child_by_field_name("value") is None:
            # no number: C counts on from the member before, which is ours
            return Located(existing=(Existing(enum, node.start_byte, node.end_byte, note=text),))
        raise AnchorError(f"{count} with a plain number in enum {enum}", text)
    wanted = 1 + max(value, *(n for name, (_, n) in members.items() if n is not None and name != ours))
    if number == wanted:
        return Located(existing=(Existing(enum, node.start_byte, node.end_byte),))
    old = node.child_by_field_name("value")
    if old is None:
        raise AnchorError(f"{count} with a value", "none")
    return Located((Site(enum, old.start_byte, old.end_byte, Place.INLINE, values={"count": wanted}),))


def _functions(syntax: Syntax, name: str, kind: str) -> list[Node]:
    """Nodes of type ``kind`` that define or declare the function ``name``."""
    found: dict[int, Node] = {}
    for token in syntax.tokens(rf"\b{re.escape(name)}\s*\("):
        node = ancestor(
            syntax.at(token.start(), token.start() + len(name)), "function_declarator", "compound_statement"
        )
        if node is None or node.type != "function_declarator":
            continue
        whole = ancestor(node, "function_definition", "declaration")
        if whole is not None and whole.type == kind and syntax.function_name(whole) == name:
            found[whole.start_byte] = whole
    return list(found.values())


def function(syntax: Syntax, *, names: Iterable[str], ours: str) -> Located:
    """Behind the definition of the first function of ``names`` that the file defines."""
    source = syntax.source
    there = _functions(syntax, ours, "function_definition")
    if there:
        return Located(existing=tuple(Existing(ours, node.start_byte, node.end_byte) for node in there[:1]))
    found = next((nodes for name in names if (nodes := _functions(syntax, name, "function_definition"))), [])
    if len(found) != 1:
        raise AnchorError(f"one definition of {' or '.join(names)}", f"{len(found) or 'none'}")
    behind = source.line_end(found[0].end_byte)
    indent = source.indent(found[0].start_byte)
    return Located((Site(ours, behind, behind, Place.LINES, indent, blank_before=1),))


def declaration(syntax: Syntax, *, name: str, ours: str) -> Located:
    """Behind the declaration of the function ``name``, formatted like it."""
    source = syntax.source
    there = _functions(syntax, ours, "declaration")
    if there:
        return Located(existing=(Existing(ours, there[0].start_byte, there[0].end_byte),))
    found = _functions(syntax, name, "declaration")
    if len(found) != 1:
        raise AnchorError(f"one declaration of {name}", f"{len(found)}")
    start = found[0].start_byte
    behind = source.line_end(found[0].end_byte)
    return Located((Site(name, behind, behind, Place.LINES, source.indent(start), source.line(start)),))


def item(syntax: Syntax, *, mentions: str, ours: str, owner: str = "") -> Located:
    """Behind the one top-level item whose code matches the pattern ``mentions``."""
    source = syntax.source
    there = syntax.tokens(ours)
    if there:
        node = _top(syntax.at(there[0].start(), there[0].end()))
        return Located(existing=(Existing(owner, node.start_byte, node.end_byte),))
    items = {}
    for token in syntax.tokens(mentions):
        node = _top(syntax.at(token.start(), token.end()))
        items[node.start_byte] = node
    if len(items) != 1:
        raise AnchorError(f"one declaration that matches '{mentions}'", f"{len(items)}")
    (node,) = items.values()
    behind = source.line_end(node.end_byte - 1)
    return Located(
        (Site(owner, behind, behind, Place.LINES, source.indent(node.start_byte), blank_before=1),)
    )


def _top(node: Node) -> Node:
    while node.parent is not None and node.parent.type not in _CONTAINERS:
        node = node.parent
    return node


def table(syntax: Syntax, *, table: str, key: str, ours: str) -> Located:
    """Behind the entry ``[key] = ...`` of the array ``table``."""
    source = syntax.source

    def entries(name: str) -> list[Node]:
        pairs = []
        for token in syntax.tokens(rf"\[\s*{re.escape(name)}\s*\]\s*="):
            node = ancestor(syntax.at(token.start(), token.end()), "initializer_pair")
            if node is not None and syntax.owner(node) == table:
                pairs.append(node)
        return pairs

    there = entries(ours)
    if there:
        return Located(existing=(Existing(table, there[0].start_byte, there[0].end_byte),))
    found = entries(key)
    if len(found) != 1:
        raise AnchorError(f"one entry [{key}] in {table}", f"{len(found)}")
    node = found[0]
    if not source.code[node.end_byte :].lstrip().startswith(b","):
        raise AnchorError(f"a comma behind the entry [{key}] of {table}", "none")
    behind = source.line_end(node.end_byte)
    return Located((Site(table, behind, behind, Place.LINES, source.indent(node.start_byte)),))


_SAME_TYPE = {"int": "int32_t", "signed": "int32_t", "unsigned": "uint32_t", "unsigned int": "uint32_t"}


def instantiation(
    syntax: Syntax, *, function: str, types: Iterable[str], parameter: str = "{}", only_if: str = ""
) -> Located:
    """Explicit instantiations of the member template ``function`` whose key is a string, for ``types``.

    Only those that the file lacks: a second one of the same type is a compile error. ``parameter``
    is the second parameter's type with ``{}`` for the template argument. The text goes behind the
    last explicit instantiation of any overload, or behind the last definition where there is none.
    """
    source = syntax.source
    name = function.rsplit("::", 1)[-1]
    taken = {}
    argument = re.escape(parameter).replace(r"\{\}", r"\s*(?P<type>[\w:]+(?:\s+int)?)\s*")
    pattern = (
        rf"\btemplate\b\s*(?:<\s*>)?[^;{{}}()]*\b{re.escape(function)}\s*(?:<[^;(){{}}]*>)?\s*"
        rf"\(\s*const\s+std::string\s*&\s*\w*\s*,\s*{argument}\s*&"
    )
    for token in syntax.tokens(pattern):
        written = " ".join(token["type"].decode().split())
        taken[_SAME_TYPE.get(written, written)] = token
    existing = tuple(
        Existing(f"{name}<{kind}>", taken[kind].start(), taken[kind].end()) for kind in types if kind in taken
    )
    missing = [kind for kind in types if kind not in taken]
    if not missing:
        return Located(existing=existing)
    last = -1
    for token in syntax.tokens(rf"\btemplate\s+(?!<)[^;{{}}]*\b{re.escape(function)}\b[^;{{}}]*;"):
        last = max(last, token.end())
    if last < 0:
        definitions = [node.end_byte for node in _functions(syntax, name, "function_definition")]
        if not definitions:
            raise AnchorError(f"the template {function} or an explicit instantiation of it", "neither")
        last = max(definitions)
    behind = source.line_end(last - 1)
    site = Site(
        name,
        behind,
        behind,
        Place.LINES,
        source.indent(source.line_start(last - 1)),
        values={"missing": missing},
        blank_before=1,
    )
    return Located((site,), existing)
