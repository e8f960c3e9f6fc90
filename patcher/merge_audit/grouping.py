"""From marks to findings: what is lost with its owner is one loss, what is back or twice is said once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from patcher.merge_audit.finding import Finding
from patcher.merge_audit.item import ONCE, STRICT
from patcher.merge_audit.mark import Compared, Mark, finding

# rows that say by themselves what they are of; what stands in its place alone may stand in two
_NAMED = re.compile(r'\[|.*"|\{[^,]+,|\w+(?:\.\w+)+|[^{]+:', re.DOTALL)
_HUNK = 3  # lines that two of one hunk lie apart at most
TELLING = 4  # words of a line in a function's body that is worth a word by itself


def by_lost_owner(lost: Iterable[Mark]) -> Iterator[tuple[Mark, list[Mark]]]:
    """What is lost, each with what is lost in it: a function with its lines, a row with its fields."""
    marks = list(lost)
    yield from _by_hunk([mark for mark in marks if mark.key.construct == "line"])
    marks = [mark for mark in marks if mark.key.construct != "line"]
    heads: dict[tuple[tuple[str, ...], str], Mark] = {}
    for mark in marks:
        if mark.key.construct in ("definition", "entry", "declaration"):
            for name in _names(mark.key.text):
                heads.setdefault((mark.key.owner, name), mark)
    groups: dict[int, tuple[Mark, list[Mark]]] = {}
    for mark in marks:
        head = mark
        for depth in range(len(mark.key.owner)) if not mark.owned[3] else ():
            above = heads.get((mark.key.owner[:depth], mark.key.owner[depth]))
            if above is not None and above is not mark:
                head = above
                break
        else:
            if not mark.owned[3] and mark.key.construct not in ("definition",):
                # an owner that no item names: the first that is lost in it stands for it
                head = next(
                    (
                        first
                        for first, _ in groups.values()
                        if first.key.owner == mark.key.owner and not first.owned[3]
                    ),
                    mark,
                )
        groups.setdefault(id(head), (head, []))[1].append(mark)
    yield from groups.values()


def _by_hunk(lines: list[Mark]) -> Iterator[tuple[Mark, list[Mark]]]:
    """Lines that stood together, by the first of them."""
    group: list[Mark] = []
    for mark in sorted(lines, key=lambda one: (one.side, one.was)):
        if group and (mark.side != group[-1].side or mark.was > group[-1].was + _HUNK):
            yield group[0], group
            group = []
        group.append(mark)
    if group:
        yield group[0], group


def _names(text: str) -> set[str]:
    """What the owner of a definition's or a row's insides may be called."""
    joined = text.replace(" :: ", "::").replace("[ ", "[").replace(" ]", "]")
    tight = re.sub(r" ?([<>,]) ?", r"\1", joined)
    return {
        *re.findall(r"(?<![\w:~])[\w:~]{1,200}<[^(){}]{0,400}?>(?=\(|\{|:| |$)", tight),
        *re.findall(r"\[[^\[\]]*\]|[\w:~]+", joined),
        text.rstrip(":"),
        text.strip("{}"),
        joined.partition(" =")[0],
    }


def of_spare(one: Compared) -> Iterator[Finding]:
    """What is back, and what is there twice; what only the merge has is its own affair."""
    doubled = {
        (*mark.key.owner, name)
        for mark in one.spare
        if mark.key.construct == "definition" and any(mark.counts[1:3])
        for name in _names(mark.key.text)
    }
    for mark in one.spare:
        key, counts = mark.key, mark.counts
        strict = key.construct in STRICT
        if any(key.owner[:depth] in doubled for depth in range(1, len(key.owner) + 1)):
            continue
        telling = strict or len(key.text.split()) >= TELLING
        if not telling or key.construct in ("condition", "directive", "value"):
            continue
        if key.construct == "line" and not counts.added_twice and not counts.removed_by:
            continue  # a text says many things more than once
        on_sides = max(counts.ours, counts.theirs)
        if counts.base and counts.removed_by and counts.merged <= max(counts.bases):
            by = "both sides" if counts.removed_by == "both" else counts.removed_by.upper()
            rule = "merge-revived" if strict else "merge-line-revived"
            yield finding(rule, one.path, mark, f"{by} removed it, and it is back")
        elif (on_sides == 1 and key.construct in ONCE) or (on_sides and not strict):
            if key.construct == "entry" and not _NAMED.match(key.text):
                continue
            rule = "merge-duplicated" if strict else "merge-line-duplicated"
            yield finding(rule, one.path, mark, f"stands {counts.merged} times, {on_sides} on a side")


def together(found: Iterable[Finding]) -> list[Finding]:
    """Notes of one owner as one."""
    made: dict[tuple[str, str, tuple[str, ...], str], Finding] = {}
    rest = []
    for one in found:
        if one.rule != "merge-superseded":
            rest.append(one)
            continue
        key = (one.rule, one.file, one.owner[:1], one.detail)
        made[key] = replace(made[key], count=made[key].count + one.count) if key in made else one
    return [*rest, *made.values()]
