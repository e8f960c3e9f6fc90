"""What linking and loading need to know of one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

from patcher.symbols.elf.constants import (
    DF_1_PIE,
    ET_EXEC,
    SHN_ABS,
    STB_LOCAL,
    STT_FILE,
    STT_SECTION,
    STT_TLS,
    STV_HIDDEN,
    STV_INTERNAL,
    VERSYM_HIDDEN,
)
from patcher.symbols.elf.identity import Abi
from patcher.symbols.elf.table import Columns


class Definition(NamedTuple):
    """One exported definition of a name. ``number`` is its version's in the file (below 2: none)."""

    version: str | None
    hidden: bool  # foo@V rather than foo@@V
    number: int


class Reference(NamedTuple):
    """One name that a file wants from elsewhere."""

    name: str
    weak: bool
    version: str | None = None
    file: str | None = None  # the soname that the version is wanted from
    hidden: bool = False


class Needed(NamedTuple):
    """A version that a file wants from a library, symbol or not. ``weak``: a warning where it lacks."""

    file: str
    version: str
    weak: bool


_NOTHING, _DATA, _TLS = 0, 1, 2
# st_info -> what a definition of that binding and type is to others; st_other -> whether they may see it
_KINDS = bytes(
    _NOTHING if info >> 4 == STB_LOCAL or info & 15 in (STT_SECTION, STT_FILE)
    else _TLS if info & 15 == STT_TLS else _DATA
    for info in range(256)
)  # fmt: skip
_VISIBLE = bytes(_NOTHING if other & 3 in (STV_HIDDEN, STV_INTERNAL) else 255 for other in range(256))


class Exports:
    """The names that a file defines for others: name -> version number(s), made when first asked for."""

    def __init__(self, table: Columns, versyms: list[int] | None, versions: Mapping[int, str]) -> None:
        self._pending: tuple[Columns, list[int] | None] | None = (table, versyms)
        self._versions = versions
        self._names: dict[bytes, int | tuple[int, ...]] = {}

    @property
    def names(self) -> Mapping[bytes, int | tuple[int, ...]]:
        """Every name with the raw version number of its definition, or of each of several."""
        if self._pending is not None:
            (table, versyms), self._pending = self._pending, None
            self._fill(table, versyms)
        return self._names

    def _fill(self, table: Columns, versyms: list[int] | None) -> None:
        names, strings, find = self._names, table.strings, table.strings.index
        # this loop is where the time goes: one look at a table for each symbol, no calls
        kinds = table.infos.translate(_KINDS)
        if table.others.strip(b"\0"):
            shown = table.others.translate(_VISIBLE)
            kinds = bytes(map(min, kinds, shown))
        rows = zip(table.names, table.sections, kinds, table.values, versyms or repeat(1), strict=False)
        for at, section, kind, value, number in rows:
            if not section or not kind or not at:
                continue
            # as glibc's do_lookup_x has it: a value of 0 defines nothing, but in TLS or absolute
            if not value and kind == _DATA and section != SHN_ABS:
                continue
            name = strings[at : find(b"\0", at)]
            known = names.setdefault(name, number)
            if known != number:
                names[name] = (*known, number) if isinstance(known, tuple) else (known, number)

    def __contains__(self, name: str) -> bool:
        return name.encode("utf-8", "surrogateescape") in self.names

    def __iter__(self) -> Iterator[str]:
        return (name.decode("utf-8", "surrogateescape") for name in self.names)

    def __len__(self) -> int:
        return len(self.names)

    def of(self, name: str) -> tuple[Definition, ...]:
        """All definitions of ``name``; none where there is none."""
        found = self.names.get(name.encode("utf-8", "surrogateescape"))
        if found is None:
            return ()
        numbers = found if isinstance(found, tuple) else (found,)
        return tuple(
            Definition(self._versions.get(number & 0x7FFF), bool(number & VERSYM_HIDDEN), number & 0x7FFF)
            for number in numbers
        )


@dataclass(frozen=True, eq=False)
class ElfObject:
    """One file. Two are equal only if they are the same object: each file is read once."""

    path: Path
    abi: Abi
    type: int
    interpreter: str | None
    dynamic: bool
    debug: bool = False  # split-off debug information: headers without the bytes
    soname: str | None = None
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    flags_1: int = 0
    versioned: bool = False  # it has a table of versions for its symbols
    versions: frozenset[str] = frozenset()  # that it defines
    wants: tuple[Needed, ...] = ()
    exports: Exports = field(
        default_factory=lambda: Exports(Columns(b"", 64, True, b""), None, {}), repr=False
    )
    references: tuple[Reference, ...] = field(default=(), repr=False)

    @property
    def bits(self) -> int:
        """32 or 64."""
        return self.abi[0]

    @property
    def little(self) -> bool:
        """Whether its numbers are little endian."""
        return self.abi[1]

    @property
    def machine(self) -> int:
        """``e_machine``."""
        return self.abi[2]

    @property
    def executable(self) -> bool:
        """Whether it is a program rather than a library.

        A static PIE has neither interpreter nor NEEDED; DF_1_PIE tells it from a library.
        """
        if self.type == ET_EXEC or self.flags_1 & DF_1_PIE:
            return True
        # libc.so.6 and the loader itself have an interpreter or can be run, and are libraries by their soname
        return self.interpreter is not None and self.soname is None

    @cached_property
    def name(self) -> str:
        """What chains call it: its soname, or its file name."""
        return self.soname or self.path.name
