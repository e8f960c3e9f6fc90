"""The conditions that a place in a file lies under: the preprocessor's, or a CMake list's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from patcher.engine.anchors.source import Source

Branch = tuple[int, int, int]  # offset of the if, where this branch of it starts, where it ends


def conditions(branches: Iterable[Branch], offset: int) -> frozenset[tuple[int, int]]:
    """Each as (offset of its ``if``, start of the branch): the two branches of one are two conditions."""
    return frozenset((first, start) for first, start, end in branches if start <= offset < end)


def twice(
    source: Source, ours: str, there: Iterable[int], branches: Iterable[Branch] | None = None
) -> str | None:
    """What is said where ``ours`` stands in two places that both count at once; None where it doesn't."""
    known = source.branches if branches is None else tuple(branches)
    held = [(offset, conditions(known, offset)) for offset in sorted(set(there))]
    for number, (first, mine) in enumerate(held):
        for second, other in held[number + 1 :]:
            if mine <= other or other <= mine:
                lines = f"{source.line_number(first)} and {source.line_number(second)}"
                return f"{ours} twice, in lines {lines}"
    return None


def uncovered(
    source: Source,
    ours: str,
    there: Iterable[int],
    beside: Iterable[int],
    branches: Iterable[Branch] | None = None,
) -> str | None:
    """What is wrong where ``ours``, at ``there``, doesn't count wherever its sibling, at ``beside``, does.

    None where it does, and where there is no sibling to compare with. ``branches`` are the preprocessor's
    where they aren't given.
    """
    offsets = list(there)
    known = source.branches if branches is None else tuple(branches)
    held = [conditions(known, offset) for offset in offsets]
    for sibling in beside:
        if not any(mine <= conditions(known, sibling) for mine in held):
            return f"{ours} under a condition of its own in line {source.line_number(offsets[0])}"
    return None


@dataclass(frozen=True)
class Condition:
    """An ``#if`` of somebody's around a place: text put beside the place would be gone without it."""

    start: int  # of its line
    end: int  # behind the line of its #endif
    branch: tuple[int, int]  # what the place's own branch holds
    line: int
    text: str

    def __str__(self) -> str:
        return f"it under '{self.text}' in line {self.line}"


def own_condition(source: Source, offset: int, *, inside: int = -1, within: str = "") -> Condition | None:
    """The outermost ``#if`` around ``offset`` that begins behind ``inside``; None where there is none.

    That of the whole file (a guard, an architecture) is none of a place's own, nor is one whose line
    names ``within``.
    """
    holding = sorted(branch for branch in source.branches if branch[1] <= offset < branch[2])
    for first, start, end in holding:
        if first <= inside:
            continue
        line = source.line(first).strip()
        # a branch of #if X ... #else is named by its #if
        if within and within in line:
            continue
        last = max(branch[2] for branch in source.branches if branch[0] == first)
        if inside < 0 and _is_the_files(source, first, last):
            continue
        return Condition(
            source.line_start(first),
            source.line_end(last),
            (start, end),
            source.line_number(first),
            line[:60],
        )
    return None


_DIRECTIVE = re.compile(rb"(?m)^[ \t]*#(?:[^\n]*\\\r?\n)*[^\n]*")


def _is_the_files(source: Source, first: int, last: int) -> bool:
    """Whether nothing but directives stands outside of the ``#if`` from ``first`` to ``last``."""
    outside = source.code[:first] + b"\n" + source.code[source.line_end(last) :]
    return not _DIRECTIVE.sub(b"", outside).strip()
