"""The numbers of a merge's enumerators: two of one number, two that changed places."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from patcher.merge_audit.index import Index

_Members = dict[str, tuple[int | None, int, bool]]


def problems(
    base: Index, ours: Index, theirs: Index, merged: Index
) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Enum, enumerator and what is wrong with its number, which on the sides it isn't."""
    for owner, members in merged.names.items():
        sides = [one.names.get(owner, {}) for one in (ours, theirs)]
        for first, second in sorted(_clashes(members).difference(*map(_clashes, sides))):
            number, line = members[first][0], members[first][1]
            yield owner, second, f"is {number}, as {first} is (line {line}), and on no side"
        known = [_by_number(one) for one in (*sides, base.names.get(owner, {}))]
        for first, second in pairwise(_by_number(members)):
            both = [one for one in known if first in one and second in one]
            if both and all(one[first] > one[second] for one in both):
                yield owner, second, f"has a higher number than {first}; on each side it has a lower one"


def _by_number(members: _Members) -> dict[str, int]:
    """Those with a known number of their own, from the lowest on."""
    known = [
        (number, name) for name, (number, _, alias) in members.items() if number is not None and not alias
    ]
    return {name: number for number, name in sorted(known)}


def _clashes(members: _Members) -> set[tuple[str, str]]:
    """The pairs of enumerators that have one number without one naming the other."""
    seen: dict[int, str] = {}
    found = set()
    for name, (number, _, alias) in members.items():
        if number is not None and not alias:
            if number in seen:
                found.add((seen[number], name))
            else:
                seen[number] = name
    return found
