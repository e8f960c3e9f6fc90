"""What another hand has written about the type, in any file of the tree, beside what the edits know.

One file seen at a time is not enough: a function of ours may be defined in another library, a way of the
type's own may stand in a loop that no edit goes to. Every place that names the type, or a symbol of ours,
and isn't an edit's, is listed with what follows from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from patcher.engine.anchors import Source
from patcher.engine.anchors.syntax import Syntax, ancestor
from patcher.engine.patchset import Edit, PatchSet
from patcher.engine.tree import ListedTree, Tree

if TYPE_CHECKING:
    from tree_sitter import Node

C_SUFFIXES = frozenset(
    (".c", ".cpp", ".h", ".hpp", ".cc", ".cxx", ".cu", ".cuh", ".m", ".mm", ".metal", ".inc")
)
_TEXTS = frozenset((".py", ".comp", ".glsl", ".wgsl", ".cl"))
_LIBRARY = "ggml/src/"
_CORE = "ggml/"


@dataclass(frozen=True)
class Foreign:
    """One place of another hand's. ``line`` counts from 1; ``edit`` is whose symbol it defines again."""

    file: str
    line: int
    construct: str  # definition, declaration, case, comparison, entry, call, name
    owner: str  # the function, enum or table that it lies in
    name: str
    consequence: str
    edit: str | None = None
    start: int = 0
    end: int = 0

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "file": self.file,
            "line": self.line,
            "kind": self.construct,
            "owner": self.owner,
            "name": self.name,
            "consequence": self.consequence,
            "edit": self.edit,
        }


def files(tree: Tree, patchset: PatchSet) -> Iterator[tuple[str, bytes]]:
    """Every source file of ``tree`` that names the type; none where the tree doesn't know its files."""
    if not hasattr(tree, "files"):
        return
    names = [patchset.type.name.encode(), patchset.type.upper.encode()]
    for path in cast(ListedTree, tree).files():
        if PurePosixPath(path).suffix not in C_SUFFIXES | _TEXTS:
            continue
        data = tree.read(path)
        if data is not None and any(name in data for name in names):
            yield path, data


def second_definitions(
    patchset: PatchSet, named: Iterable[tuple[str, bytes]], homes: Mapping[str, str]
) -> dict[str, list[Foreign]]:
    """Edit -> where another hand defines the symbol that the edit puts into a file of its own.

    ``homes`` is edit -> the file that it goes to. A static function is its file's own, and no second one. A
    type or a macro of that name is one wherever it stands.
    """
    symbols = {str(edit.anchor["ours"]): edit.id for edit in patchset.edits if edit.kind == "function"}
    found: dict[str, list[Foreign]] = {}
    for path, data in named:
        if PurePosixPath(path).suffix not in C_SUFFIXES:
            continue
        if path.startswith(_CORE.removeprefix(patchset.strip)):
            for one in _other_meanings(patchset, Source(path, data), homes):
                found.setdefault(str(one.edit), []).append(one)
        if not path.startswith(_LIBRARY.removeprefix(patchset.strip)):
            continue
        wanted = [
            name
            for name, edit in symbols.items()
            if homes.get(edit) not in (None, path) and name.encode() in data
        ]
        if not wanted:
            continue
        syntax = Syntax(Source(path, data))
        for name in wanted:
            for node in _definitions(syntax, name):
                if syntax.text(node).lstrip().startswith("static"):
                    continue
                edit = symbols[name]
                line = syntax.source.line_number(node.start_byte)
                said = f"a second definition beside the one that belongs in {homes[edit]}: the two don't link"
                found.setdefault(edit, []).append(
                    Foreign(path, line, "definition", name, name, said, edit, node.start_byte, node.end_byte)
                )
    return found


_MEANINGS = ("type_definition", "alias_declaration", "preproc_def", "preproc_function_def")


def _other_meanings(patchset: PatchSet, source: Source, homes: Mapping[str, str]) -> Iterator[Foreign]:
    """Types of our block's name, and macros of a name that an edit defines, which no anchor finds."""
    names: dict[str, Edit] = {}
    for edit in patchset.edits:
        if edit.id in homes and edit.kind == "item" and edit.anchor.get("owner"):
            names[str(edit.anchor["owner"])] = edit
        elif edit.id in homes and edit.kind in ("enumerator", "function"):
            names[str(edit.anchor["ours"])] = edit
    names = {name: edit for name, edit in names.items() if name.encode() in source.code}
    if not names:
        return
    syntax = Syntax(source)
    for name, edit in names.items():
        for token in syntax.tokens(rf"\b{re.escape(name)}\b"):
            node = ancestor(syntax.at(token.start(), token.end()), *_MEANINGS)
            is_macro = node is not None and node.type.startswith("preproc")
            if node is None or (edit.kind != "item" and not is_macro):
                continue
            field = node.child_by_field_name("name" if node.type != "type_definition" else "declarator")
            if field is None or syntax.text(field) != name:
                continue
            at_home = source.path == homes[edit.id] and not is_macro
            if at_home and re.search(str(edit.anchor["ours"]), syntax.code(node)):
                continue  # the anchor finds it itself
            said = f"another meaning of the name that belongs in {homes[edit.id]}: the two don't compile"
            line = source.line_number(node.start_byte)
            end = node.end_byte - (1 if source.data[: node.end_byte].endswith(b"\n") else 0)
            yield Foreign(source.path, line, "definition", name, name, said, edit.id, node.start_byte, end)


def _definitions(syntax: Syntax, name: str) -> Iterator[Node]:
    for token in syntax.tokens(rf"\b{re.escape(name)}\s*\("):
        node = ancestor(syntax.at(token.start(), token.end() - 1), "function_definition")
        inner = ancestor(syntax.at(token.start(), token.end() - 1), "compound_statement")
        if node is not None and inner is None and syntax.function_name(node) == name:
            yield node


def others(
    patchset: PatchSet,
    named: Iterable[tuple[str, bytes]],
    ours: Mapping[str, list[tuple[int, int]]],
    lines: Mapping[str, set[str]],
    known: frozenset[str],
) -> list[Foreign]:
    """Every place that names the type and is no edit's.

    ``ours``: file -> spans that edits account for; ``lines``: file -> lines that an edit writes; ``known``:
    files that are ours as a whole.
    """
    word = re.compile(rf"\b\w*(?:{patchset.type.name}|{patchset.type.upper})\w*\b".encode())
    found: list[Foreign] = []
    calls: dict[str, set[str]] = {}
    for path, data in named:
        if path in known:
            continue
        source = Source(path, data)
        suffix = PurePosixPath(path).suffix
        code = source.code if suffix in C_SUFFIXES else _without_comments(data) if suffix == ".py" else data
        hits = [
            hit
            for hit in word.finditer(code)
            if not _is_ours(source, hit, ours.get(path, ()), lines.get(path, set()))
        ]
        if not hits:
            continue
        if suffix in C_SUFFIXES:
            found += _c_places(source, hits, calls, patchset)
        else:
            seen: set[int] = set()
            for hit in hits:
                line = source.line_number(hit.start())
                if line not in seen:
                    seen.add(line)
                    found.append(
                        Foreign(path, line, "name", "", hit[0].decode(), "names the type; no edit goes here")
                    )
    return [_with_callers(one, calls) for one in found]


def _without_comments(data: bytes) -> bytes:
    return re.sub(rb"#[^\n]*", lambda found: b" " * len(found[0]), data)


def _is_ours(source: Source, hit: re.Match[bytes], spans: Iterable[tuple[int, int]], lines: set[str]) -> bool:
    if any(start <= hit.start() < end for start, end in spans):
        return True
    return " ".join(source.line(hit.start()).split()) in lines


def _c_places(
    source: Source, hits: list[re.Match[bytes]], calls: dict[str, set[str]], patchset: PatchSet
) -> Iterator[Foreign]:
    syntax = Syntax(source)
    seen: set[tuple[object, str]] = set()
    for hit in hits:
        node = syntax.at(hit.start(), hit.end())
        name, line = hit[0].decode(), source.line_number(hit.start())
        construct, owner = _construct(syntax, node, name), syntax.owner(node)
        if construct in ("call", "field"):
            calls.setdefault(name, set()).add(owner or source.path)
        inside = construct != "definition" and (patchset.type.name in owner or patchset.type.upper in owner)
        # one line for each place; that a function merely names the type is said once
        key = (construct if construct in ("call", "field", "name") else line, owner)
        if inside or key in seen or (line, owner) in seen:
            continue
        seen |= {key, (line, owner)}
        yield Foreign(
            source.path, line, construct, owner, name, _consequence(source, construct, owner, name, patchset)
        )


_CONSTRUCTS = {
    "case_statement": "case",
    "binary_expression": "comparison",
    "subscript_designator": "entry",
    "initializer_pair": "field",
    "call_expression": "call",
    "enumerator": "enumerator",
}


def _construct(syntax: Syntax, node: Node, name: str) -> str:
    at: Node | None = node
    while at is not None:
        if at.type == "function_declarator":
            whole = ancestor(at, "function_definition", "declaration")
            if whole is not None and syntax.function_name(whole) == name:
                return "definition" if whole.type == "function_definition" else "declaration"
        if at.type == "type_definition":
            return "definition"
        if at.type in _CONSTRUCTS:
            return _CONSTRUCTS[at.type]
        if at.type in ("compound_statement", "translation_unit"):
            break
        at = at.parent
    return "name"


def _consequence(source: Source, construct: str, owner: str, name: str, patchset: PatchSet) -> str:
    upper, place = patchset.type.upper, source.path
    if construct == "definition":
        return "a function of another hand's"
    if construct == "declaration":
        return "declares what another hand has written"
    if construct == "entry":
        return f"an entry of {owner} that no edit goes to"
    backend = re.match(r"(?:ggml/)?src/ggml-(\w+)/", place)
    where = f"{owner or place}"
    if backend and backend[1] != "cpu":
        return f"the {backend[1]} backend takes {upper} here; ours doesn't go to this place, nor was it tried"
    if construct in ("comparison", "case") and "src/ggml-cpu/" in place:
        own_way = f"{where} treats {upper} in a way of its own"
        if any(edit.id == "load-as-sibling" for edit in patchset.edits):
            sibling = patchset.type.sibling.upper()
            return (
                f"{own_way}: weights that llama loads are {sibling} by then; other {upper} tensors pass here"
            )
        return f"{own_way}: every product of {upper} passes here"
    if construct in ("comparison", "case"):
        return f"{where} treats {upper} in a way of its own, which no edit knows"
    return "names the type; no edit goes here"


def _with_callers(one: Foreign, calls: Mapping[str, set[str]]) -> Foreign:
    if one.construct != "definition" or one.edit is not None:
        return one
    by = sorted(calls.get(one.name, ()))
    used = f"called by {', '.join(by[:3])}" if by else "nothing that stays calls it"
    return Foreign(one.file, one.line, one.construct, one.owner, one.name, f"{one.consequence}: {used}")
