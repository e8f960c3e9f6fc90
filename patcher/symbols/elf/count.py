"""How many dynamic symbols a file has: no tag says it outright."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping, Sequence

from patcher.symbols.elf.constants import (
    DT_GNU_HASH,
    DT_HASH,
    DT_JMPREL,
    DT_PLTREL,
    DT_PLTRELSZ,
    DT_REL,
    DT_RELA,
    DT_RELASZ,
    DT_RELSZ,
    DT_SYMTAB,
    EM_ALPHA,
    EM_S390,
    SHT_DYNSYM,
)
from patcher.symbols.elf.image import Image, Section

MAX_SYMBOLS = 5_000_000
_STEP = 4096  # words of a hash chain read at once


def symbol_count(image: Image, tags: Mapping[int, list[int]], sections: Sequence[Section]) -> int:
    """The number of dynamic symbols, from the section headers, a hash table, or the relocations."""
    entry = 24 if image.bits == 64 else 16
    room = (image.size - image.offset(tags[DT_SYMTAB][0])) // entry
    count = next(
        (
            one.size // entry
            for one in sections
            if one.type == SHT_DYNSYM and one.address == tags[DT_SYMTAB][0]
        ),
        None,
    )
    if count is None and DT_HASH in tags:
        # nchain; the words of this table have 64 bits on two machines
        wide = image.machine in (EM_ALPHA, EM_S390) and image.bits == 64
        count = image.unpack("QQ" if wide else "II", image.offset(tags[DT_HASH][0]))[1]
    if count is None:
        count = max(_by_gnu_hash(image, tags), _by_relocations(image, tags))
    if count > min(room, MAX_SYMBOLS):
        raise image.fail(f"{count} symbols in a file with room for {room}")
    return count


def _by_gnu_hash(image: Image, tags: Mapping[int, list[int]]) -> int:
    """The last chain's end. A file that exports nothing has no chain and says nothing."""
    if DT_GNU_HASH not in tags:
        return 0
    start = image.offset(tags[DT_GNU_HASH][0])
    buckets, first, bloom, _ = image.unpack("4I", start)
    table = start + 16 + bloom * (image.bits // 8)
    last = max(struct.unpack(f"{image.order}{buckets}I", image.at(table, 4 * buckets)), default=0)
    if last < first:
        return first
    at = table + 4 * buckets + 4 * (last - first)
    while True:
        size = min(4 * _STEP, (image.size - at) // 4 * 4)
        if size <= 0:
            raise image.fail("the last chain of its hash table has no end")
        words = struct.unpack(f"{image.order}{size // 4}I", image.at(at, size))
        for number, word in enumerate(words):
            if word & 1:  # the chain's end
                return last + number + 1
        at, last = at + size, last + len(words)


def _by_relocations(image: Image, tags: Mapping[int, list[int]]) -> int:
    """One more than the highest symbol that a relocation names."""
    highest = 0
    plt_is_rela = tags.get(DT_PLTREL, [DT_RELA])[0] == DT_RELA
    for tag, size_tag, rela in (
        (DT_RELA, DT_RELASZ, True), (DT_REL, DT_RELSZ, False), (DT_JMPREL, DT_PLTRELSZ, plt_is_rela)
    ):  # fmt: skip
        if tag not in tags or size_tag not in tags:
            continue
        word = 8 if image.bits == 64 else 4
        step = 3 if rela else 2
        raw = image.at(image.offset(tags[tag][0]), tags[size_tag][0])
        infos = array("Q" if word == 8 else "I", raw[: len(raw) // (word * step) * word * step])[1::step]
        if image.order != ("<" if struct.pack("=H", 1) == b"\1\0" else ">"):
            infos.byteswap()
        highest = max(highest, max(infos, default=0) >> (32 if word == 8 else 8))
    return highest + 1
