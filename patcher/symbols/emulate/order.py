"""Where GNU ld stops: it goes through its table of symbols, and ends at the first that it can't write."""

from __future__ import annotations

from patcher.symbols.emulate.refusal import Refusal

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


def written(lacking: list[Refusal], undefined: set[str], late: set[str]) -> list[Refusal]:
    """What GNU ld says of libraries' symbols before it ends at one that isn't exported, or ``undefined``.

    What isn't exported is written before all else, but for ``late``: what a script alone makes local.
    """
    local = {one.symbol for one in lacking if one.unexported}
    if local - late:
        return [one for one in lacking if one.symbol == said_first(local - late)]
    if not local and not undefined:
        return lacking
    last = said_first(local | undefined)
    return [one for one in lacking if place(one.symbol) < place(last) or one.symbol == last]
