"""What linking and loading need to know of one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

from patcher.symbols.elf.constants import (
    DF_1_PIE,
    ET_EXEC,
    SHN_ABS,
    STB_GLOBAL,
    STB_GNU_UNIQUE,
    STB_WEAK,
    STT_COMMON,
    STT_FUNC,
    STT_GNU_IFUNC,
    STT_NOTYPE,
    STT_OBJECT,
    STT_TLS,
    STV_HIDDEN,
    STV_INTERNAL,
    VERSYM_HIDDEN,
)
from patcher.symbols.elf.gnu_hash import GnuHash, gnu_hash
from patcher.symbols.elf.table import Columns

if TYPE_CHECKING:
    from pathlib import Path

    from patcher.symbols.elf.identity import Abi


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
    tls: bool = False  # of a variable that each thread has for itself


class Needed(NamedTuple):
    """A version that a file wants from a library, symbol or not. ``weak``: a warning where it lacks."""

    file: str
    version: str
    weak: bool


hash_of = cache(gnu_hash)  # the same names are asked of one library after the other

MAX_ALIKE = 64  # versions of one name that are looked at; glibc has four of some

_NOTHING, _DATA, _TLS = 0, 1, 2
# st_info -> what a definition of that binding and type is to others; st_other -> whether they may see it.
# glibc's do_lookup_x and musl's find_sym know these bindings and types, and pass over all others.
_BINDINGS = (STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE)
_TYPES = (STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_COMMON, STT_TLS, STT_GNU_IFUNC)
_ROLES = bytes(
    _NOTHING if info >> 4 not in _BINDINGS or info & 15 not in _TYPES
    else _TLS if info & 15 == STT_TLS else _DATA
    for info in range(256)
)  # fmt: skip
_IS_TLS = bytes(role == _TLS for role in _ROLES)
_VISIBLE = bytes(_NOTHING if other & 3 in (STV_HIDDEN, STV_INTERNAL) else 255 for other in range(256))


class Exports:
    """The names that a file defines for others: name -> version number(s).

    A few names are looked up in the file's own hash table; when many are, all are put in a dictionary.
    """

    def __init__(
        self,
        table: Columns,
        versyms: Sequence[int] | None,
        versions: Mapping[int, str],
        hashes: GnuHash | None = None,
    ) -> None:
        self._pending: tuple[Columns, Sequence[int] | None] | None = (table, versyms)
        self._versions = versions
        self._hashes = hashes
        self._patience = table.count // 2  # so many lookups cost about as much as the dictionary
        # and so many steps along chains do, each a tenth of a lookup: chains can be made as long as the table
        self._longest = 8 * table.count
        self._names: dict[bytes, int | tuple[int, ...]] = {}
        self._asked: dict[bytes, int | tuple[int, ...] | None] = {}
        self.tls = frozenset(_thread_local(table))  # names of variables that each thread has for itself

    @property
    def names(self) -> Mapping[bytes, int | tuple[int, ...]]:
        """Every name with the raw version number of its definition, or of each of several."""
        if self._pending is not None:
            (table, versyms), self._pending = self._pending, None
            self._fill(table, versyms)
        return self._names

    def get(self, name: bytes) -> int | tuple[int, ...] | None:
        """The raw version number of a name's definition, or of each of several; None where there is none."""
        if self._pending is None:
            return self._names.get(name)
        asked = self._asked
        if name in asked:
            return asked[name]
        if self._hashes is None or len(asked) > self._patience or self._hashes.steps > self._longest:
            asked.clear()
            return self.names.get(name)
        found = asked[name] = self._looked_up(name, self._hashes, *self._pending)
        return found

    def _looked_up(
        self, name: bytes, hashes: GnuHash, table: Columns, versyms: Sequence[int] | None
    ) -> int | tuple[int, ...] | None:
        numbers = hashes.find(hash_of(name))
        if not numbers:
            return None
        strings, found = table.strings, []
        for index in numbers:
            at = table.names[index]
            if strings.startswith(name, at) and strings[at + len(name)] == 0 and self._counts(table, index):
                found.append(versyms[index] if versyms is not None else 1)
        if len(found) > 1:
            found = list(dict.fromkeys(found))[:MAX_ALIKE]
        return None if not found else found[0] if len(found) == 1 else tuple(found)

    @staticmethod
    def _counts(table: Columns, index: int) -> bool:
        """Whether a symbol is a definition that others may see, as glibc's do_lookup_x has it."""
        role = _ROLES[table.infos[index]] & _VISIBLE[table.others[index]]
        section = table.sections[index]
        # a value of 0 defines nothing, but in TLS or absolute
        return bool(section and role and (table.values[index] or role == _TLS or section == SHN_ABS))

    def _fill(self, table: Columns, versyms: Sequence[int] | None) -> None:
        names, strings, find = self._names, table.strings, table.strings.index
        # this loop is where the time goes: one look at a table for each symbol, no calls
        roles = table.infos.translate(_ROLES)
        if table.others.strip(b"\0"):
            shown = table.others.translate(_VISIBLE)
            roles = bytes(map(min, roles, shown))
        rows = zip(table.names, table.sections, roles, table.values, versyms or repeat(1), strict=False)
        for at, section, role, value, number in rows:
            if not section or not role or not at:
                continue
            if not value and role == _DATA and section != SHN_ABS:  # as in _counts
                continue
            name = strings[at : find(b"\0", at)]
            known = names.setdefault(name, number)
            if known != number:
                several = known if isinstance(known, tuple) else (known,)
                if number not in several and len(several) < MAX_ALIKE:
                    names[name] = (*several, number)

    def __contains__(self, name: str) -> bool:
        return self.get(name.encode("utf-8", "surrogateescape")) is not None

    def __iter__(self) -> Iterator[str]:
        return (name.decode("utf-8", "surrogateescape") for name in self.names)

    def __len__(self) -> int:
        return len(self.names)

    def of(self, name: str) -> tuple[Definition, ...]:
        """All definitions of ``name``; none where there is none."""
        found = self.get(name.encode("utf-8", "surrogateescape"))
        return () if found is None else self.among(found)

    def among(self, number: int | tuple[int, ...]) -> tuple[Definition, ...]:
        """The definitions that :meth:`get` has told of."""
        if isinstance(number, tuple):
            return tuple(map(self.definition, number))
        return (self.definition(number),)

    def definition(self, number: int) -> Definition:
        """What the raw version number of a definition says."""
        return Definition(self._versions.get(number & 0x7FFF), bool(number & VERSYM_HIDDEN), number & 0x7FFF)

    def is_version(self, number: object, version: str | None) -> bool:
        """Whether one of a name's definitions, as :meth:`get` has them, is of exactly that version."""
        if isinstance(number, tuple):
            return any(self._versions.get(one & 0x7FFF) == version for one in number)
        return isinstance(number, int) and self._versions.get(number & 0x7FFF) == version


def _thread_local(table: Columns) -> Iterator[bytes]:
    marks = table.infos.translate(_IS_TLS)
    at = marks.find(1)
    while at >= 0:
        if table.sections[at] and _VISIBLE[table.others[at]]:
            yield table.name(at)
        at = marks.find(1, at + 1)


class ElfObject:
    """One file. Two are equal only if they are the same object: each file is read once.

    ``debug``: split-off debug information, headers without the bytes. ``versioned``: it has a table of
    versions for its symbols; ``versions`` are those that it defines, ``wants`` those that it wants;
    ``symbols`` is how many entries its table has.
    """

    def __init__(
        self,
        path: Path,
        abi: Abi,
        type: int,  # noqa: A002 - as e_type
        interpreter: str | None,
        dynamic: bool,
        debug: bool = False,
        soname: str | None = None,
        needed: tuple[str, ...] = (),
        rpath: tuple[str, ...] = (),
        runpath: tuple[str, ...] = (),
        flags_1: int = 0,
        flags: int = 0,
        versioned: bool = False,
        versions: frozenset[str] = frozenset(),
        wants: tuple[Needed, ...] = (),
        exports: Exports | None = None,
        references: Mapping[Reference, bytes] | None = None,
        symbols: int = 0,
    ) -> None:
        self.path, self.abi, self.type, self.interpreter = path, abi, type, interpreter
        self.dynamic, self.debug, self.soname, self.needed = dynamic, debug, soname, needed
        self.rpath, self.runpath, self.flags_1, self.flags = rpath, runpath, flags_1, flags
        self.versioned, self.versions, self.wants = versioned, versions, wants
        self.exports = Exports(Columns(b"", 64, True, b""), None, {}) if exports is None else exports
        # and their names as the exports of others have them
        self.references, self.keys = tuple(references or ()), tuple((references or {}).values())
        self.symbols = symbols

    def __repr__(self) -> str:
        return f"ElfObject({str(self.path)!r})"

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
