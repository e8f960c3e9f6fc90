"""The conditions that a place in a file lies under: the preprocessor's, or a CMake list's."""

from __future__ import annotations

from collections.abc import Iterable

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
