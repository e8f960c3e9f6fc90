"""What else names the type in the tree: an edit by analogy to its neighbour, or listed as not lifted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from patcher.base.units import how_many
from patcher.engine.anchors import Source
from patcher.engine.anchors.cases import arm_of, first_statement
from patcher.engine.anchors.definitions import conditions_of
from patcher.engine.anchors.syntax import Syntax, ancestor
from patcher.engine.foreign import C_SUFFIXES
from patcher.lift.facts import Facts
from patcher.lift.texts import FALLBACK, GPU, verbatim
from patcher.lift.tree_index import TreeIndex

if TYPE_CHECKING:
    from tree_sitter import Node

_TEXT_SUFFIXES = C_SUFFIXES | frozenset(
    (
        ".py", ".pyi", ".comp", ".glsl", ".glslh", ".wgsl", ".cl", ".txt", ".cmake", ".in", ".tmpl", ".md",
        ".sh", ".ps1", ".mk", ".yml", ".yaml", ".toml", ".nix", ".swift", ".kt", ".java", ".zig", ".rs",
        ".go", ".js", ".ts", ".tsx", ".svelte", "",
    )
)  # fmt: skip
_RECORDS = ".q8a8-patch"  # what this tool notes in a tree that it has written
_BACKEND = re.compile(r"ggml/src/ggml-(?!cpu/)([a-z]+)/|.*\.(cu|cuh|metal|comp|wgsl|cl)$")

Spans = Mapping[str, list[tuple[int, int]]]


@dataclass(frozen=True)
class Addition:
    """An edit that the sets don't have: its anchor hangs on the neighbour that the place has in the tree."""

    id: str
    path: str
    anchor: Mapping[str, Any]
    template: str
    lines: tuple[int, int]
    purpose: str
    when: str | None = None  # a pattern without which the file has no place for it


@dataclass(frozen=True)
class Left:
    """A place that names the type and isn't carried. ``lines`` as people write them: 12, or 12-40."""

    file: str
    lines: str
    what: str
    reason: str

    def document(self) -> dict[str, str]:
        """The JSON form."""
        return {"file": self.file, "lines": self.lines, "what": self.what, "reason": self.reason}


@dataclass
class Remainder:
    """What was found beyond the sets and the texts."""

    added: list[Addition] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)


def of_tree(
    tree: TreeIndex, base: TreeIndex, kind: Facts, word: re.Pattern[str], accounted: Spans
) -> Remainder:
    """Every line of the tree that names the type, isn't in BASE, and isn't ``accounted`` for."""
    found = Remainder()
    names = (kind.name.encode(), kind.upper.encode(), kind.block.encode())
    for path in tree.files:
        if PurePosixPath(path).suffix not in _TEXT_SUFFIXES or path.startswith(_RECORDS):
            continue
        data = tree.tree.read(path)
        if data is None or not any(name in data for name in names):
            continue
        source = tree.source(path)
        if source is not None:
            _Scan(tree, base, kind, path, source, found).scan(word, accounted.get(path, []))
    return found


class _Scan:
    """One file."""

    def __init__(
        self, tree: TreeIndex, base: TreeIndex, kind: Facts, path: str, source: Source, found: Remainder
    ) -> None:
        self.tree, self.base, self.kind, self.path, self.source, self.found = (
            tree,
            base,
            kind,
            path,
            source,
            found,
        )
        self.is_c = PurePosixPath(path).suffix in C_SUFFIXES
        self.syntax: Syntax | None = None

    def scan(self, word: re.Pattern[str], spans: list[tuple[int, int]]) -> None:
        before = self.base.same(self.path)
        known = (
            {b" ".join(line.split()) for line in before.data.split(b"\n")} if before is not None else set()
        )
        hits = [
            hit
            for hit in re.compile(word.pattern.encode()).finditer(self._spoken())
            if not any(start <= hit.start() < end for start, end in spans)
            and b" ".join(self.source.line(hit.start()).encode().split()) not in known
        ]
        if not hits:
            return
        backend = _BACKEND.match(self.path)
        if backend is not None:
            self._leave(
                hits,
                how_many(len(hits), "place"),
                f"a GPU backend's ({backend[1] or backend[2]}): its kernels aren't lifted",
            )
            return
        if before is None and not any(FALLBACK.match(self.source.line(hit.start())) for hit in hits):
            said = "what the type doesn't need of it" if spans else "nothing that is carried needs it"
            self._leave(hits, "a file that BASE hasn't", said)
            return
        rest: dict[tuple[str, str], list[re.Match[bytes]]] = {}
        done: list[tuple[int, int]] = []
        for hit in hits:
            if any(start <= hit.start() < end for start, end in done):
                continue
            line = (self.source.line_start(hit.start()), self.source.line_end(hit.start()))
            made = self._addition(hit) if self.is_c else None
            if made is not None:
                addition, span = made
                if addition is not None:
                    self.found.added.append(addition)
                done.append(span)
                continue
            rest.setdefault(self._reason(hit), []).append(hit)
            done.append(line)
        for (what, reason), places in rest.items():
            self._leave(places, what, reason)

    def _spoken(self) -> bytes:
        if self.is_c:
            return self.source.spoken
        if self.path.endswith(".py"):
            return re.sub(
                rb"(?m)(?:^|(?<=[ \t]))#[^\n]*", lambda found: b" " * len(found[0]), self.source.data
            )
        return self.source.data

    def _leave(self, hits: list[re.Match[bytes]], what: str, reason: str) -> None:
        lines = sorted({self.source.line_number(hit.start()) for hit in hits})
        self.found.left.append(Left(self.path, spans_of(lines), what, reason))

    def _parsed(self) -> Syntax:
        if self.syntax is None:
            self.syntax = Syntax(self.source)
        return self.syntax

    def _reason(self, hit: re.Match[bytes]) -> tuple[str, str]:
        if not self.is_c:
            if self.path.endswith(".py"):
                return (
                    "Python",
                    "a changed function, or one that reads another format: nothing to put it beside",
                )
            return hit[0].decode("utf-8", "replace"), "no text of C or Python"
        said = " ".join(conditions_of(self.source, hit.start()))
        if GPU.search(said):
            return hit[0].decode(), "under a GPU backend's condition"
        syntax = self._parsed()
        owner = syntax.owner(syntax.at(hit.start(), hit.end()))
        return (
            owner or hit[0].decode()
        ), "a changed function that is not additive" if owner else "no place by analogy"

    # -- additions

    def _addition(self, hit: re.Match[bytes]) -> tuple[Addition | None, tuple[int, int]] | None:
        """The edit for the place, if there is one, and what it accounts for; None where nothing was found."""
        line = self.source.line(hit.start())
        if FALLBACK.match(line):
            return self._fallback(hit)
        syntax = self._parsed()
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

    def _fallback(self, hit: re.Match[bytes]) -> tuple[Addition | None, tuple[int, int]] | None:
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
        family = re.sub(re.escape(self.kind.name), r"\\w+", name)
        beside = r"ggml_vec_dot_\w+_generic" if name.startswith("ggml_vec_dot_") else family
        anchor = {
            "kind": "branch-define",
            "beside": beside,
            "ours": name,
            "apart": list(dict.fromkeys(apart)),
        }
        said = "Where an architecture has no text of its own, the plain one takes its name."
        return Addition(slug(name), self.path, anchor, text, (self._at(places[0].start()),) * 2, said), span

    def _at(self, offset: int) -> int:
        return self.source.line_number(offset)

    def _declaration(self, node: Node) -> tuple[Addition | None, tuple[int, int]] | None:
        syntax = self._parsed()
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
        number = slug(f"{name}-declaration")
        return Addition(number, self.path, anchor, verbatim(text) + "\n", self._span(node), said, when), span

    def _span(self, node: Node) -> tuple[int, int]:
        return self._at(node.start_byte), self._at(node.end_byte - 1)

    def _case(self, case: Node, label: str) -> tuple[Addition | None, tuple[int, int]] | None:
        syntax, source = self._parsed(), self.source
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
            anchor = {"kind": "case", "label": beside, "ours": label, "arm": True, **where}
            indent = source.indent(case.start_byte)
            lines = source.text(case.start_byte, case.end_byte).rstrip().split("\n")
            text = verbatim("\n".join([lines[0], *(line.removeprefix(indent) for line in lines[1:])])) + "\n"
            end = case.end_byte
        span = (source.line_start(case.start_byte), source.line_end(end - 1))
        said = f"{owner}: {label} beside {beside}."
        number = slug(f"{PurePosixPath(self.path).stem}-{owner}-{label}")
        return Addition(
            number, self.path, anchor, text, (self._at(case.start_byte), self._at(end - 1)), said
        ), span

    def _known_label(self, owner: str, nodes: Iterable[Node]) -> str | None:
        """The first label that BASE has in the function, too."""
        base = self.base.same(self.path)
        there = self.base.defined(self.path, owner)
        if base is None or not there:
            return None
        code = b"".join(base.code[one.start : one.end] for one in there)
        for node in nodes:
            value = node.child_by_field_name("value")
            label = self._parsed().text(value) if value is not None else ""
            if label and re.search(rf"\bcase\s+{re.escape(label)}\s*:".encode(), code):
                return label
        return None

    def _element(self, whole: Node, node: Node) -> tuple[Addition | None, tuple[int, int]] | None:
        syntax, source = self._parsed(), self.source
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
            text = source.text(node.start_byte, node.end_byte) + ",\n"
            span = (source.line_start(node.start_byte), source.line_end(node.end_byte - 1))
            said = f"{variable}: {ours.group()} behind {name.group()}."
            number = slug(f"{PurePosixPath(self.path).stem}-{variable}")
            return Addition(number, self.path, anchor, verbatim(text), self._span(node), said), span
        return None


def slug(text: str) -> str:
    """An id that a type's file takes."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-")[:60]


def spans_of(lines: list[int]) -> str:
    """3-5, 9: neighbours as one span."""
    spans: list[list[int]] = []
    for line in lines:
        if spans and line <= spans[-1][1] + 1:
            spans[-1][1] = line
        else:
            spans.append([line, line])
    said = [str(a) if a == b else f"{a}-{b}" for a, b in spans]
    return ", ".join(said)
