"""Where the tree has the type: what the sets of edits say of it, and where its text is another."""

from __future__ import annotations

from dataclasses import dataclass, field

from patcher.engine.anchors import AnchorError, Existing, Located, ParsedFile, Source
from patcher.engine.anchors.cases import arm_of, first_statement
from patcher.engine.anchors.definitions import with_comment
from patcher.engine.anchors.syntax import Syntax, ancestor
from patcher.engine.comparison import part_of, same, tokens
from patcher.engine.patchset import NEW_FILE, Edit, PatchSet
from patcher.lift.texts import verbatim
from patcher.lift.tree_index import TreeIndex

# kinds whose text is the type's own where it isn't the set's; at the others there is nothing to choose
_TEXTS = ("table", "item", "declaration", "element", "statement", "py-entry", "py-definition")
# guards against numbers between two types' that no type has: where the tree has none, BASE may need them
GUARDS = ("unknown-in-files", "unknown-to-servers")


@dataclass
class SetPlace:
    """One edit of a set in the tree: what stands there, and whether the set says the same."""

    edit: Edit
    path: str
    spans: list[tuple[int, int]]  # bytes of the tree's file that it accounts for
    template: str | None = None  # the tree's own text, where the set's is another
    only: tuple[str, ...] = ()  # of a case without an arm: the functions that the set is right for


@dataclass
class SetPlaces:
    """All edits of the set, as the tree has them."""

    there: list[SetPlace] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)  # edit -> why the type goes without it


def of_set(tree: TreeIndex, patchset: PatchSet) -> SetPlaces:
    """Every edit of ``patchset`` looked for in the tree that has the type."""
    found = SetPlaces()
    for edit in patchset.edits:
        path = next((name for name in edit.files if tree.source(name) is not None), None)
        source = tree.source(path) if path is not None else None
        if edit.kind == NEW_FILE or path is None or source is None:
            found.absent[edit.id] = f"{tree.name} has no {edit.files[0]}"
            continue
        try:
            located = ParsedFile(source, [(edit.kind, edit.anchor)]).locate(edit.kind, edit.anchor)
        except AnchorError as why:
            found.absent[edit.id] = f"{path}: {why}"
            continue
        if not located.existing:
            if edit.id not in GUARDS:
                found.absent[edit.id] = f"{tree.name} doesn't have it in {path}"
            continue
        place = SetPlace(edit, path, [_lines(source, one) for one in located.existing])
        _compare(tree, patchset, place, source, located)
        if place.spans:
            found.there.append(place)
        else:
            found.absent[edit.id] = f"{path}: in one switch of several, which an edit of its own chooses"
    return found


def _lines(source: Source, one: Existing) -> tuple[int, int]:
    return source.line_start(one.start), source.line_end(max(one.start, one.end - 1))


def _compare(tree: TreeIndex, patchset: PatchSet, place: SetPlace, source: Source, located: Located) -> None:
    """Give ``place`` the tree's text where the set's is another."""
    edit, (first, *others) = place.edit, located.existing
    if edit.kind == "case" and not edit.anchor.get("arm"):
        elsewhere = {site.owner for site in located.sites}  # functions with a switch that goes without it
        wrong = [
            one
            for one in (first, *others)
            if one.owner in elsewhere or (one.twin is not None and _other_arm(source, one))
        ]
        if wrong:
            kept = [one for one in (first, *others) if one not in wrong]
            place.only = tuple(dict.fromkeys(one.owner for one in kept))
            place.spans = [_lines(source, one) for one in kept]
        return
    is_arm = edit.kind == "case"
    if not is_arm and edit.kind not in _TEXTS:
        return
    if edit.kind == "item":
        start, end = paragraph(source, first.start, first.end)
        place.spans = [(start, end)]
        place.template = verbatim(source.text(start, end).replace("\r\n", "\n"))
        return
    text, span = _text(source, edit, first)
    place.spans.append(span)
    ours = part_of(edit, patchset.render(edit, tree.tree, {}))
    if same(ours, tokens(text.encode(), python=place.path.endswith(".py"))):
        return
    comma = "," if edit.kind in ("table", "element", "py-entry") and not text.endswith(",") else ""
    place.template = verbatim(text + comma) + "\n"


def _text(source: Source, edit: Edit, one: Existing) -> tuple[str, tuple[int, int]]:
    """The whole text of what the anchor found, and where it stands."""
    start, end = one.start, one.end
    if edit.kind == "case":
        text, span = _arm_text(source, one)
        return text, span or (start, end)
    if edit.kind == "declaration":
        start = source.line_start(start)  # decorations are blank to the parser
    if edit.kind == "statement":
        syntax = Syntax(source)
        node = ancestor(syntax.at(start, end), str(edit.anchor.get("node_type", "if_statement")))
        start, end = (node.start_byte, node.end_byte) if node is not None else (start, end)
    return _dedented(source, start, end).strip(), (start, end)


def _other_arm(source: Source, one: Existing) -> bool:
    mine, twin = (
        tokens(source.data[slice(*span)]).partition(" : ")[2]
        for span in ((one.start, one.end), one.twin or (0, 0))
    )
    return mine != twin


def _dedented(source: Source, start: int, end: int) -> str:
    indent = source.indent(start)
    lines = source.text(start, end).replace("\r\n", "\n").split("\n")
    return "\n".join([lines[0], *(line.removeprefix(indent) for line in lines[1:])])


def _arm_text(source: Source, one: Existing) -> tuple[str, tuple[int, int] | None]:
    """A case with its statements, and where these stand when it shares them with the next label."""
    text = _dedented(source, one.start, one.end)
    syntax = Syntax(source)
    node = ancestor(syntax.at(one.start, one.start + 4), "case_statement")
    if node is None:
        return text, None
    arm = arm_of(node)
    if arm is None or first_statement(node) is not None:
        return _dedented(source, node.start_byte, node.end_byte).rstrip(), (node.start_byte, node.end_byte)
    inner = first_statement(arm)
    if inner is None:
        return text, None
    label = source.text(one.start, source.code.index(b":", one.start) + 1)
    shared = _dedented(source, inner.start_byte, arm.end_byte)
    return f"{label} {shared}", None


def paragraph(source: Source, first: int, last: int) -> tuple[int, int]:
    """The lines around a definition up to the next empty ones: its macros before it, its assertion behind."""
    start, end = source.line_start(first), source.line_end(max(first, last - 1))
    while start > 0 and source.data[source.line_start(start - 1) : start].strip():
        line = source.code[source.line_start(start - 1) : start].strip()
        if line.startswith(b"#") and not line.startswith(b"#define"):
            break
        start = source.line_start(start - 1)
    while end < len(source.data) and source.data[end : source.line_end(end)].strip():
        if source.code[end : source.line_end(end)].lstrip().startswith((b"#", b"typedef")):
            break
        end = source.line_end(end)
    return with_comment(source, start), end
