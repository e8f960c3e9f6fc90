"""The names of a template's parameters, from its definition in the source or its declaration in a header."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tree_sitter import Node

from patcher.engine.anchors.source import Source
from patcher.engine.anchors.syntax import Syntax
from patcher.symbols.repair.signature import Signature

_INCLUDE = re.compile(rb'^[ \t]*#\s*include\s*"([^"\n]+)"', re.M)
MAX_FILE = 16 << 20


def parameter_names(wanted: Signature, source: Path) -> tuple[str, ...]:
    """The names, one for each parameter; empty where no declaration that fits is found.

    The source is looked at first, then the headers that it includes from beside it.
    """
    for path in (source, *_headers(source)):
        if not path.is_file() or path.stat().st_size > MAX_FILE:
            continue
        syntax = Syntax(Source(str(path), path.read_bytes()))
        for names in _declared(syntax, syntax.tree.root_node, wanted):
            if len(names) == len(wanted.parameters) and all(names):
                return names
    return ()


def _headers(source: Path) -> Iterator[Path]:
    for name in _INCLUDE.findall(source.read_bytes()):
        yield source.parent / name.decode("utf-8", "replace")


def _declared(syntax: Syntax, root: Node, wanted: Signature) -> Iterator[tuple[str, ...]]:
    """The parameter names of every function template of that name."""
    todo = [root]
    while todo:
        node = todo.pop()
        if node.type == "function_declarator" and _in_template(node):
            name = node.child_by_field_name("declarator")
            text = syntax.text(name).partition("<")[0] if name is not None else ""
            # in a class the name is not qualified, in a namespace it may be
            if text == wanted.base or wanted.name.endswith(f"::{text}") or text == wanted.name:
                types = (
                    [] if (found := node.child_by_field_name("parameters")) is None else found.named_children
                )
                if _fits([syntax.text(one) for one in types], wanted):
                    yield tuple(_name(syntax, one) for one in types if one.type != "comment")
        todo.extend(reversed(node.children))


def _in_template(node: Node) -> bool:
    above: Node | None = node
    for _ in range(6):
        above = above.parent if above is not None else None
        if above is not None and above.type == "template_declaration":
            return True
    return False


def _fits(declared: list[str], wanted: Signature) -> bool:
    """Whether the types that no template argument stands for agree: overloads differ in those."""
    if len(declared) != len(wanted.parameters):
        return False
    for ours, theirs in zip(wanted.parameters, declared, strict=True):
        words = set(re.findall(r"\w+", ours)) - {"const", "std"}
        there = set(re.findall(r"\w+", theirs))
        simple = {"bool", "int", "string", "float", "double", "char", "void"}
        # a parameter of a template argument's type has no word in common; a wrong overload differs in these
        if ours in wanted.arguments or ours.rstrip("&* ") in wanted.arguments.strip("<>").split(", "):
            continue
        if not words & there and not (words <= simple and not there & simple):
            return False
    return True


def _name(syntax: Syntax, parameter: Node) -> str:
    node = parameter.child_by_field_name("declarator")
    while node is not None and node.type not in ("identifier", "field_identifier"):
        inner = node.child_by_field_name("declarator")
        if inner is None:
            inner = next(
                (
                    one
                    for one in reversed(node.named_children)
                    if one.type.endswith(("declarator", "identifier"))
                ),
                None,
            )
        node = inner
    return syntax.text(node) if node is not None else ""
