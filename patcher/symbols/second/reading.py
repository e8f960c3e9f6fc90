"""One file as pyelftools reads it: the dynamic segment, the symbols, their versions, what is needed."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from elftools.common.exceptions import ELFError
from elftools.common.utils import struct_parse
from elftools.construct import ConstructError
from elftools.construct.lib.container import Container
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection
from elftools.elf.sections import StringTableSection, SymbolTableSection

MOST = 65_536  # versions of a file, and tags, that are believed
_SHARED = ("STB_GLOBAL", "STB_WEAK", "STB_LOOS")  # LOOS: GNU_UNIQUE's number
_NO_NAMES = ("STT_SECTION", "STT_FILE")
_SERVING = ("STT_NOTYPE", "STT_OBJECT", "STT_FUNC", "STT_COMMON", "STT_TLS", "STT_LOOS")  # LOOS: IFUNC's
# visibility is two bits, and pyelftools reads three: what it calls Solaris' own are these two to loaders,
# where the third bit is the machine's (MIPS', PowerPC's)
_CLOSED = ("STV_HIDDEN", "STV_INTERNAL", "STV_SINGLETON", "STV_ELIMINATE")
# what it raises of broken files, and what Python raises of what it believed
_BROKEN = (
    ELFError, ConstructError, OSError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError,
    AssertionError, RuntimeError, MemoryError, StopIteration, struct.error,
)  # fmt: skip


class UnreadableError(Exception):
    """pyelftools makes nothing of a file."""


class UsedSymbol(NamedTuple):
    """A symbol that a file uses and doesn't define."""

    name: str
    weak: bool
    version: str | None
    file: str | None  # that the version is wanted from


class ElfReading(NamedTuple):
    """What one file says. ``definitions``: name -> (version, whether it is no default one) of each."""

    soname: str | None
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]
    references: frozenset[UsedSymbol]
    definitions: dict[str, frozenset[tuple[str | None, bool]]]
    versions: frozenset[str]  # that it defines
    wants: frozenset[tuple[str, str, bool]]  # file, version, whether a warning will do
    versioned: bool
    symbols: int = 0  # entries of its table


class _Strings(StringTableSection):
    """A string table at an offset, of any bytes: pyelftools' own would lose what is no UTF-8."""

    def __init__(self, data: bytes, offset: int, file: ELFFile) -> None:
        super().__init__(
            Container(sh_offset=offset, sh_size=len(data) - offset, sh_flags=0, sh_addralign=1),
            ".dynstr",
            file,
        )
        self._data, self._offset = data, offset

    def get_string(self, at: int) -> str:
        start = self._offset + at
        end = self._data.index(b"\0", start)
        return self._data[start:end].decode("utf-8", "surrogateescape")


def reading(path: Path) -> ElfReading:
    """Read one file. Raises :class:`UnreadableError`."""
    try:
        data = path.read_bytes()
        return _ElfReader(data).read()
    except _BROKEN as why:
        raise UnreadableError(f"{type(why).__name__}: {why}") from why


class _ElfReader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.file = ELFFile(io.BytesIO(data))
        self.tags: dict[str, list[int]] = {}
        self.segment: DynamicSegment | None = None
        for segment in self.file.iter_segments(type="PT_DYNAMIC"):
            if isinstance(segment, DynamicSegment):
                self.segment = segment  # the last one, as loaders have it
        if self.segment is not None:
            for tag in islice(self.segment._iter_tags(), MOST):
                self.tags.setdefault(str(tag["d_tag"]), []).append(tag["d_val"])
        self.strings = (
            _Strings(data, self._offset("DT_STRTAB"), self.file) if "DT_STRTAB" in self.tags else None
        )

    def read(self) -> ElfReading:
        strings = self.strings
        if strings is None or "DT_SYMTAB" not in self.tags:
            return ElfReading(None, (), (), (), frozenset(), {}, frozenset(), frozenset(), False)
        sonames = [strings.get_string(value) for value in self.tags.get("DT_SONAME", ())]
        needs, wants = self._needs(strings)
        own = self._own(strings)
        references: set[UsedSymbol] = set()
        definitions: dict[str, set[tuple[str | None, bool]]] = {}
        number = -1
        for number, symbol in enumerate(self._symbols(strings)):
            entry, name = symbol.entry, symbol.name
            symbol_type, binding = entry["st_info"]["type"], entry["st_info"]["bind"]
            if not entry["st_name"] or binding == "STB_LOCAL":
                continue
            raw = self._version(number)
            index, hidden = raw & 0x7FFF, bool(raw & 0x8000)
            section = entry["st_shndx"]
            if section == "SHN_UNDEF":
                if symbol_type in _NO_NAMES:
                    continue
                file, version = needs.get(index, (None, None)) if index != 1 else (None, None)
                references.add(UsedSymbol(name, binding == "STB_WEAK", version, file))
            elif self._is_offered(entry):
                definitions.setdefault(name, set()).add((own.get(index), hidden))
        return ElfReading(
            sonames[-1] if sonames else None,
            tuple(strings.get_string(value) for value in self.tags.get("DT_NEEDED", ())),
            self._paths("DT_RPATH", strings),
            self._paths("DT_RUNPATH", strings),
            frozenset(references),
            {name: frozenset(found) for name, found in definitions.items()},
            frozenset(own.values()),
            frozenset(wants),
            "DT_VERSYM" in self.tags,
            number + 1,
        )

    @staticmethod
    def _is_offered(entry: Any) -> bool:
        """Whether others may bind to a definition: what elf/dl-lookup.c of glibc asks of it."""
        symbol_type = entry["st_info"]["type"]
        if entry["st_info"]["bind"] not in _SHARED or symbol_type not in _SERVING:
            return False
        there = entry["st_value"] or symbol_type == "STT_TLS" or entry["st_shndx"] == "SHN_ABS"
        return bool(there) and entry["st_other"]["visibility"] not in _CLOSED

    def _offset(self, tag: str) -> int:
        return int(next(iter(self.file.address_offsets(self.tags[tag][-1]))))

    def _paths(self, tag: str, strings: _Strings) -> tuple[str, ...]:
        text = strings.get_string(self.tags[tag][-1]) if tag in self.tags else ""
        return tuple(text.split(":")) if text else ()

    def _symbols(self, strings: _Strings) -> Iterator[Any]:
        """The dynamic symbols. Only a section header says outright how many there are."""
        address, offset = self.tags["DT_SYMTAB"][-1], self._offset("DT_SYMTAB")
        size = self.file.structs.Elf_Sym.sizeof()
        count = None
        for section in self.file.iter_sections():
            if section["sh_type"] == "SHT_DYNSYM" and section["sh_addr"] == address:
                count = section["sh_size"] // size
                break
        if count is None and self.segment is not None:
            count = self.segment.num_symbols()
        if count is None or offset + count * size > len(self.data):
            raise UnreadableError(f"{count} symbols in a file of {len(self.data)} bytes")
        header = Container(
            sh_offset=offset, sh_size=count * size, sh_entsize=size, sh_flags=0, sh_addralign=1
        )
        table = SymbolTableSection(header, ".dynsym", self.file, strings)
        return iter(table.iter_symbols())

    def _version(self, number: int) -> int:
        """The raw version number of a symbol."""
        if "DT_VERSYM" not in self.tags:
            return 1
        form = self.file.structs.Elf_half("")
        return int(struct_parse(form, self.file.stream, stream_pos=self._versyms + 2 * number))

    @cached_property
    def _versyms(self) -> int:
        return self._offset("DT_VERSYM")

    def _needs(self, strings: _Strings) -> tuple[dict[int, tuple[str, str]], set[tuple[str, str, bool]]]:
        by_number: dict[int, tuple[str, str]] = {}
        wants = set()
        if "DT_VERNEED" in self.tags:
            count = min(self.tags.get("DT_VERNEEDNUM", [MOST])[-1], MOST)
            header = Container(
                sh_offset=self._offset("DT_VERNEED"), sh_info=count, sh_size=0, sh_flags=0, sh_addralign=1
            )
            table = GNUVerNeedSection(header, ".gnu.version_r", self.file, strings)
            for need, parts in table.iter_versions():
                file = need.name or ""
                for part in islice(parts, MOST):
                    by_number[part["vna_other"] & 0x7FFF] = (file, part.name)
                    wants.add((file, part.name, bool(part["vna_flags"] & 2)))
                    if not part["vna_next"]:
                        break
                if not need["vn_next"]:
                    break
        return by_number, wants

    def _own(self, strings: _Strings) -> dict[int, str]:
        names: dict[int, str] = {}
        if "DT_VERDEF" in self.tags:
            count = min(self.tags.get("DT_VERDEFNUM", [MOST])[-1], MOST)
            header = Container(
                sh_offset=self._offset("DT_VERDEF"), sh_info=count, sh_size=0, sh_flags=0, sh_addralign=1
            )
            table = GNUVerDefSection(header, ".gnu.version_d", self.file, strings)
            for version, parts in table.iter_versions():
                if not version["vd_flags"] & 1:  # the base is the file's own name
                    names[version["vd_ndx"] & 0x7FFF] = next(parts).name
                if not version["vd_next"]:
                    break
        return names
