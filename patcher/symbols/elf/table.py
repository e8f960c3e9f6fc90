"""A symbol table, taken apart by columns."""

from __future__ import annotations

import sys
from array import array
from itertools import repeat

# Names may share their ends, and linkers merge them so, but a small file could claim any amount. Together
# they may have so many times the bytes of their strings, and this beside it: libLLVM's 45,000 have once.
SHARED = 8
SPARE_NAMES = 1 << 20
MAX_STRINGS = 1 << 29  # bytes of one string table; Chromium with all symbols has some 200 MB


class Columns:
    """The fields of ``count`` symbols. Raises ``ValueError`` for names outside the strings.

    ``raw`` are Elf32_Sym (16 bytes) or Elf64_Sym (24 bytes) records, ``strings`` the string table.
    """

    def __init__(self, raw: bytes, bits: int, little: bool, strings: bytes) -> None:
        swap = little != (sys.byteorder == "little")
        size = 24 if bits == 64 else 16
        self.count = len(raw) // size
        raw = raw[: self.count * size]
        self.strings = strings

        def column(typecode: str, first: int, step: int) -> array[int]:
            values = array(typecode, raw)[first::step]
            if swap:
                values.byteswap()
            return values

        self.names = column("I", 0, size // 4)
        if bits == 64:
            self.infos, self.others = raw[4::24], raw[5::24]
            self.sections = column("H", 3, 12)
            self.values = column("Q", 1, 3)
        else:
            self.infos, self.others = raw[12::16], raw[13::16]
            self.sections = column("H", 7, 8)
            self.values = column("I", 1, 4)
        self._check()

    def _check(self) -> None:
        """Every name has an end, and all together are no flood."""
        highest, strings = max(self.names, default=0), self.strings
        if highest > strings.rfind(b"\0") and highest:
            raise ValueError(f"a name at {highest} has no end in {len(strings)} bytes of names")
        most = SHARED * len(strings) + SPARE_NAMES
        if not self.count or _all_within(strings, most // self.count):
            return
        # added up in runs that can't take longer than the bound, without a step of ours for each name
        together, run = 0, most // len(strings)
        for start in range(0, self.count, run):
            names = self.names[start : start + run]
            together += sum(map(strings.index, repeat(b"\0"), names)) - sum(names)
            if together > most:
                raise ValueError(f"its {self.count} names have more than {most} bytes together")

    def name(self, index: int) -> bytes:
        """The name of one symbol."""
        at = self.names[index]
        return self.strings[at : self.strings.index(b"\0", at)] if at else b""


def _all_within(strings: bytes, most: int) -> bool:
    """Whether none of the strings is longer than ``most`` bytes: told by leaps, not string by string."""
    at = 0
    while len(strings) - at > most:
        at = strings.rfind(b"\0", at, at + most + 1) + 1
        if not at:
            return False
    return True
