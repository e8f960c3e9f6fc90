"""What git's own merge of lines makes of a file: what that lacks, nobody who merged has lost.

A statement of three lines, of which each side changed another, is in the merge a statement that neither side
has. Where both changed one line git takes one side's, then the other's: what is in neither is in no merge.
"""

from __future__ import annotations

from collections import defaultdict

from patcher import git
from patcher.merge_audit.forms import MOST
from patcher.merge_audit.index import Index, indexes
from patcher.merge_audit.item import Key
from patcher.merge_audit.likeness import most_alike


class LineMerge:
    """The merges by lines of a file's versions (bases, ours, theirs, the merge)."""

    def __init__(self, language: str, versions: list[bytes | None]) -> None:
        *bases, ours, theirs, merged = versions
        self._made: list[Index] = []
        if ours is None or theirs is None or merged is None:
            return
        texts: list[bytes | None] = []
        for base in bases or [None]:
            for favored in ("ours", "theirs"):
                one = git.merge_favoring(ours, base=base or b"", other=theirs, favored=favored)
                if one not in texts:
                    texts.append(one)
        # read together with the others: what all have in common is counted in none
        known = indexes(language, [merged, *texts, ours, theirs, *bases])
        self.merged, self._made = known[0], known[1 : 1 + len(texts)]
        sides = known[1 + len(texts) :]
        self._forms: dict[tuple[str, ...], list[Key]] = defaultdict(list)
        for key in self._made[0].first:
            if all(key in one.first for one in self._made) and not any(key in one.first for one in sides):
                self._forms[key.owner[:1]].append(key)

    @property
    def is_clean(self) -> bool:
        """Whether the sides' changes fit together, line by line."""
        return len(self._made) == 1

    def missing(self, key: Key) -> int | None:
        """How many of ``key`` a merge by lines has more than this one; None where there is none.

        Where it has one in a form that no side has, and this merge hasn't that: one.
        """
        if not self._made:
            return None
        number = max(0, max(one.counts[key] for one in self._made) - self.merged.counts[key])
        if number:
            return number
        known = self._forms.get(key.owner[:1], ())[:MOST]
        form = most_alike(key, known)
        near = (
            [form]
            if form
            else [one for one in known if (one.owner, one.construct) == (key.owner, key.construct)]
        )
        return int(any(self.merged.counts[one] < self._made[0].counts[one] for one in near))

    def under(self, key: Key, sort: int) -> set[str]:
        """The conditions under which these merges have ``key``."""
        found = [one.first[key].under for one in self._made if key in one.first]
        return {under[sort] for under in found if len(under) > sort}

    def spare(self, key: Key) -> int | None:
        """How many of ``key`` this merge has more than any by lines; None where there is none."""
        if not self._made:
            return None
        return max(0, self.merged.counts[key] - max(one.counts[key] for one in self._made))
