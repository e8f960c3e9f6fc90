"""Anchors in an enum that nobody numbers: a member that counts on, and assertions of how many there are."""

from __future__ import annotations

import re

from patcher.engine.anchors.conditions import twice
from patcher.engine.anchors.enums import behind_last, enumerators_of
from patcher.engine.anchors.focus import Wanted
from patcher.engine.anchors.kind import AnchorKind, Language
from patcher.engine.anchors.site import AnchorError, Existing, Located, Place, Site
from patcher.engine.anchors.source import Source
from patcher.engine.anchors.syntax import Syntax


def enum_member(syntax: Syntax, *, enum: str, ours: str, before: str | None = None) -> Located:
    """A member of ``enum`` without a number, behind its last one or the last one before ``before``.

    For an enum whose members count on, and whose last one (``before``) says how many there are.
    """
    source = syntax.source
    members = enumerators_of(syntax, enum)
    if ours in members:
        there = members[ours]
        line = source.line_number(there.node.start_byte)
        problem = f"{ours} under a condition in line {line}" if there.conditional else None
        return Located(existing=(Existing(enum, there.node.start_byte, there.node.end_byte, problem),))
    return behind_last(syntax, enum, members, before)


ENUM_MEMBER = AnchorKind(
    "enum-member",
    enum_member,
    Language.C,
    hangs_on=lambda at: rf"(?<=enum ){at['enum']}\b(?= \{{)",
    bodies=lambda at: [Wanted((at["enum"],), header_only=True)],
    shows="enum",
    example='enum = "ggml_op", ours = "GGML_OP_MIX", before = "GGML_OP_COUNT"',
)

_ASSERT = rb"\b(?:static_assert|_Static_assert|GGML_STATIC_ASSERT)\s*\(\s*%b\s*==\s*(\d+)(?=[\s+\d]*[,)])"


def count_assert(source: Source, *, count: str, ours: str) -> Located:
    """Behind the number that a ``static_assert`` wants ``count`` to be, wherever the file has one.

    The text adds to it, and names ``ours``, by which it is known again: what was counted before stays.
    """
    sites: list[Site] = []
    existing: list[Existing] = []
    name = re.compile(rb"\b%b\b" % re.escape(ours.encode()))
    for found in re.finditer(_ASSERT % re.escape(count.encode()), source.code):
        end = source.code.find(b";", found.end()) % (len(source.data) + 1)  # nowhere: to the end
        said = [one.start() for one in name.finditer(source.data, found.end(), end)]
        if said:
            problem = twice(source, ours, said)
            existing.append(Existing(count, found.start(), said[-1] + len(ours), problem))
        else:
            sites.append(Site(count, found.end(), found.end(), Place.INLINE))
    if not sites and not existing:
        raise AnchorError(f"a static_assert of {count} and a number", "none")
    return Located(tuple(sites), tuple(existing))


COUNT_ASSERT = AnchorKind(
    "count-assert",
    count_assert,
    Language.TEXT,
    hangs_on=lambda at: rf"(?<=\(){at['count']}\b(?= ==)",
    shows="count",
    example='count = "GGML_OP_COUNT", ours = "GGML_OP_MIX"',
)
