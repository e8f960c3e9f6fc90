"""Members that the type adds to other enums than those of types: operators, with their rows of tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from patcher.engine.anchors import Source
from patcher.engine.anchors.enums import Member, enum_of
from patcher.engine.anchors.site import AnchorError
from patcher.engine.anchors.syntax import Syntax, ancestor
from patcher.lift import writing
from patcher.lift.additions import Addition
from patcher.lift.texts import as_element, verbatim
from patcher.lift.tree_index import TreeIndex

if TYPE_CHECKING:
    from tree_sitter import Node

_HEADER = re.compile(r"(?:ggml/include|ggml/src|include|src|common)/(?:[^/]+/)*[^/]+\.h")
_COMPILED = re.compile(r"(?:ggml|src|common)/(?:[^/]+/)*[^/]+\.(?:c|h|cpp|hpp)")
_BACKEND = re.compile(r"ggml/src/ggml-(?!cpu/)[^/]+/")
_ENUM = re.compile(rb"\benum\s+(?:class\s+|struct\s+)?(\w+)\s*(?::[\w\s:]{0,80})?\{")
_WORD = re.compile(r"\w+")

Spans = Mapping[str, list[tuple[int, int]]]
Found = tuple[Addition, tuple[int, int] | None]  # the bytes of the tree's file that it accounts for


def of_tree(tree: TreeIndex, base: TreeIndex, word: re.Pattern[str], accounted: Spans) -> Iterator[Found]:
    """Every new member of an enum that BASE has, too, whose name is the type's; and what goes by its place:
    its element of each table that is as long as the enum's count says, and the assertions of that count.
    """
    for path in tree.files:
        source = tree.source(path) if _HEADER.fullmatch(path) else None
        if source is None or not word.search(source.spoken.decode("utf-8", "replace")):
            continue
        for found in _ENUM.finditer(source.code):
            enum = found[1].decode()
            for name, member, there in _new(source, enum, base, word, accounted.get(path, [])):
                yield from _of_member(tree, base, source, enum, name, member, there)


def _new(
    source: Source, enum: str, base: TreeIndex, word: re.Pattern[str], spans: list[tuple[int, int]]
) -> Iterator[tuple[str, Member, dict[str, Member]]]:
    """(name, member, all members) of what the type adds to the ``enum`` that BASE has."""
    before = base.same(source.path)
    try:
        known = enum_of(before, enum) if before is not None else {}
        there = enum_of(source, enum) if known else {}
    except AnchorError:
        return
    for name, one in there.items():
        at = one.node.start_byte
        if name not in known and word.fullmatch(name) and not any(start <= at < end for start, end in spans):
            yield name, one, there


def _of_member(
    tree: TreeIndex,
    base: TreeIndex,
    source: Source,
    enum: str,
    name: str,
    member: Member,
    there: dict[str, Member],
) -> Iterator[Found]:
    start, end = member.node.start_byte, member.node.end_byte
    last, says = list(there.items())[-1]
    count = last if last.endswith("_COUNT") and says.node.start_byte > start else None
    anchor: dict[str, Any] = {"kind": "enum-member", "enum": enum, "ours": name}
    if member.numbered:
        anchor = {"kind": "enumerator", "enum": enum, "ours": name, "value": member.value}
    anchor |= {"before": count} if count is not None else {}
    text = verbatim(source.text(start, end)) + ",\n"
    said = f"{name}, a member of {enum}."
    number = writing.slug(f"{enum}-{name}")
    yield (
        Addition(number, source.path, anchor, text, said),
        (source.line_start(start), source.line_end(end - 1)),
    )
    if count is not None and member.value is not None and says.value is not None:
        yield from _rows(tree, base, name, member.value, count, says.value)
        yield from _assertions(base, source.path, name, count)


def _rows(
    tree: TreeIndex, base: TreeIndex, member: str, number: int, count: str, length: int
) -> Iterator[Found]:
    """Its element of each table ``[count]`` whose elements stand in the enum's order."""
    array = re.compile(rb"\b(\w+)\s*\[\s*%b\s*\]\s*=\s*\{" % count.encode())
    for path in _naming(tree, count):
        source, before = tree.source(path), base.same(path)
        for found in array.finditer(source.code) if source is not None and before is not None else ():
            if source is None or before is None or not re.search(rb"\b%b\b" % found[1], before.code):
                continue
            name, elements = found[1].decode(), _elements(Syntax(source), found.end())
            if len(elements) != length or any(one.type == "initializer_pair" for one in elements):
                continue
            start, end = elements[number].start_byte, elements[number].end_byte
            text = source.text(start, end)
            ours = text if text.startswith('"') else next(iter(_WORD.findall(text)), text)
            anchor = {"kind": "element", "variable": name, "ours": ours}
            said = f"{name}: what stands there for {member}."
            slug = writing.slug(f"{name}-{member}")
            yield (
                Addition(slug, path, anchor, as_element(text), said),
                (source.line_start(start), source.line_end(end - 1)),
            )


def _elements(syntax: Syntax, behind: int) -> list[Node]:
    """The elements of the list whose brace ends at ``behind``."""
    whole = ancestor(syntax.at(behind - 1, behind), "initializer_list")
    return [one for one in whole.named_children if one.type != "comment"] if whole is not None else []


def _naming(tree: TreeIndex, count: str) -> Iterator[str]:
    """The files that are compiled without a GPU's kernels and name ``count``."""
    for path in tree.files:
        if _COMPILED.fullmatch(path) and not _BACKEND.match(path):
            data = tree.tree.read(path)
            if data is not None and count.encode() in data:
                yield path


def _assertions(base: TreeIndex, header: str, name: str, count: str) -> Iterator[Found]:
    """The places of BASE that say how many members there are."""
    said = re.compile(rb"\b\w*static_assert\s*\(\s*%b\s*==\s*\d" % count.encode(), re.IGNORECASE)
    for path in _naming(base, count):
        source = base.source(path)
        if source is None or not said.search(source.code):
            continue
        slug = writing.slug(f"{path.rpartition('/')[2]}-{count}-{name}")
        # in a tree that has the member, it is counted already
        text = f'{{% if not has("{header}", "\\\\b{name}\\\\b") %}} + 1 /* {name} */{{% endif %}}'
        anchor = {"kind": "count-assert", "count": count, "ours": name}
        yield Addition(slug, path, anchor, text, f"{count} is one more with {name}."), None
