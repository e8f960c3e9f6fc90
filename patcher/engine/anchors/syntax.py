"""C and C++ through tree-sitter: parsing, and the questions that anchors ask of a syntax tree.

Macros that would break the grammar are blanked at equal length first, so offsets stay valid.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from patcher.engine.anchors.source import CONDITION, Source, blank, blank_run

if TYPE_CHECKING:
    from tree_sitter import Language, Node

# ggml's and llama's decorations: they mean nothing to an anchor and are not C.
_DECORATION = re.compile(
    rb"\b(?:GGML_API|GGML_BACKEND_API|GGML_RESTRICT|GGML_EXTENSION|GGML_NORETURN|GGML_NO_INLINE"
    rb"|GGML_CALL|LLAMA_API|MTMD_API|RESTRICT|LLAMA_ATTRIBUTE_FORMAT\s*\([^()]*\)"
    rb"|GGML_ATTRIBUTE_FORMAT\s*\([^()]*\)|__restrict)\b"
)
_LINKAGE_OPEN = re.compile(rb'extern\s+"C"\s*\{')
_LINKAGE_CLOSE = re.compile(
    rb"^[ \t]*#\s*if(?:def\s+|\s+defined\s*(?:\(\s*)?)__cplusplus\b[^\n]*\n\s*\}[^\n]*\n\s*#\s*endif", re.M
)
_INITIALIZER = re.compile(rb"=\s*\{")
_BRACE = re.compile(rb"[{};]")
_DEPRECATED = re.compile(rb"\b(?:GGML_DEPRECATED|DEPRECATED)\s*\(")


def blanked(data: bytes) -> bytes:
    """``data`` without the macros and linkage guards that the grammar can't take, same length."""
    data = _DECORATION.sub(blank, data)
    data = _LINKAGE_OPEN.sub(blank, data)
    data = _LINKAGE_CLOSE.sub(blank, data)
    out = bytearray(data)
    for found in _DEPRECATED.finditer(data):
        close, comma = _closing(data, found.end())
        if close < 0 or comma < 0:
            continue  # the macro's own #define: nothing to unwrap
        out[found.start() : found.end()] = b" " * (found.end() - found.start())
        out[comma : close + 1] = blank_run(data[comma : close + 1])
    return bytes(out)


def _closing(data: bytes, start: int) -> tuple[int, int]:
    """Offsets of the parenthesis that closes the one before ``start``, and of the last comma at its level."""
    depth, comma = 1, -1
    for found in re.compile(rb'"(?:\\.|[^"\\\n])*"?|[(),;{]').finditer(data, start):
        token = found.group()
        if token == b"(":
            depth += 1
        elif token == b")":
            depth -= 1
            if not depth:
                return found.start(), comma
        elif token == b"," and depth == 1:
            comma = found.start()
        elif token in (b";", b"{"):
            break
    return -1, comma


def _conditions_in_lists(code: bytes) -> Iterator[tuple[int, int]]:
    """The ``#if`` and ``#endif`` lines within initializers: the grammar has no place for them there."""
    position = 0
    while opened := _INITIALIZER.search(code, position):
        position, depth = opened.end(), 0
        for token in _BRACE.finditer(code, opened.end() - 1):
            if token.group() == b";":
                break  # no plain list, or one whose braces a condition opens twice
            depth += 1 if token.group() == b"{" else -1
            if not depth:
                position = token.end()
                yield from (found.span() for found in CONDITION.finditer(code, opened.end(), position))
                break


@cache
def _language(cpp: bool) -> Language:
    from tree_sitter import Language

    if cpp:
        import tree_sitter_cpp

        return Language(tree_sitter_cpp.language())
    import tree_sitter_c

    return Language(tree_sitter_c.language())


class Syntax:
    """The syntax tree of one :class:`Source`, of the byte ranges ``ranges`` alone where they are given."""

    def __init__(self, source: Source, ranges: Iterable[tuple[int, int]] | None = None) -> None:
        from tree_sitter import Parser, Range

        self.source = source
        # nobody asks a node for its row and column, so ranges need not know them either
        parts = None if ranges is None else [Range((0, a), (0, b), a, b) for a, b in ranges if a < b]
        # the C grammar fails on C++; the C++ grammar reads ggml's headers, which both languages include
        language = _language(not source.path.endswith(".c"))
        text = bytearray(blanked(source.live))
        for start, end in _conditions_in_lists(source.code):
            text[start:end] = blank_run(bytes(text[start:end]))
        self.tree = Parser(language, included_ranges=parts).parse(bytes(text))

    def at(self, start: int, end: int) -> Node:
        """The smallest named node that holds the bytes ``start`` to ``end``."""
        node = self.tree.root_node.named_descendant_for_byte_range(start, end)
        return node if node is not None else self.tree.root_node

    def text(self, node: Node) -> str:
        """The node's text as it stands in the file."""
        return self.source.text(node.start_byte, node.end_byte)

    def code(self, node: Node) -> str:
        """The node's text without comments and literals."""
        return self.source.code[node.start_byte : node.end_byte].decode("utf-8", "replace")

    def tokens(self, pattern: str) -> list[re.Match[bytes]]:
        """Where ``pattern`` stands in code: not in a comment, not in a literal."""
        return list(re.finditer(pattern.encode(), self.source.code))

    def owner(self, node: Node) -> str:
        """The name of the function that holds ``node``, or of the enum or variable, or ``""``."""
        function = ancestor(node, "function_definition")
        if function is not None:
            return self.function_name(function)
        enum = ancestor(node, "enum_specifier")
        name = enum.child_by_field_name("name") if enum is not None else None
        if name is not None:
            return self.text(name)
        variable = ancestor(node, "init_declarator")
        declarator = variable.child_by_field_name("declarator") if variable is not None else None
        return self._declared(declarator) if declarator is not None else ""

    def function_name(self, function: Node) -> str:
        """The unqualified name of a ``function_definition`` or a declaration of one."""
        declarator = function.child_by_field_name("declarator")
        return self._declared(declarator) if declarator is not None else ""

    def _declared(self, declarator: Node) -> str:
        node: Node | None = declarator
        while node is not None:
            inner = node.child_by_field_name("declarator") or node.child_by_field_name("name")
            if inner is None and node.type in ("reference_declarator", "parenthesized_declarator"):
                inner = node.named_children[-1] if node.named_children else None
            if inner is None:
                return self.text(node)
            node = inner
        return ""


def ancestor(node: Node | None, *types: str) -> Node | None:
    """The nearest node of one of ``types`` that holds ``node`` (or is it)."""
    while node is not None and node.type not in types:
        node = node.parent
    return node
