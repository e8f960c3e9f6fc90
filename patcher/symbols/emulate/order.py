"""Where GNU ld stops: it goes through its table of symbols, and ends at the first that it can't write."""

from __future__ import annotations

_BUCKETS = 4051  # of the table, as it starts; it grows with some thousand symbols


def place(name: str) -> int:
    """Where ``name`` stands in the table of GNU ld."""
    number = 0
    text = name.encode("utf-8", "surrogateescape")
    for one in (*text, len(text)):
        number = (number + one + (one << 17)) & 0xFFFFFFFF
        number ^= number >> 2
    return number % _BUCKETS


def said_first(names: set[str]) -> str:
    """The one of ``names`` that GNU ld comes to first. Raises :class:`ValueError` where there is none."""
    return min(names, key=lambda name: (place(name), name))
