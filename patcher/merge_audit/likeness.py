"""Whether one text is another one, changed: by the words, or the lines, that they share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeVar

from patcher.merge_audit.item import Key

ALIKE = 0.5  # of two texts' words or lines, from which on one may be the other, changed
_T = TypeVar("_T")


@lru_cache(maxsize=20_000)
def words(text: str) -> Counter[str]:
    """The words and signs of ``text``; a literal is one. The caller must not change what it gets."""
    return Counter(re.findall(r'"(?:\\.|[^"\\])*"|\w+|[^\w\s]', text))


def share(mine: Counter[_T], theirs: Counter[_T]) -> float:
    """How much of two texts is in both: 1 where they have the same parts, 0 where none."""
    fewer, more = sorted((mine, theirs), key=len)
    common = sum(min(count, more[part]) for part, count in fewer.items() if part in more)
    return 2 * common / max(1, mine.total() + theirs.total())


def most_alike(key: Key, others: Iterable[Key]) -> Key | None:
    """Of ``others`` of the same construct the one whose words are most like ``key``'s; None for none."""
    mine = words(key.text)
    best, most = None, ALIKE
    for other in others:
        if other.construct == key.construct and other != key:
            alike = share(mine, words(other.text))
            if alike > most:
                best, most = other, alike
    return best
