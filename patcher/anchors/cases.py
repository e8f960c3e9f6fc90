"""Anchors in a ``switch``: a case beside its sibling's, in the same group."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from patcher.anchors.site import AnchorError, Existing, Located, Place, Site
from patcher.anchors.syntax import Syntax, ancestor

if TYPE_CHECKING:
    from tree_sitter import Node


def _case_nodes(syntax: Syntax, label: str) -> list[tuple[str, Node]]:
    """Every ``case label:`` as (owner, node). The scan and the parser have to agree on each.

    Raises :class:`AnchorError` where one stands in code that the parser can't read as a case.
    """
    found: list[tuple[str, Node]] = []
    for token in syntax.tokens(rf"\bcase\s+{re.escape(label)}\s*:"):
        node = ancestor(syntax.at(token.start(), token.end() - 1), "case_statement")
        value = node.child_by_field_name("value") if node is not None else None
        if node is None or value is None or syntax.text(value) != label:
            if _in_macro(syntax, token.start()):
                continue  # a #define's body is text to the parser: macro_case is the anchor for that
            line = syntax.source.line_number(token.start())
            raise AnchorError(
                f"'case {label}:' as a case of a switch",
                f"it in line {line}, where the parser sees {node.type if node else 'no statement'}",
            )
        found.append((syntax.owner(node), node))
    return found


def _in_macro(syntax: Syntax, offset: int) -> bool:
    node = syntax.at(offset, offset + 1)
    return ancestor(node, "preproc_function_def", "preproc_def") is not None


def _switch_has(syntax: Syntax, node: Node, label: str) -> Node | None:
    """The ``case label`` of the switch that ``node`` belongs to."""
    body = node.parent
    for child in body.named_children if body is not None else []:
        value = child.child_by_field_name("value") if child.type == "case_statement" else None
        if value is not None and syntax.text(value) == label:
            return child
    return None


def _first_statement(node: Node) -> Node | None:
    value = node.child_by_field_name("value")
    for child in node.named_children:
        if child != value and child.type != "comment":
            return child
    return None


def case(
    syntax: Syntax,
    *,
    label: str,
    ours: str,
    owners: Iterable[str] = (),
    maybe: Iterable[str] = (),
    only: Iterable[str] = (),
    arm: bool = False,
) -> Located:
    """A case beside ``case label:``, in every function that has one.

    ``owners`` must have it, ``maybe`` names those that some releases lack; a function in neither is
    handled all the same (upstream may add one tomorrow). ``only`` restricts to the functions that it
    names. With ``arm`` the text is a whole arm of its own behind the sibling's; without, a label that
    shares the sibling's statements.
    """
    source = syntax.source
    sites: list[Site] = []
    existing: list[Existing] = []
    seen: set[str] = set()
    chosen = set(only)
    for owner, node in _case_nodes(syntax, label):
        if chosen and owner not in chosen:
            continue
        seen.add(owner)
        there = _switch_has(syntax, node, ours)
        if there is not None:
            existing.append(Existing(owner, there.start_byte, there.end_byte))
            continue
        start = node.start_byte
        indent, like = source.indent(start), source.line(start)
        statement = _first_statement(node)
        if arm:
            if statement is None:
                raise AnchorError(
                    f"statements under 'case {label}:' in {owner}", "a label that shares the next one's"
                )
            behind = source.line_end(node.end_byte)
            sites.append(Site(owner, behind, behind, Place.LINES, indent, like))
        elif not source.starts_line(start):
            sites.append(Site(owner, start, start, Place.INLINE))  # several labels on one line
        else:
            colon = source.data.index(b":", node.start_byte) + 1
            alone = statement is None and source.ends_line(colon)
            place = source.line_end(colon) if alone else source.line_start(start)
            sites.append(Site(owner, place, place, Place.LINES, indent, like))
    missing = sorted((set(owners) | chosen) - seen - set(maybe))
    if missing or not seen:
        where = f" in {', '.join(missing or sorted(maybe))}" if missing or maybe else ""
        raise AnchorError(f"'case {label}:'{where}", f"it in {', '.join(sorted(seen))}" if seen else "none")
    return Located(tuple(sites), tuple(existing))


def macro_case(syntax: Syntax, *, macro: str, label: str, ours: str) -> Located:
    """A label above ``case label:`` in the body of ``#define macro``: text to the parser, lines to us."""
    source = syntax.source
    define = re.search(rf"^[ \t]*#[ \t]*define[ \t]+{re.escape(macro)}\b".encode(), source.code, re.MULTILINE)
    if define is None:
        raise AnchorError(f"#define {macro}", "none")
    end = define.start()
    while end < len(source.data):
        line_end = source.line_end(end)
        last = not source.data[end:line_end].rstrip().endswith(b"\\")
        end = line_end
        if last:
            break

    def label_at(name: str) -> list[re.Match[bytes]]:
        pattern = re.compile(rf"\bcase[ \t]+{re.escape(name)}[ \t]*:".encode())
        return list(pattern.finditer(source.code, define.start(), end))

    there = label_at(ours)
    if there:
        return Located(existing=(Existing(macro, there[0].start(), there[0].end()),))
    found = label_at(label)
    if len(found) != 1 or not source.starts_line(found[0].start()):
        raise AnchorError(f"one 'case {label}:' at the start of a line of #define {macro}", f"{len(found)}")
    start = source.line_start(found[0].start())
    site = Site(
        macro, start, start, Place.LINES, source.indent(found[0].start()), source.line(found[0].start())
    )
    return Located((site,))
