"""Anchors in an enum: a member with a number that is free, and the count of them all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from patcher.engine.anchors.constants import evaluate
from patcher.engine.anchors.focus import Wanted, focused
from patcher.engine.anchors.kind import AnchorKind, Language
from patcher.engine.anchors.site import AnchorError, Existing, Located, Place, Site, behind_comma
from patcher.engine.anchors.source import Source
from patcher.engine.anchors.syntax import Syntax, ancestor

if TYPE_CHECKING:
    from tree_sitter import Node


@dataclass(frozen=True)
class Member:
    """An enumerator. ``value`` is None where it can't be told."""

    node: Node
    value: int | None
    conditional: bool  # within an #if

    @property
    def numbered(self) -> bool:
        """Whether it says its value, and doesn't count on from the one before."""
        return self.node.child_by_field_name("value") is not None


def enumerators_of(syntax: Syntax, enum: str) -> dict[str, Member]:
    """The enumerators of ``enum`` by name, in order. Raises :class:`AnchorError` where there is none."""
    bodies = []
    for token in syntax.tokens(rf"\benum\s+(?:class\s+)?{re.escape(enum)}\b[^;{{]*\{{"):
        node = ancestor(syntax.at(token.start(), token.end()), "enum_specifier")
        body = node.child_by_field_name("body") if node is not None else None
        if body is not None:
            bodies.append(list(_enumerators(body)))
    if len(bodies) != 1 or not bodies[0]:
        raise AnchorError(f"one enum {enum} with enumerators", f"{len(bodies)}")
    members: dict[str, Member] = {}
    values: dict[str, int | None] = {}
    following: int | None = 0
    for node, conditional in bodies[0]:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name is None:
            continue
        number = evaluate(syntax.code(value), values) if value is not None else following
        following = number + 1 if number is not None else None
        key = syntax.text(name)
        if key in members:
            raise AnchorError(f"one {key} in enum {enum}", "two")
        members[key] = Member(node, number, conditional)
        values[key] = number
    return members


def _enumerators(body: Node, conditional: bool = False) -> Iterator[tuple[Node, bool]]:
    for child in body.named_children:
        if child.type == "enumerator":
            yield child, conditional
        elif child.type.startswith("preproc_"):
            yield from _enumerators(child, True)


def enum_of(source: Source, enum: str) -> dict[str, Member]:
    """:func:`enumerators_of` a file of which nothing else is asked."""
    return enumerators_of(Syntax(source, focused(source, [Wanted((enum,), header_only=True)])), enum)


def members_of(source: Source, enum: str) -> list[tuple[str, int, int, bool]]:
    """(name, value, offset, whether under a condition) of the enumerators whose value can be told.

    Raises :class:`AnchorError` where there is no such enum.
    """
    members = enum_of(source, enum)
    return [
        (name, member.value, member.node.start_byte, member.conditional)
        for name, member in members.items()
        if member.value is not None
    ]


def enumerator(
    syntax: Syntax, *, enum: str, ours: str, value: int, before: str | None = None, renumber: bool = False
) -> Located:
    """A member of ``enum``, behind its last one or the last one before ``before``.

    ``ours`` with another value, or ``value`` under another name, contradicts: files written with one
    id are unreadable with another. With ``renumber`` another value of ours gives way to ``value``.
    """
    source = syntax.source
    members = enumerators_of(syntax, enum)
    for name, member in members.items():
        if name not in (ours, before) and member.value is None:
            raise AnchorError(f"numbers in enum {enum}", f"'{syntax.text(member.node)}'")
        if name not in (ours, before) and member.value == value:
            raise AnchorError(f"{value} free in enum {enum}", f"it taken by {name}")
    if ours in members:
        there = members[ours]
        if there.value != value and renumber:
            _require_numbers(syntax, enum, members, behind_of=ours, but=before)
            return Located((_number(there.node, enum, value),))
        contradiction = None
        if there.value != value:
            said = there.value if there.value is not None else "no plain number"
            contradiction = f"{ours} = {said}, not {value}"
        elif there.conditional:
            contradiction = f"{ours} under a condition in line {source.line_number(there.node.start_byte)}"
        return Located(existing=(Existing(enum, there.node.start_byte, there.node.end_byte, contradiction),))
    return behind_last(syntax, enum, members, before)


def behind_last(syntax: Syntax, enum: str, members: dict[str, Member], before: str | None) -> Located:
    """The place behind the last enumerator under no condition, or the last such one before ``before``.

    Raises :class:`AnchorError` where there is none, and where those behind it would be counted on.
    """
    source, names = syntax.source, list(members)
    if before is not None and (before not in members or members[before].conditional):
        raise AnchorError(f"{before} in enum {enum}", "it under a condition" if before in members else "none")
    earlier = names[: names.index(before)] if before is not None else names
    unconditional = [name for name in earlier if not members[name].conditional]
    if not unconditional:
        raise AnchorError(f"an enumerator before {before} in enum {enum}", "none")
    _require_numbers(syntax, enum, members, behind_of=unconditional[-1], but=before)
    last = members[unconditional[-1]].node
    at = behind_comma(source, last.end_byte, f"{syntax.text(last)} in enum {enum}")
    start = last.start_byte
    return Located((Site(enum, at, at, Place.LINES, source.indent(start), source.line(start)),))


ENUMERATOR = AnchorKind(
    "enumerator",
    enumerator,
    Language.C,
    hangs_on=lambda at: rf"(?<=enum ){at['enum']}\b(?= \{{)",
    bodies=lambda at: [Wanted((at["enum"],), header_only=True)],
    shows="enum",
    enum="enum",
    is_member=True,
    example='enum = "ggml_type", ours = "GGML_TYPE_Q8_A8", value = 120, before = "GGML_TYPE_COUNT"',
)


def _require_numbers(
    syntax: Syntax, enum: str, members: dict[str, Member], *, behind_of: str, but: str | None
) -> None:
    """Raise where an enumerator behind ``behind_of``, the count aside, counts on from what is put there."""
    names = list(members)
    for name in names[names.index(behind_of) + 1 :]:
        if not members[name].numbered and not (name == but and name.endswith("_COUNT")):
            raise AnchorError(
                f"a number of its own for {name} in enum {enum}", syntax.text(members[name].node)
            )


def _number(node: Node, enum: str, value: int) -> Site:
    """Where the number of an enumerator stands, or would."""
    old = node.child_by_field_name("value")
    if old is not None:
        return Site(enum, old.start_byte, old.end_byte, Place.INLINE, text=str(value))
    return Site(enum, node.end_byte, node.end_byte, Place.INLINE, text=f" = {value}")


def enum_count(syntax: Syntax, *, enum: str, count: str, ours: str, value: int) -> Located:
    """The value of ``count``, the enumerator that says how many there are: one more than the highest."""
    members = enumerators_of(syntax, enum)
    if count not in members:
        raise AnchorError(f"{count} in enum {enum}", "none")
    there = members.pop(count)
    node, text = there.node, syntax.text(there.node)
    others = [member.value for name, member in members.items() if name != ours]
    known = [number for number in others if number is not None]
    if len(known) < len(others) or there.conditional:
        raise AnchorError(f"numbers, under no condition, in enum {enum}", text)
    wanted = 1 + max(value, *known)
    old = node.child_by_field_name("value")
    if old is None:
        # no number: C counts on from the member before, which is ours
        if wanted != value + 1 or list(members)[-1] not in (ours, _last_before(members, node)):
            raise AnchorError(f"{count} with a number in enum {enum}", text)
        return Located(existing=(Existing(enum, node.start_byte, node.end_byte, note=text),))
    if there.value is None:
        raise AnchorError(f"{count} with a plain number in enum {enum}", text)
    if there.value == wanted:
        return Located(existing=(Existing(enum, node.start_byte, node.end_byte),))
    _require_numbers_behind(syntax, enum, members, node)
    return Located((Site(enum, old.start_byte, old.end_byte, Place.INLINE, values={"count": wanted}),))


ENUM_COUNT = AnchorKind(
    "enum-count",
    enum_count,
    Language.C,
    hangs_on=lambda at: rf"\b{at['count']}\b",
    bodies=lambda at: [Wanted((at["enum"],), header_only=True)],
    shows="enum",
    enum="enum",
    example='enum = "ggml_type", count = "GGML_TYPE_COUNT", ours = "GGML_TYPE_Q8_A8", value = 120',
)


def _last_before(members: dict[str, Member], node: Node) -> str:
    return [name for name, member in members.items() if member.node.start_byte < node.start_byte][-1]


def _require_numbers_behind(syntax: Syntax, enum: str, members: dict[str, Member], node: Node) -> None:
    """Raise where an enumerator counts on from ``node``, whose number is about to change."""
    later = [name for name, member in members.items() if member.node.start_byte > node.start_byte]
    if later and not members[later[0]].numbered:
        raise AnchorError(
            f"a number of its own for {later[0]} in enum {enum}", syntax.text(members[later[0]].node)
        )
