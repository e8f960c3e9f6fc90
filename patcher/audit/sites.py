"""Every place in a tree that names the sibling type, which construct it is, and whether ours is there too.

The question at each site is what a reader would ask: the sibling is named here; is our type named the
same way beside it? So a site is handled where the expression it stands in, with our name for the
sibling's, stands in the same function, table or enum; and so is what lies in the arm, entry or branch
that such a handled site governs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from patcher.audit import python_sites
from patcher.engine.anchors.source import Source
from patcher.engine.anchors.syntax import Syntax, ancestor
from patcher.engine.quant_type import QuantType

if TYPE_CHECKING:
    from tree_sitter import Node

C_SUFFIXES = (".c", ".cpp", ".h", ".hpp", ".cc", ".cu", ".cuh", ".m", ".mm", ".metal", ".inc")
TEXT_SUFFIXES = (".comp", ".glsl", ".wgsl", ".cl")
SUFFIXES = (*C_SUFFIXES, *TEXT_SUFFIXES, ".py")


@dataclass(frozen=True)
class SiblingSite:
    """One place that names the sibling. ``line`` counts from 1."""

    file: str
    line: int
    construct: (
        str  # case, entry, comparison, element, enumerator, argument, template-argument, string, macro, ...
    )
    function: str  # the function, enum or table that it lies in; "" at file scope
    text: str  # its line, without the white space around
    handled: bool

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "file": self.file,
            "line": self.line,
            "kind": self.construct,
            "function": self.function,
            "text": self.text,
            "handled": self.handled,
        }


def pattern(quant_type: QuantType) -> re.Pattern[bytes]:
    """What names the sibling as a type: enumerators in C and Python, and its name in quotes."""
    upper, lower = quant_type.sibling.upper(), quant_type.sibling.lower()
    return re.compile(
        rf"""\b(?:GGML_TYPE_{upper}|[LG]\w*_FTYPE_MOSTLY_{upper}|MOSTLY_{upper}|QuantizationType\.{upper})\b"""
        rf"""|["'](?:{lower}|{upper})["']|^\s+{upper}\s*=\s*\d+|^class\s+{upper}\b""".encode(),
        re.MULTILINE,
    )


def ours(text: str, quant_type: QuantType) -> str:
    """``text`` with our type's name for the sibling's, in either case; white space doesn't count."""
    text = re.sub(quant_type.sibling.upper(), quant_type.upper, text)
    return squeezed(re.sub(rf"(?<![A-Za-z]){quant_type.sibling.lower()}", quant_type.name, text))


def squeezed(text: str) -> str:
    """The text without white space, to compare code by."""
    return re.sub(r"\s+", "", text)


def sites(path: str, data: bytes, quant_type: QuantType) -> Iterator[SiblingSite]:
    """The sites of one file; none in comments."""
    found = list(pattern(quant_type).finditer(data))
    if not found:
        return
    suffix = PurePosixPath(path).suffix
    if suffix == ".py":
        for place in python_sites.places(data, found, quant_type, ours):
            yield SiblingSite(path, place.line, place.construct, place.owner, place.text, place.handled)
    elif suffix in C_SUFFIXES:
        yield from _c_sites(Source(path, data), found, quant_type)
    else:
        source = Source(path, data)
        for match in found:
            line = source.line(match.start()).strip()
            yield SiblingSite(path, source.line_number(match.start()), "text", "", line, False)


def _c_sites(source: Source, found: list[re.Match[bytes]], quant_type: QuantType) -> Iterator[SiblingSite]:
    syntax = Syntax(source)
    judge = _Judge(syntax, quant_type)
    for match in found:
        start = match.start() + len(match.group()) - len(match.group().lstrip())
        node = syntax.at(start, match.end())
        if ancestor(node, "comment") is not None:
            continue
        what, handled = judge.site(node, start)
        line = source.line(start).strip()
        yield SiblingSite(
            source.path, source.line_number(start), what, _owner(syntax, node, start), line, handled
        )


def _owner(syntax: Syntax, node: Node, offset: int) -> str:
    macro = ancestor(node, "preproc_function_def", "preproc_def")
    if macro is not None:
        name = macro.child_by_field_name("name")
        return syntax.text(name) if name is not None else ""
    return syntax.owner(node)


_SCOPES = (
    "switch_statement", "function_definition", "enumerator_list", "preproc_function_def", "preproc_def",
    "translation_unit",
)  # fmt: skip
# innermost first: the expression that a site is the subject of
_CONSTRUCTS = {
    "case_statement": "case",
    "enumerator": "enumerator",
    "binary_expression": "comparison",
    "initializer_pair": "field",
    "template_argument_list": "template-argument",
    "initializer_list": "element",
    "argument_list": "argument",
    "return_statement": "return",
    "assignment_expression": "assignment",
    "init_declarator": "initializer",
    "conditional_expression": "choice",
    "preproc_function_def": "macro",
    "preproc_def": "macro",
    "expression_statement": "statement",
    "declaration": "declaration",
    "function_definition": "declaration",
}


class _Judge:
    """Judges the sites of one file; the text of each scope is squeezed once."""

    def __init__(self, syntax: Syntax, quant_type: QuantType) -> None:
        self.syntax = syntax
        self.quant_type = quant_type
        self._squeezed: dict[tuple[int, int], str] = {}
        self._sibling = re.compile(
            rf"(?:{quant_type.sibling.upper()}|(?<![A-Za-z]){quant_type.sibling.lower()})(?![A-Za-z0-9])"
        )

    def site(self, node: Node, offset: int) -> tuple[str, bool]:
        """Which construct this is, and whether ours stands beside it or in what governs it."""
        what, subject = _subject(self.syntax, node)
        return what, self._beside(what, subject, offset) or self._governed(subject, offset)

    def _in_scope(self, text: str, node: Node | None) -> bool:
        """Whether ``text``, squeezed, stands in the scope that holds ``node``."""
        scope = ancestor(node, *_SCOPES)
        if scope is None:
            return False
        key = (scope.start_byte, scope.end_byte)
        if key not in self._squeezed:
            self._squeezed[key] = squeezed(self.syntax.text(scope))
        return text in self._squeezed[key]

    def _names_ours(self, node: Node) -> bool:
        text = self.syntax.text(node)
        return self.quant_type.upper in text or re.search(rf"\b{self.quant_type.name}\b", text) is not None

    def _beside(self, what: str, subject: Node, offset: int) -> bool:
        """Whether the subject, with our name in it, stands in the same scope."""
        if what == "element":
            # a list of types is one thing, and so is a table of rows: it names ours too, or it doesn't
            table = subject.parent
            row = table is not None and table.type == "initializer_list"
            return self._names_ours(subject) or (row and table is not None and self._names_ours(table))
        if what == "macro":
            line = self.syntax.source.line(offset)
            label = re.search(rf"case\s+\w*{self.quant_type.sibling.upper()}\b", line)
            return ours(label.group() if label else line, self.quant_type) in squeezed(
                self.syntax.text(subject)
            )
        wanted = _wanted(self.syntax, what, subject)
        changed = ours(wanted, self.quant_type)
        return changed != squeezed(wanted) and self._in_scope(changed, subject.parent)

    def _governed(self, subject: Node, offset: int) -> bool:
        """Whether the site lies in an arm, entry or branch of the sibling's that has a twin of ours."""
        node = subject.parent
        while node is not None and node.type != "translation_unit":
            field = _HEADS.get(node.type)
            head = node.child_by_field_name(field) if field else None
            if head is not None and not head.start_byte <= offset < head.end_byte:
                text = self.syntax.text(head)
                if self._sibling.search(text) and self._in_scope(ours(text, self.quant_type), node.parent):
                    return True
            node = node.parent
        return False


# what says whose arm, entry or branch it is
_HEADS = {"case_statement": "value", "initializer_pair": "designator", "if_statement": "condition"}


def _subject(syntax: Syntax, node: Node) -> tuple[str, Node]:
    """The construct that the name is the subject of, and what that is called."""
    at: Node | None = node
    while at is not None:
        if at.type == "case_statement":
            value = at.child_by_field_name("value")
            if value is None or not _inside(node, value):
                at = at.parent
                continue
            return "case", at
        if at.type == "initializer_pair":
            value = at.child_by_field_name("value")
            return ("field" if value is not None and _inside(node, value) else "entry"), at
        if at.type in _CONSTRUCTS:
            return _CONSTRUCTS[at.type], at
        at = at.parent
    return "other", node


def _inside(node: Node, outer: Node) -> bool:
    return outer.start_byte <= node.start_byte and node.end_byte <= outer.end_byte


def _wanted(syntax: Syntax, what: str, subject: Node) -> str:
    """The part of the subject that would stand there once more with our name."""
    if what == "case":
        value = subject.child_by_field_name("value")
        return f"case {syntax.text(value)}:" if value is not None else ""
    if what == "enumerator":
        name = subject.child_by_field_name("name")
        return syntax.text(name) if name is not None else ""
    if what == "entry":
        designator = subject.child_by_field_name("designator")
        return f"{syntax.text(designator)}=" if designator is not None else ""
    return syntax.text(subject)
