"""The GNU hash table: one name found among thousands without reading the others, as the loader does it.

Layout (glibc's elf/dl-lookup.c, do_lookup_x): the number of buckets, the first symbol that is in the table,
the number of words of a Bloom filter and its shift; the filter; the buckets, each the first symbol of a
chain; and for each symbol from the first on its hash, whose lowest bit says that its chain ends there.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping
from operator import mul

from patcher.symbols.elf.constants import DT_GNU_HASH
from patcher.symbols.elf.image import Image

_MASK = 0xFFFFFFFF
_LONGEST = 512
# h = h * 33 + c for each byte c, from 5381: a sum of bytes times powers of 33
_POWERS = [1]
while len(_POWERS) <= _LONGEST:
    _POWERS.append(_POWERS[-1] * 33 & _MASK)
_DESCENDING = tuple(reversed(_POWERS[:_LONGEST]))
_STARTS = tuple(5381 * power for power in _POWERS)


def gnu_hash(name: bytes) -> int:
    """The hash of a name (glibc's dl_new_hash)."""
    size = len(name)
    if size < _LONGEST:
        total: int = _STARTS[size] + sum(map(mul, name, _DESCENDING[_LONGEST - size :]))
        return total & _MASK
    value = 5381
    for byte in name:
        value = (value * 33 + byte) & _MASK
    return value


class GnuHash:
    """One file's table. ``None`` stands for one that isn't there or makes no sense: see :func:`gnu_table`."""

    def __init__(
        self, bits: int, first: int, shift: int, bloom: array[int], buckets: array[int], chains: array[int]
    ) -> None:
        self._bits, self._first, self._shift = bits, first, shift
        self._bloom, self._buckets, self._chains = bloom, buckets, chains
        self.steps = 0  # along the chains, in all lookups together

    def find(self, value: int) -> list[int]:
        """The numbers of the symbols whose names have that hash."""
        bits, bloom = self._bits, self._bloom
        word = bloom[value // bits % len(bloom)]
        if not word >> value % bits & word >> (value >> self._shift) % bits & 1:
            return []
        at = self._buckets[value % len(self._buckets)] - self._first
        chains, wanted, found = self._chains, value | 1, []
        first = at
        while 0 <= at < len(chains):
            there = chains[at]
            if there | 1 == wanted:
                found.append(at + self._first)
            if there & 1:
                break
            at += 1
        self.steps += at - first + len(found)
        return found


def gnu_table(image: Image, tags: Mapping[int, list[int]], count: int) -> GnuHash | None:
    """The table of a file with ``count`` symbols; None where the loader couldn't use it."""
    if DT_GNU_HASH not in tags:
        return None
    start = image.offset(tags[DT_GNU_HASH][0])
    buckets, first, blooms, shift = image.unpack("4I", start)
    word = image.bits // 8
    if not buckets or not blooms or first > count or shift >= 32:
        return None
    swap = image.little != (sys.byteorder == "little")

    def words(typecode: str, at: int, size: int) -> array[int]:
        values = array(typecode, image.at(at, size))
        if swap:
            values.byteswap()
        return values

    table = start + 16 + blooms * word
    if table + 4 * (buckets + count - first) > image.size:
        return None
    return GnuHash(
        image.bits, first, shift,
        words("Q" if word == 8 else "I", start + 16, blooms * word),
        words("I", table, 4 * buckets),
        words("I", table + 4 * buckets, 4 * (count - first)),
    )  # fmt: skip
