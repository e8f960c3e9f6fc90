"""What stands where it belongs, under another condition: another ``#if``, another branch, another ``case``.

Looked at are items that each version has at most once: of two alike nobody knows which one is which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from patcher.merge_audit.index import Index
from patcher.merge_audit.item import STRICT, Key
from patcher.merge_audit.likeness import ALIKE, share, words
from patcher.merge_audit.line_merge import LineMerge

_TELLING = 4  # words and signs of a line in a function's body that is worth a word by itself


def elsewhere(
    base: Index, ours: Index, theirs: Index, merged: Index, by_lines: Callable[[], LineMerge]
) -> Iterator[tuple[Key, int, str]]:
    """Every item that the merge has under a condition that no side has it under: its sort, and what is said.

    Nothing is said where the condition itself is gone or is another side's that was put around the item, and
    where a merge of lines (``by_lines``, made once it is asked for) has the item there, too.
    """
    for key, item in merged.first.items():
        if any(one.counts[key] > 1 for one in (base, ours, theirs, merged)):
            continue
        if key.construct not in STRICT | {"argument"} and words(key.text).total() < _TELLING:
            continue
        mine, other = ours.first.get(key), theirs.first.get(key)
        before = base.first.get(key)
        for at, here in enumerate(item.under):
            asked = _asked(*(one.under[at] if one is not None else None for one in (before, mine, other)))
            if not asked or here in asked:
                continue
            there = [one for one in asked if merged.has_condition(one, key.owner)]
            known = [side.has_condition(here, key.owner) for side in (ours, theirs)]
            has = [one is not None for one in (mine, other)]
            put_around = any(known) and not all(one for one, needed in zip(known, has, strict=True) if needed)
            if not there or put_around or _adapted(here, (ours, theirs), merged):
                continue
            if here in by_lines().under(key, at):
                continue
            yield key, at, f"stands {_said(here)}, on its side {' or '.join(map(_said, there))}"


def _said(condition: str) -> str:
    return f"under '{condition}'" if condition else "under no condition"


def _adapted(here: str, sides: tuple[Index, Index], merged: Index) -> bool:
    """Whether ``here`` is a condition of a side's that the merge has in another form, its own."""
    if any(here in side.conditions for side in sides):
        return False
    gone = {one for side in sides for one in side.conditions if one not in merged.conditions}
    return any(share(words(here), words(one)) > ALIKE for one in gone)


def _asked(before: str | None, ours: str | None, theirs: str | None) -> list[str]:
    """The conditions that the sides ask for: that of the one that has changed it, or of either."""
    sides = [one for one in (ours, theirs) if one is not None]
    changed = [one for one in sides if one != before]
    return changed if before is not None and len(sides) == 2 and changed else sides
