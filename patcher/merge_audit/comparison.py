"""One file in its four versions: what is missing from the merge, what is more than the sides allow.

What is missing in one place and more in another has moved; what is missing and stands there in another form
was adapted, if nothing of what the side had written is gone from it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cached_property

from patcher.merge_audit import numbering
from patcher.merge_audit.forms import MOST, Forms
from patcher.merge_audit.index import Index, indexes
from patcher.merge_audit.item import ONCE, STRICT, Key
from patcher.merge_audit.likeness import most_alike
from patcher.merge_audit.line_merge import LineMerge
from patcher.merge_audit.mark import Compared, Mark, finding
from patcher.merge_audit.surroundings import elsewhere
from patcher.merge_audit.weighing import Counts

_MANY = 2000  # lost items of one file from which on nobody asks what each has become
_TELLING = 4  # words of a line in a function's body that is worth a word by itself


class Comparison:
    """The versions of one file: ``bases``, ours, theirs and the merge."""

    def __init__(self, path: str, language: str, versions: list[bytes | None]) -> None:
        self.path, self.language, self.versions = path, language, versions
        made = indexes(language, versions)
        self.bases, (self.ours, self.theirs, self.merged) = made[:-3], made[-3:]
        self.base = self.bases[0]
        self.forms = Forms(self.base, self.ours, self.theirs, self.merged)
        self.out = Compared(path)

    def run(self) -> Compared:
        """Compare them."""
        everything = (*self.bases, self.ours, self.theirs, self.merged)
        self.out.is_bare = not any(one.first for one in everything)
        lost, spare = self._marks()
        lost, spare = self._by_lines(*self._paired(lost, spare))
        lost = _without_their_else([mark for mark in lost if not self._removed_before(mark)])
        self.out.lost = self._adapted(lost, spare)
        for mark in self.out.lost:
            self._supersede(mark)
        self.out.spare = [mark for mark in spare if mark.number]
        self._elsewhere()
        self._numbers()
        return self.out

    # -- counting

    def counts(self, key: Key) -> Counts:
        """How often each version has ``key``."""
        bases = tuple(base.counts[key] for base in self.bases)
        return Counts(bases, self.ours.counts[key], self.theirs.counts[key], self.merged.counts[key])

    def _marks(self) -> tuple[list[Mark], list[Mark]]:
        lost, spare = [], []
        keys: dict[Key, None] = {}
        for index in (*self.bases, self.ours, self.theirs, self.merged):
            keys |= dict.fromkeys(index.first)
        for key in keys:
            counts = self.counts(key)
            if counts.removed_by == "both":
                self.out.left.add(key)
            more = max(counts.ours, counts.theirs) - counts.base
            if more > 0 and counts.removed_by:
                self.out.grown[key] = more
            if counts.missing:
                lost.append(self._mark(key, counts, counts.missing))
            elif counts.spare or (counts.added_twice and key.construct in ONCE):
                spare.append(self._mark(key, counts, max(1, counts.spare)))
        return lost, spare

    def _mark(self, key: Key, counts: Counts, number: int) -> Mark:
        side = counts.brought_by
        index = self.forms.side(side) if side in ("theirs", "ours") else self.ours
        index = index if key in index.first else self.theirs if key in self.theirs.first else self.base
        was = index.first[key].line if key in index.first else 0
        here = self.merged.first.get(key)
        near = here.line if here is not None else self.merged.near(index, was)
        owned = tuple(
            key.owner in version.owners for version in (self.base, self.ours, self.theirs, self.merged)
        )
        return Mark(key, number, counts, side, was, near, owned)  # type: ignore[arg-type]

    # -- moved within the file

    def _paired(self, lost: list[Mark], spare: list[Mark]) -> tuple[list[Mark], list[Mark]]:
        """Let what is missing here and more there be one that moved; what is left on both sides."""
        by_text: dict[tuple[str, str], list[Mark]] = defaultdict(list)
        for mark in spare:
            by_text[mark.key.construct, mark.key.text].append(mark)
        for one in lost:
            for other in by_text.get((one.key.construct, one.key.text), ()):
                number = min(one.number, other.number)
                if not number or other.is_double:
                    continue
                one.number -= number
                other.number -= number
                if self._misplaced(one, other.key.owner):
                    there = " > ".join(other.key.owner) or "the file itself"
                    self.out.findings.append(
                        finding("merge-moved", self.path, one, f"stands in {there}", line=other.near)
                    )
        return [mark for mark in lost if mark.number], [mark for mark in spare if mark.number]

    def _by_lines(self, lost: list[Mark], spare: list[Mark]) -> tuple[list[Mark], list[Mark]]:
        """Those that a merge by lines hasn't made as they are: what that lacks, or has, is no one's loss."""
        of_sides = [mark for mark in spare if any((*mark.counts.bases, *mark.counts[1:3]))]
        if not lost and not of_sides:
            return lost, spare
        made = self._line_merge
        for mark in lost:
            missing = made.missing(mark.key)
            mark.number = mark.number if missing is None else min(mark.number, missing)
            mark.fits = made.is_clean
        for mark in of_sides:
            more = made.spare(mark.key)
            each = mark.counts.ours + mark.counts.theirs - mark.counts.base
            if more is not None and not (mark.counts.added_twice and mark.counts.merged <= each):
                mark.number = min(mark.number, more)
        return [mark for mark in lost if mark.number], [mark for mark in spare if mark.number]

    @cached_property
    def _line_merge(self) -> LineMerge:
        return LineMerge(self.language, self.versions)

    def _elsewhere(self) -> None:
        """Find what stands in its owner under another condition."""
        versions = (self.base, self.ours, self.theirs, self.merged)
        for key, sort, said in elsewhere(*versions, lambda: self._line_merge):
            mark = self._mark(key, self.counts(key), 1)
            if self.forms.under(mark, sort) != self.merged.first[key].under[sort]:
                self.out.elsewhere.append((mark, said))

    def _misplaced(self, one: Mark, there: tuple[str, ...]) -> bool:
        """Whether the owner of ``one`` is still in the merge, and ``there`` is another."""
        here = one.key.owner
        if here not in self.merged.owners:
            return False
        if one.key.construct not in STRICT and len(one.key.text.split()) < _TELLING:
            return False
        if (
            self.language == "c"
            and one.key.construct == "case"
            and not "".join(here[-1:]).startswith("switch")
        ):
            return False  # it isn't in the switch that it is in: what opens that is read in part
        index = self.forms.side(one.side)
        other = self.theirs if index is self.ours else self.ours
        if there not in index.owners and self._taken(here, there, other):
            return False
        return self._same(here, index) != there

    def _taken(self, here: tuple[str, ...], there: tuple[str, ...], side: Index) -> bool:
        """Whether ``side`` has taken something from the owner ``here`` to ``there``."""
        before, left, came = (
            index.owners.get(owner, Counter[str]())
            for index, owner in ((self.base, here), (side, here), (side, there))
        )
        return any(" " in text for text in ((before - left) & came))

    def _same(self, owner: tuple[str, ...], index: Index) -> tuple[str, ...]:
        """The owner in the merge that holds the most of what ``owner`` holds in ``index``: renamed."""
        held = index.owners.get(owner, Counter())
        best, most = owner, sum((self.merged.owners.get(owner, Counter()) & held).values())
        for name, texts in self.merged.owners.items():
            if len(name) == len(owner) and name[:1] == owner[:1] and name != owner:
                count = sum((texts & held).values())
                if count > most + 1:
                    best, most = name, count
        return best

    def _removed_before(self, one: Mark) -> bool:
        """Whether the side gave the item's owner another name, and the other removed it from the old one."""
        if one.side not in ("ours", "theirs") or one.key.owner in self.base.owners:
            return False
        index = self.forms.side(one.side)
        other = self.theirs if index is self.ours else self.ours
        return any(
            key.owner not in index.owners and other.counts[key] < self.base.counts[key]
            for key in self._places.get((one.key.construct, one.key.text), ())
        )

    @cached_property
    def _places(self) -> dict[tuple[str, str], list[Key]]:
        """Construct and text -> the items of the base that have them."""
        found: dict[tuple[str, str], list[Key]] = defaultdict(list)
        for key in self.base.first:
            found[key.construct, key.text].append(key)
        return found

    # -- adapted

    def _adapted(self, lost: list[Mark], spare: list[Mark]) -> list[Mark]:
        """What of ``lost`` isn't in the merge in another form that has all of it."""
        left = []
        own = [
            mark for mark in spare if mark.counts.merged and not any((*mark.counts.bases, *mark.counts[1:3]))
        ]
        by_owner: dict[tuple[str, ...], list[Mark]] = defaultdict(list)
        for mark in own:
            by_owner[mark.key.owner[:1]].append(mark)
        few = len(lost) < _MANY
        for one in lost:
            if one.key.construct == "value" and self.forms.numbered_anew(one):
                continue
            near = {mark.key: mark for mark in by_owner[one.key.owner[:1]][: MOST if few else 0]}
            form = most_alike(one.key, near)
            instead = form or self.forms.of_other(one)
            gone = self.forms.gone(one, instead) if instead is not None else {one.key.text}
            if not gone:
                continue
            if form is not None:
                one.form = near[form]
                one.without = frozenset(gone)
            left.append(one)
        self.out.own = sum(mark.number for mark in own)
        return left

    # -- what the other side removed

    def _supersede(self, one: Mark) -> None:
        """Note on ``one`` that the other side removed what it stands in, or was made of."""
        if one.fits or one.side not in ("ours", "theirs"):
            return
        other = self.theirs if one.side == "ours" else self.ours
        owner: tuple[str, ...] | None = next(
            (
                one.key.owner[:depth]
                for depth in range(1, len(one.key.owner) + 1)
                if one.key.owner[:depth] in self.base.owners and one.key.owner[:depth] not in other.owners
            ),
            None,
        )
        if not other.is_there and self.base.is_there:
            owner = ()
        before = self.forms.before(one) if owner is None else None
        if before is not None and other.counts[before] < self.base.counts[before]:
            if self.forms.of_other(one) is not None:
                return
            owner = one.key.owner
        if owner is not None:
            one.removed_by = "theirs" if one.side == "ours" else "ours"
            one.gone = " > ".join(owner)

    # -- numbers

    def _numbers(self) -> None:
        self.out.enums = {
            name: dict(index.names)
            for name, index in (("ours", self.ours), ("theirs", self.theirs), ("merged", self.merged))
        }
        for owner, name, said in numbering.problems(self.base, self.ours, self.theirs, self.merged):
            mark = self._mark(Key(owner, "enumerator", name), self.counts(Key(owner, "enumerator", name)), 1)
            line = self.merged.names[owner][name][1]
            self.out.findings.append(finding("merge-number", self.path, mark, said, line=line))


def _without_their_else(lost: list[Mark]) -> list[Mark]:
    """``lost`` without every ``else`` that went with the condition that it is of."""
    conditions = Counter[tuple[str, ...]]()
    for mark in lost:
        if mark.key.construct == "condition" and mark.key.text not in ("else", "#else"):
            conditions[mark.key.owner] += mark.number
    for mark in lost:
        if mark.key.construct == "condition" and mark.key.text in ("else", "#else"):
            mark.number = max(0, mark.number - conditions[mark.key.owner])
    return [mark for mark in lost if mark.number]


def compare(task: tuple[str, str, list[bytes | None]]) -> Compared:
    """The comparison of one file, as a process of a pool does it."""
    return Comparison(*task).run()
