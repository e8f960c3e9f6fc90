"""In which form an item stands elsewhere: on its side before, on the other side, in the merge."""

from __future__ import annotations

import re
from collections import defaultdict

from patcher.merge_audit.index import Index
from patcher.merge_audit.item import Key
from patcher.merge_audit.likeness import most_alike, words
from patcher.merge_audit.mark import Mark

_WORDS = re.compile(r"[^\W\d]\w*|\d+")
MOST = 300  # items of one owner that are compared with one another
_Keys = dict[tuple[tuple[str, ...], str], list[Key]]


class Forms:
    """The base, the sides and the merge of one file."""

    def __init__(self, base: Index, ours: Index, theirs: Index, merged: Index) -> None:
        self.base, self.ours, self.theirs, self.merged = base, ours, theirs, merged
        self._known: dict[int, tuple[_Keys, _Keys]] = {}

    def side(self, name: str) -> Index:
        """The side of that name; ours for what both, or neither, brought."""
        return self.theirs if name == "theirs" else self.ours

    def numbered_anew(self, one: Mark) -> bool:
        """Whether the enumerator has another number in the merge, which is not the one from before."""
        name = one.key.text.partition(" = ")[0]
        for key in self.merged.first:
            if key.construct == "value" and key.owner == one.key.owner and key.text.startswith(f"{name} = "):
                return self.base.counts[key] == 0
        return False

    def of_other(self, one: Mark) -> Key | None:
        """What the other side made of the same base line, where the merge has that."""
        if one.side not in ("ours", "theirs"):
            return None
        other = self.theirs if one.side == "ours" else self.ours
        keys = self._changed(other)[1].get((one.key.owner, one.key.construct), ())
        return most_alike(one.key, (key for key in keys[:MOST] if key in self.merged.first))

    def gone(self, one: Mark, form: Key) -> set[str]:
        """The words that the side had written into ``one`` and ``form`` lacks.

        Those aside that the other side took out of the file.
        """
        before = self.before(one)
        written = words(one.key.text)
        if before is not None:
            written = written - words(before.text)
        gone = _within(set(written - words(form.text)), form)
        other = self.theirs if one.side == "ours" else self.ours
        if one.side in ("ours", "theirs"):
            gone = {
                word for word in gone if other.words[word] >= self.base.words[word] or not word.isidentifier()
            }
            if before is not None:
                gone -= self._new_names(one, before)
        return {word for word in gone if re.search(r"\w", word)}

    def _new_names(self, one: Mark, before: Key) -> set[str]:
        """The words of ``one`` that are there for one that its side has given up, as the merge has, too."""
        side = self.side(one.side)
        left = words(before.text) - words(one.key.text)
        renamed = [
            word
            for word in left
            if word.isidentifier()
            and self.base.words[word]
            and not side.words[word] + self.merged.words[word]
        ]
        came = [word for word in words(one.key.text) - words(before.text) if self.merged.words[word]]
        return set(came) if renamed and len(came) <= len(renamed) else set()

    def under(self, one: Mark, sort: int) -> str | None:
        """Under which condition the other side has what the item was before its side changed it."""
        if one.side not in ("ours", "theirs"):
            return None
        before, other = self.before(one), self.side("theirs" if one.side == "ours" else "ours")
        there = other.first.get(before) if before is not None else None
        return there.under[sort] if there is not None else None

    def before(self, one: Mark) -> Key | None:
        """What the side's item was in the base, where the side has changed it."""
        index = self.side(one.side)
        keys = self._changed(index)[0].get((one.key.owner, one.key.construct), ())
        return most_alike(one.key, keys[:MOST])

    def _changed(self, index: Index) -> tuple[_Keys, _Keys]:
        """What a side removed and what it added, by owner and construct."""
        if id(index) not in self._known:
            removed: _Keys = defaultdict(list)
            added: _Keys = defaultdict(list)
            for key, count in self.base.counts.items():
                if index.counts[key] < count:
                    removed[key.owner, key.construct].append(key)
            for key in index.first:
                if not self.base.counts[key]:
                    added[key.owner, key.construct].append(key)
            self._known[id(index)] = removed, added
        return self._known[id(index)]


def _within(gone: set[str], form: Key) -> set[str]:
    """``gone`` with the words of a literal in place of it, where ``form`` has others.

    A message that names a function changes with that one's name.
    """
    there = set(_WORDS.findall(form.text))
    found = set()
    for word in gone:
        inner = set(_WORDS.findall(word)) if word.startswith('"') else set()
        found |= {one for one in inner if one not in there} or {word}
    return found
