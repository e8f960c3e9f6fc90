"""Anchors at what a file declares: functions, table entries, instantiations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from patcher.engine.anchors.conditions import twice, uncovered
from patcher.engine.anchors.focus import Wanted
from patcher.engine.anchors.kind import AnchorKind, Language
from patcher.engine.anchors.site import (
    AnchorError,
    Existing,
    Located,
    Place,
    Site,
    behind,
    behind_comma,
    outside,
)
from patcher.engine.anchors.syntax import Syntax, ancestor

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


def _functions(syntax: Syntax, name: str, node_type: str) -> list[Node]:
    """Nodes of type ``node_type`` that define or declare the function ``name``."""
    found: dict[int, Node] = {}
    for token in syntax.tokens(rf"\b{re.escape(name)}\s*\("):
        node = ancestor(
            syntax.at(token.start(), token.start() + len(name)), "function_declarator", "compound_statement"
        )
        if node is None or node.type != "function_declarator":
            continue
        whole = ancestor(node, "function_definition", "declaration")
        if whole is not None and whole.type == node_type and syntax.function_name(whole) == name:
            found[whole.start_byte] = whole
    return list(found.values())


def function(syntax: Syntax, *, names: Iterable[str], ours: str) -> Located:
    """Behind the definition of the first function of ``names`` that the file defines."""
    source = syntax.source
    found = next((nodes for name in names if (nodes := _functions(syntax, name, "function_definition"))), [])
    there = _functions(syntax, ours, "function_definition")
    if there:
        return Located(existing=(_existing(syntax, ours, ours, there, found),))
    if len(found) != 1:
        raise AnchorError(f"one definition of {' or '.join(names)}", f"{len(found) or 'none'}")
    at = behind(source, found[0].end_byte, f"the definition of {syntax.function_name(found[0])}")
    at = outside(source, at, found[0].start_byte)
    indent = source.indent(found[0].start_byte)
    return Located((Site(ours, at, at, Place.LINES, indent, blank_before=1),))


FUNCTION = AnchorKind(
    "function",
    function,
    Language.C,
    hangs_on=lambda at: rf"\b{at['names'][0]}\b",
    shows="names",
    is_whole=True,
    example='names = ["quantize_q8_0"], ours = "quantize_q8_a8"',
)


def _existing(syntax: Syntax, owner: str, ours: str, there: list[Node], beside: list[Node]) -> Existing:
    """The first of ``there``; a contradiction where it lies under a condition that ``beside`` doesn't."""
    places, siblings = ([node.start_byte for node in nodes] for nodes in (there, beside))
    problem = uncovered(syntax.source, ours, places, siblings) or twice(syntax.source, ours, places)
    return Existing(owner, there[0].start_byte, there[0].end_byte, problem)


def declaration(syntax: Syntax, *, name: str, ours: str) -> Located:
    """Behind the declaration of the function ``name``, formatted like it."""
    source = syntax.source
    there = _functions(syntax, ours, "declaration")
    found = _functions(syntax, name, "declaration")
    if there:
        return Located(existing=(_existing(syntax, ours, ours, there, found),))
    if len(found) != 1:
        raise AnchorError(f"one declaration of {name}", f"{len(found)}")
    start = found[0].start_byte
    at = outside(source, behind(source, found[0].end_byte, f"the declaration of {name}"), start)
    return Located((Site(name, at, at, Place.LINES, source.indent(start), source.line(start)),))


DECLARATION = AnchorKind(
    "declaration",
    declaration,
    Language.C,
    hangs_on=lambda at: rf"\b{at['name']}\b",
    shows="name",
    example='name = "quantize_q8_0", ours = "quantize_q8_a8"',
)


def item(syntax: Syntax, *, mentions: str, ours: str, owner: str = "", within: str = "") -> Located:
    """Behind the one top-level item whose code matches the pattern ``mentions``.

    ``within`` is a word of the ``#if`` that all such items of the file lie in.
    """
    source = syntax.source
    items = {}
    for token in syntax.tokens(mentions):
        node = _top(syntax.at(token.start(), token.end()))
        items[node.start_byte] = node
    there = [_top(syntax.at(token.start(), token.end())) for token in syntax.tokens(ours)]
    if there:
        name = syntax.source.text(*syntax.tokens(ours)[0].span())
        return Located(existing=(_existing(syntax, owner, name, there, list(items.values())),))
    if len(items) != 1:
        raise AnchorError(f"one declaration that matches '{mentions}'", f"{len(items)}")
    (node,) = items.values()
    semicolon = re.compile(rb"\s*;").match(source.code, node.end_byte)
    at = behind(source, semicolon.end() if semicolon else node.end_byte, f"what matches '{mentions}'")
    at = outside(source, at, node.start_byte, within=within)
    return Located((Site(owner, at, at, Place.LINES, source.indent(node.start_byte), blank_before=1),))


ITEM = AnchorKind(
    "item",
    item,
    Language.C,
    hangs_on=lambda at: str(at["mentions"]),
    patterns=("ours", "mentions"),
    shows="owner",
    example='mentions = "\\\\bblock_q8_0;", ours = "\\\\bblock_q8_a8;", owner = "block_q8_a8"',
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

    there, found = entries(ours), entries(key)
    if there:
        return Located(existing=(_existing(syntax, table, f"[{ours}]", there, found),))
    if len(found) != 1:
        raise AnchorError(f"one entry [{key}] in {table}", f"{len(found)}")
    node = found[0]
    at = behind_comma(source, node.end_byte, f"the entry [{key}] of {table}")
    at = outside(source, at, node.start_byte, inside=_list_of(node))
    return Located((Site(table, at, at, Place.LINES, source.indent(node.start_byte)),))


TABLE = AnchorKind(
    "table",
    table,
    Language.C,
    hangs_on=lambda at: rf"(?<=\[){at['key']}(?=\])",
    bodies=lambda at: [Wanted((at["table"],), header_only=True)],
    shows="table",
    is_whole=True,
    example='table = "type_traits", key = "GGML_TYPE_Q8_0", ours = "GGML_TYPE_Q8_A8"',
)


def _list_of(node: Node) -> int:
    whole = ancestor(node, "init_declarator", "declaration", "function_definition")
    return whole.start_byte if whole is not None else -1


_SAME_TYPE = {"int": "int32_t", "signed": "int32_t", "unsigned": "uint32_t", "unsigned int": "uint32_t"}


def instantiation(syntax: Syntax, *, function: str, types: Iterable[str], parameter: str = "{}") -> Located:
    """Explicit instantiations of the member template ``function`` whose key is a string, for ``types``.

    Only those that the file lacks: a second one of the same type is a compile error. ``parameter``
    is the second parameter's type with ``{}`` for the template argument. The text goes behind the
    last explicit instantiation of any overload, or behind the last definition where there is none.
    """
    source = syntax.source
    name = function.rsplit("::", 1)[-1]
    taken: dict[str, list[re.Match[bytes]]] = {}
    # a container's default allocator may be written out
    one = r"\s*(?P<type>[\w:]+(?:\s+int)?)\s*(?:,\s*std::allocator\s*<\s*(?P=type)\s*>\s*)?"
    argument = re.escape(parameter).replace(r"\{\}", one)
    pattern = (
        rf"\btemplate\b\s*(?:<\s*>)?[^;{{}}()]*\b{re.escape(function)}\s*(?:<[^;(){{}}]*>)?\s*"
        rf"\(\s*const\s+std::string\s*&\s*\w*\s*,\s*{argument}\s*&"
    )
    for token in syntax.tokens(pattern):
        written = " ".join(token["type"].decode().split())
        taken.setdefault(_SAME_TYPE.get(written, written), []).append(token)
    definitions = _functions(syntax, name, "function_definition")
    beside = [node.start_byte for node in definitions]

    def problem(argument: str) -> str | None:
        said, there = f"{name}<{argument}>", [token.start() for token in taken[argument]]
        return uncovered(source, said, there, beside) or twice(source, said, there)

    existing = tuple(
        Existing(
            f"{name}<{argument}>", taken[argument][0].start(), taken[argument][0].end(), problem(argument)
        )
        for argument in types
        if argument in taken
    )
    missing = [argument for argument in types if argument not in taken]
    if not missing:
        return Located(existing=existing)
    last = -1
    for token in syntax.tokens(rf"\btemplate\s+(?!<)[^;{{}}]*\b{re.escape(function)}\b[^;{{}}]*;"):
        last = max(last, token.end())
    if last < 0:
        if not definitions:
            raise AnchorError(f"the template {function} or an explicit instantiation of it", "neither")
        last = max(node.end_byte for node in definitions)
    at = outside(source, behind(source, last, f"the last instantiation of {function}"), last - 1)
    site = Site(
        name,
        at,
        at,
        Place.LINES,
        source.indent(source.line_start(last - 1)),
        values={"missing": missing},
        blank_before=1,
    )
    return Located((site,), existing)


INSTANTIATION = AnchorKind(
    "instantiation",
    instantiation,
    Language.C,
    hangs_on=lambda at: rf"\b{at['function']}\b",
    bodies=lambda at: [Wanted(("namespace",), (at["function"],))],
    shows="function",
    example='function = "llama_model_loader::get_key", types = ["bool", "float"]',
)
