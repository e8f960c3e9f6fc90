"""Whether one text is another one, changed: by the words that they share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from patcher.merge_audit.item import Key

_ALIKE = 0.5  # of two texts' words, from which on one may be the other changed


def words(text: str) -> Counter[str]:
    """The words and signs of ``text``; a literal is one."""
    return Counter(re.findall(r'"(?:\\.|[^"\\])*"|\w+|[^\w\s]', text))


def most_alike(key: Key, others: Iterable[Key]) -> Key | None:
    """The one of ``others`` of the same kind whose words are most like those of ``key``; None for none."""
    mine = words(key.text)
    best, most = None, _ALIKE
    for other in others:
        if other.kind != key.kind or other == key:
            continue
        theirs = words(other.text)
        alike = 2 * sum((mine & theirs).values()) / max(1, sum(mine.values()) + sum(theirs.values()))
        if alike > most:
            best, most = other, alike
    return best
