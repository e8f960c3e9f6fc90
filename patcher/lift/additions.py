"""Edits that the sets don't have: what names the type beside a neighbour that BASE has, too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from patcher.engine.anchors import Source
from patcher.engine.anchors.cases import arm_of, first_statement, switched_on
from patcher.engine.anchors.syntax import Syntax, ancestor
from patcher.lift import writing
from patcher.lift.texts import FALLBACK, as_element, verbatim
from patcher.lift.tree_index import TreeIndex

if TYPE_CHECKING:
    from tree_sitter import Node


@dataclass(frozen=True)
class Addition:
    """An edit that the sets don't have: its anchor hangs on the neighbour that the place has in the tree."""

    id: str
    path: str
    anchor: Mapping[str, Any]
    template: str
    purpose: str
    when: str | None = None  # a pattern without which the file has no place for it


# the edit (None where another's text holds the place, too), and the bytes that it accounts for
Found = tuple[Addition | None, tuple[int, int]]


class Analogy:
    """One file of C in which places for the type ``name`` are told by their neighbours."""

    def __init__(self, tree: TreeIndex, base: TreeIndex, name: str, source: Source) -> None:
        self.tree, self.base, self.name, self.source = tree, base, name, source
        self.path = source.path

    @cached_property
    def syntax(self) -> Syntax:
        """The file, parsed when first asked for."""
        return Syntax(self.source)

    def at(self, hit: re.Match[bytes]) -> Found | None:
        """The edit for the place, if there is one, and what it accounts for; None where nothing was found."""
        line = self.source.line(hit.start())
        if FALLBACK.match(line):
            return self._fallback(hit)
        syntax = self.syntax
        node = syntax.at(hit.start(), hit.end())
        declared = ancestor(node, "declaration", "function_definition")
        if declared is not None and declared.type == "declaration" and ancestor(node, "function_declarator"):
            return self._declaration(declared)
        case = ancestor(node, "case_statement")
        value = case.child_by_field_name("value") if case is not None else None
        if case is not None and value is not None and value.start_byte <= hit.start() < value.end_byte:
            return self._case(case, syntax.text(value))
        inner = ancestor(node, "initializer_list")
        if inner is not None and inner.parent is not None and inner.parent.type == "init_declarator":
            return self._element(inner, node)
        return None

    def _fallback(self, hit: re.Match[bytes]) -> Found | None:
        name = hit[0].decode()
        defined = re.compile(rf"(?m)^[ \t]*#[ \t]*define[ \t]+{re.escape(name)}\b[^\n]*\n".encode())
        places = list(defined.finditer(self.source.code))
        span = (self.source.line_start(hit.start()), self.source.line_end(hit.start()))
        if not places or not places[0].start() <= hit.start() < places[0].end():
            return None, span  # one edit for all branches
        chains: dict[int, list[tuple[int, int]]] = {}
        for first, start, end in self.source.branches:
            chains.setdefault(first, []).append((start, end))
        chain = next((one for one in chains.values() if any(a <= places[0].start() < b for a, b in one)), [])
        apart: list[str] = []
        for start, end in chain:
            if not any(start <= place.start() < end for place in places):
                apart += re.findall(
                    r"\b(?!(?:defined|if|elif|ifdef|ifndef|else)\b)[A-Za-z_]\w+", self.source.line(start - 1)
                )
        text = self.source.text(places[0].start(), places[0].end())
        family = re.sub(re.escape(self.name), r"\\w+", name)
        beside = r"ggml_vec_dot_\w+_generic" if name.startswith("ggml_vec_dot_") else family
        anchor = {
            "kind": "branch-define",
            "beside": beside,
            "ours": name,
            "apart": list(dict.fromkeys(apart)),
        }
        said = "Where an architecture has no text of its own, the plain one takes its name."
        return Addition(writing.slug(name), self.path, anchor, text, said), span

    def _declaration(self, node: Node) -> Found | None:
        syntax = self.syntax
        name = syntax.function_name(node)
        before = [
            one.name
            for one in self.tree.definitions(self.path)
            if one.construct == "declaration" and one.start < node.start_byte
        ]
        known = [one.name for one in self.base.definitions(self.path) if one.construct == "declaration"]
        beside = next((one for one in reversed(before) if known.count(one) == 1), None)
        if beside is None:
            return None
        start = self.source.line_start(node.start_byte)  # decorations are blank to the parser
        text = self.source.text(start, node.end_byte).strip()
        anchor = {"kind": "declaration", "name": beside, "ours": name}
        span = (self.source.line_start(node.start_byte), self.source.line_end(node.end_byte - 1))
        said = f"{name}, for other files."
        when = (
            rf"\b{beside}\s*\(" if name.endswith("_generic") else None
        )  # older releases have one text alone
        number = writing.slug(f"{name}-declaration")
        return Addition(number, self.path, anchor, verbatim(text) + "\n", said, when), span

    def _case(self, case: Node, label: str) -> Found | None:
        syntax, source = self.syntax, self.source
        owner = syntax.owner(case)
        arm, own = arm_of(case), first_statement(case) is not None
        if arm is None or not owner:
            return None
        switch = ancestor(case, "switch_statement")
        labels = [
            node
            for node in (
                switch.children_by_field_name("body")[0].named_children if switch is not None else []
            )
            if node.type == "case_statement" and node.child_by_field_name("value") is not None
        ]
        sharing = [node for node in labels if arm_of(node) == arm and node != case]
        beside = self._known_label(owner, sharing)
        where: dict[str, Any] = {"only": [owner]}
        if beside is not None:
            where |= self._switch(owner, switch, beside)
        if beside is not None:
            anchor = {"kind": "case", "label": beside, "ours": label, **where}
            text, end = f"case {label}:\n", source.code.index(b":", case.start_byte) + 1
        else:
            with_arm = [
                node
                for node in labels
                if node != case and first_statement(node) is not None and arm_of(node) != arm
            ]
            earlier = [node for node in with_arm if node.start_byte < case.start_byte]
            beside = self._known_label(owner, [*reversed(earlier), *with_arm])
            if beside is None or not own:
                return None
            where |= self._switch(owner, switch, beside)
            anchor = {"kind": "case", "label": beside, "ours": label, "arm": True, **where}
            indent = source.indent(case.start_byte)
            lines = source.text(case.start_byte, case.end_byte).rstrip().split("\n")
            text = verbatim("\n".join([lines[0], *(line.removeprefix(indent) for line in lines[1:])])) + "\n"
            end = case.end_byte
        span = (source.line_start(case.start_byte), source.line_end(end - 1))
        said = f"{owner}: {label} beside {beside}."
        number = writing.slug(f"{PurePosixPath(self.path).stem}-{owner}-{label}")
        return Addition(number, self.path, anchor, text, said), span

    def _switch(self, owner: str, mine: Node | None, label: str) -> dict[str, Any]:
        """Which of several switches of the function that have ``label`` the case is in."""
        pattern = re.compile(rf"\bcase\s+{re.escape(label)}\s*:".encode())
        nodes = (
            self.syntax.at(found.start(), found.end() - 1) for found in pattern.finditer(self.source.code)
        )
        switches = [
            found
            for node in nodes
            if self.syntax.owner(node) == owner and (found := ancestor(node, "switch_statement")) is not None
        ]
        if mine is None or len(switches) < 2:
            return {}
        on = switched_on(self.syntax, mine)
        alike = [one for one in switches if switched_on(self.syntax, one) == on]
        return {"switch": on} | ({"nth": alike.index(mine) + 1} if len(alike) > 1 else {})

    def _known_label(self, owner: str, nodes: Iterable[Node]) -> str | None:
        """The first label that BASE has in the function, too."""
        base = self.base.same(self.path)
        there = self.base.defined(self.path, owner)
        if base is None or not there:
            return None
        code = b"".join(base.code[one.start : one.end] for one in there)
        for node in nodes:
            value = node.child_by_field_name("value")
            label = self.syntax.text(value) if value is not None else ""
            if label and re.search(rf"\bcase\s+{re.escape(label)}\s*:".encode(), code):
                return label
        return None

    def _element(self, whole: Node, node: Node) -> Found | None:
        syntax, source = self.syntax, self.source
        while node.parent is not None and node.parent != whole:
            node = node.parent
        variable = syntax.owner(node)
        base = self.base.same(self.path)
        if not variable or base is None or not source.starts_line(node.start_byte):
            return None
        ours = re.search(r"\bGGML_TYPE_\w+|\bLLAMA_FTYPE_\w+", syntax.text(node))
        before = [child for child in whole.named_children if child.end_byte <= node.start_byte]
        for other in reversed(before):
            name = re.search(r"\bGGML_TYPE_\w+|\bLLAMA_FTYPE_\w+", syntax.text(other))
            if ours is None or name is None or re.search(rf"\b{name.group()}\b".encode(), base.code) is None:
                continue
            anchor = {"kind": "element", "variable": variable, "mentions": name.group(), "ours": ours.group()}
            text = as_element(source.text(node.start_byte, node.end_byte))
            span = (source.line_start(node.start_byte), source.line_end(node.end_byte - 1))
            said = f"{variable}: {ours.group()} behind {name.group()}."
            number = writing.slug(f"{PurePosixPath(self.path).stem}-{variable}")
            return Addition(number, self.path, anchor, text, said), span
        return None
