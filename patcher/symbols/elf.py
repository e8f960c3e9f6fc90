"""ELF files as the loader sees them, read fast and read as hostile input.

The header comes from pyelftools; the dynamic segment, symbols and versions are read raw, because
building its objects for each of 45,000 symbols takes a hundred times as long. Everything is found
through the program headers, as the loader does it, so files without section headers work too.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from patcher.errors import UsageError

MAGIC = b"\x7fELF"

# gABI, chapter 5, and GNU extensions
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
ET_REL, ET_EXEC, ET_DYN = 1, 2, 3
DT_NEEDED, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_RELA, DT_RELASZ = 1, 4, 5, 6, 7, 8
DT_STRSZ, DT_SYMENT, DT_SONAME, DT_RPATH = 10, 11, 14, 15
DT_REL, DT_RELSZ, DT_PLTREL, DT_JMPREL, DT_PLTRELSZ, DT_RUNPATH = 17, 18, 20, 23, 2, 29
DT_GNU_HASH, DT_VERSYM, DT_FLAGS_1 = 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFB
DT_VERDEF, DT_VERDEFNUM, DT_VERNEED, DT_VERNEEDNUM = 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF
DF_1_NODEFLIB, DF_1_PIE = 0x800, 0x08000000
VER_FLG_BASE, VER_FLG_WEAK = 1, 2
SHN_UNDEF = 0
SHT_SYMTAB, SHT_DYNSYM = 2, 11
STB_LOCAL, STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE = 0, 1, 2, 10
STT_SECTION, STT_FILE, STT_TLS = 3, 4, 6
STV_DEFAULT, STV_INTERNAL, STV_HIDDEN = 0, 1, 2

MAX_SYMBOLS = 20_000_000
MAX_VERSIONS = 65_536


class UnreadableElfError(UsageError):
    """An ELF file that is cut off or contradicts itself (exit 2)."""


@dataclass(frozen=True)
class Definition:
    """One exported definition of a name. ``index`` is its version's number in the file (below 2: none)."""

    version: str | None
    hidden: bool  # foo@V rather than foo@@V
    index: int


@dataclass(frozen=True)
class Reference:
    """One name that a file wants from elsewhere."""

    name: str
    weak: bool
    version: str | None = None
    file: str | None = None  # the soname that the version is wanted from
    hidden: bool = False


@dataclass(frozen=True)
class Needed:
    """A version that a file wants from a library, symbol or not. ``weak``: a warning where it lacks."""

    file: str
    version: str
    weak: bool


@dataclass(frozen=True, eq=False)
class ElfObject:
    """What linking and loading need to know of one file."""

    path: Path
    bits: int
    little: bool
    machine: int
    type: int
    interpreter: str | None
    dynamic: bool
    soname: str | None = None
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    flags_1: int = 0
    versioned: bool = False  # it has a table of versions for its symbols
    versions: frozenset[str] = frozenset()  # that it defines
    wants: tuple[Needed, ...] = ()
    definitions: dict[str, tuple[Definition, ...]] = field(default_factory=dict, repr=False)
    references: tuple[Reference, ...] = field(default=(), repr=False)

    @property
    def executable(self) -> bool:
        """Whether it is a program rather than a library."""
        return self.type == ET_EXEC or self.interpreter is not None or bool(self.flags_1 & DF_1_PIE)

    @property
    def abi(self) -> tuple[int, bool, int]:
        """Objects of another class, byte order or machine are passed over by the loader."""
        return (self.bits, self.little, self.machine)

    @property
    def name(self) -> str:
        """What chains call it: its soname, or its file name."""
        return self.soname or self.path.name


def is_elf(path: Path) -> bool:
    """Whether the file begins like an ELF file. Unreadable files do not."""
    try:
        with path.open("rb") as file:
            return file.read(4) == MAGIC
    except OSError:
        return False


def abi_of(path: Path) -> tuple[int, bool, int] | None:
    """:attr:`ElfObject.abi` from the first bytes alone; None for what is no ELF file."""
    try:
        with path.open("rb") as file:
            head = file.read(20)
    except OSError:
        return None
    if len(head) < 20 or head[:4] != MAGIC or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    little = head[5] == 1
    return (32 * head[4], little, struct.unpack("<H" if little else ">H", head[18:20])[0])


def read(path: Path) -> ElfObject:
    """Read one file. Raises :class:`UnreadableElfError`, never anything else, for what is not sound."""
    from elftools.common.exceptions import ELFError
    from elftools.construct.core import ConstructError

    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(path, data).object()
    except UnreadableElfError:
        raise
    except (OSError, ValueError, struct.error, ELFError, ConstructError, OverflowError) as why:
        raise UnreadableElfError(f"{path}: not a sound ELF file ({why})") from why


class _Reader:
    def __init__(self, path: Path, data: mmap.mmap) -> None:
        from elftools.elf.elffile import ELFFile

        self.path = path
        self.data = data
        elf = ELFFile(cast(IO[bytes], data))  # a memory map reads and seeks like a file
        self.header = elf.header
        self.bits: int = elf.elfclass
        self.little: bool = elf.little_endian
        self.order = "<" if self.little else ">"
        self.word = "Q" if self.bits == 64 else "I"
        self.loads: list[tuple[int, int, int]] = []  # address, file offset, file size
        self.dynamic_at: tuple[int, int] | None = None
        self.interpreter: str | None = None
        self._segments()

    def fail(self, what: str) -> UnreadableElfError:
        return UnreadableElfError(f"{self.path}: not a sound ELF file ({what})")

    def bytes_at(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0 or offset + size > len(self.data):
            raise self.fail(f"bytes {offset} to {offset + size} lie outside the file")
        return self.data[offset : offset + size]

    def _segments(self) -> None:
        form = "IIQQQQQQ" if self.bits == 64 else "IIIIIIII"
        size, count, start = self.header["e_phentsize"], self.header["e_phnum"], self.header["e_phoff"]
        wanted = struct.calcsize(self.order + form)
        if count and size < wanted:
            raise self.fail(f"program headers of {size} bytes")
        table = self.bytes_at(start, size * count)
        for number in range(count):
            row = struct.unpack_from(self.order + form, table, number * size)
            kind = row[0]
            offset, address, length = (
                (row[2], row[3], row[5]) if self.bits == 64 else (row[1], row[2], row[4])
            )
            if kind == PT_LOAD:
                self.loads.append((address, offset, length))
            elif kind == PT_DYNAMIC:
                self.dynamic_at = (offset, length)
            elif kind == PT_INTERP:
                self.interpreter = self.bytes_at(offset, length).split(b"\0")[0].decode("utf-8", "replace")

    def offset(self, address: int) -> int:
        """Where in the file the byte for ``address`` lies."""
        for start, offset, size in self.loads:
            if start <= address < start + size:
                return offset + address - start
        raise self.fail(f"address {address:#x} is in no segment")

    def _tags(self) -> dict[int, list[int]]:
        if self.dynamic_at is None:
            return {}
        tags: dict[int, list[int]] = {}
        offset, length = self.dynamic_at
        # debug files keep the header of the segment and not its bytes
        length = min(length, max(0, len(self.data) - offset))
        form = self.order + ("qQ" if self.bits == 64 else "iI")
        size = struct.calcsize(form)
        for tag, value in struct.iter_unpack(form, self.bytes_at(offset, length - length % size)):
            if tag == 0:
                break
            tags.setdefault(tag & 0xFFFFFFFF, []).append(value)
        return tags

    def object(self) -> ElfObject:
        tags = self._tags()
        basics: dict[str, Any] = {
            "path": self.path,
            "bits": self.bits,
            "little": self.little,
            "machine": _machine(self.data, self.order),
            "type": _type(self.data, self.order),
            "interpreter": self.interpreter,
            "dynamic": bool(tags),
        }
        if DT_STRTAB not in tags or DT_SYMTAB not in tags:
            return ElfObject(**basics)
        start = self.offset(tags[DT_STRTAB][0])
        strings = self.bytes_at(start, min(tags.get(DT_STRSZ, [len(self.data)])[0], len(self.data) - start))

        def text(at: int) -> str:
            end = strings.find(b"\0", at)
            if at < 0 or at >= len(strings) or end < 0:
                raise self.fail(f"string {at} lies outside the string table")
            return strings[at:end].decode("utf-8", "surrogateescape")

        def paths(tag: int) -> tuple[str, ...]:
            return tuple(part for value in tags.get(tag, ()) for part in text(value).split(":"))

        defined, wanted, wants = self._versions(tags, text)
        definitions, references = self._symbols(tags, text, defined, wanted)
        return ElfObject(
            **basics,
            soname=text(tags[DT_SONAME][0]) if DT_SONAME in tags else None,
            needed=tuple(text(value) for value in tags.get(DT_NEEDED, ())),
            rpath=paths(DT_RPATH),
            runpath=paths(DT_RUNPATH),
            flags_1=tags.get(DT_FLAGS_1, [0])[0],
            versioned=DT_VERSYM in tags,
            versions=frozenset(defined.values()),
            wants=tuple(wants),
            definitions=definitions,
            references=tuple(references),
        )

    def _versions(
        self, tags: dict[int, list[int]], text: Callable[[int], str]
    ) -> tuple[dict[int, str], dict[int, Needed], list[Needed]]:
        """Version names by number: those that the file defines, those that it wants."""
        defined: dict[int, str] = {}
        wanted: dict[int, Needed] = {}
        wants: list[Needed] = []
        for at in self._chain(tags, DT_VERDEF, DT_VERDEFNUM, "HHHHIII", 6):
            _, flags, index, _, _, aux, _ = struct.unpack_from(self.order + "HHHHIII", self.data, at)
            name = text(struct.unpack_from(self.order + "I", self.bytes_at(at + aux, 4))[0])
            if not flags & VER_FLG_BASE:  # the base is the file's own name, no version
                defined[index & 0x7FFF] = name
        for at in self._chain(tags, DT_VERNEED, DT_VERNEEDNUM, "HHIII", 4):
            _, count, file, aux, _ = struct.unpack_from(self.order + "HHIII", self.data, at)
            place = at + aux
            for _ in range(count):
                entry = struct.unpack(self.order + "IHHII", self.bytes_at(place, 16))
                _, flags, index, name_at, following = entry
                need = Needed(text(file), text(name_at), bool(flags & VER_FLG_WEAK))
                wants.append(need)
                wanted[index & 0x7FFF] = need
                if len(wants) > MAX_VERSIONS:
                    raise self.fail("more versions than there can be")
                if not following:
                    break
                place += following
        return defined, wanted, wants

    def _chain(self, tags: dict[int, list[int]], tag: int, count: int, form: str, link: int) -> Iterator[int]:
        """Offsets of the entries of a linked table; ``link`` is the field that leads to the next."""
        if tag not in tags:
            return
        at, size = self.offset(tags[tag][0]), struct.calcsize(self.order + form)
        for _ in range(min(tags.get(count, [MAX_VERSIONS])[0], MAX_VERSIONS)):
            following = struct.unpack(self.order + form, self.bytes_at(at, size))[link]
            yield at
            if not following:
                return
            at += following

    def _symbols(
        self,
        tags: dict[int, list[int]],
        text: Callable[[int], str],
        defined: dict[int, str],
        wanted: dict[int, Needed],
    ) -> tuple[dict[str, tuple[Definition, ...]], list[Reference]]:
        start, count = self.offset(tags[DT_SYMTAB][0]), self._count(tags)
        form = self.order + ("IBBHQQ" if self.bits == 64 else "IIIBBH")
        table = self.bytes_at(start, count * struct.calcsize(form))
        numbers: tuple[int, ...] = ()
        if DT_VERSYM in tags:
            raw = self.bytes_at(self.offset(tags[DT_VERSYM][0]), 2 * count)
            numbers = struct.unpack(f"{self.order}{count}H", raw)
        definitions: dict[str, tuple[Definition, ...]] = {}
        references: list[Reference] = []
        for index, row in enumerate(struct.iter_unpack(form, table)):
            if self.bits == 64:
                name_at, info, other, section, value, _ = row
            else:
                name_at, value, _, info, other, section = row
            binding, kind = info >> 4, info & 15
            if binding == STB_LOCAL or not name_at or kind in (STT_SECTION, STT_FILE):
                continue
            number = numbers[index] if numbers else 1
            name = text(name_at)
            if section == SHN_UNDEF:
                need = wanted.get(number & 0x7FFF)
                weak, hidden = binding == STB_WEAK, bool(number & 0x8000)
                version, file = (need.version, need.file) if need else (None, None)
                references.append(Reference(name, weak, version, file, hidden))
            elif other & 3 not in (STV_HIDDEN, STV_INTERNAL) and (
                value or kind == STT_TLS or section == 0xFFF1
            ):
                # as glibc's do_lookup_x has it: a value of 0 defines nothing, but in TLS or absolute
                one = Definition(defined.get(number & 0x7FFF), bool(number & 0x8000), number & 0x7FFF)
                definitions[name] = (*definitions.get(name, ()), one)
        return definitions, references

    def _count(self, tags: dict[int, list[int]]) -> int:
        """How many dynamic symbols there are; no tag says it outright."""
        entry = 24 if self.bits == 64 else 16
        room = (len(self.data) - self.offset(tags[DT_SYMTAB][0])) // entry
        count = self._count_by_section(tags, entry)
        if count is None and DT_HASH in tags:
            # nchain; its words have 64 bits on Alpha and s390x alone
            count = struct.unpack(self.order + "II", self.bytes_at(self.offset(tags[DT_HASH][0]), 8))[1]
        if count is None:
            count = max(self._count_by_gnu_hash(tags), self._count_by_relocations(tags))
        if count > min(room, MAX_SYMBOLS):
            raise self.fail(f"{count} symbols in a file with room for {room}")
        return count

    def _count_by_section(self, tags: dict[int, list[int]], entry: int) -> int | None:
        size, number, start = (self.header[key] for key in ("e_shentsize", "e_shnum", "e_shoff"))
        form = self.order + ("IIQQQQIIQQ" if self.bits == 64 else "IIIIIIIIII")
        if not start or size < struct.calcsize(form) or start + size * number > len(self.data):
            return None
        for index in range(number):
            row = struct.unpack_from(form, self.data, start + index * size)
            if row[1] == SHT_DYNSYM and row[3] == tags[DT_SYMTAB][0]:
                return int(row[5] // entry)
        return None

    def _count_by_gnu_hash(self, tags: dict[int, list[int]]) -> int:
        """The last chain's end. A file that exports nothing has no chain and says nothing."""
        if DT_GNU_HASH not in tags:
            return 0
        start = self.offset(tags[DT_GNU_HASH][0])
        buckets, first, bloom, _ = struct.unpack(self.order + "4I", self.bytes_at(start, 16))
        table = start + 16 + bloom * (self.bits // 8)
        last = max(struct.unpack(f"{self.order}{buckets}I", self.bytes_at(table, 4 * buckets)), default=0)
        if last < first:
            return int(first)
        chain = table + 4 * buckets
        while not struct.unpack(self.order + "I", self.bytes_at(chain + 4 * (last - first), 4))[0] & 1:
            last += 1
        return int(last) + 1

    def _count_by_relocations(self, tags: dict[int, list[int]]) -> int:
        """One more than the highest symbol that a relocation names."""
        highest = 0
        rela_plt = tags.get(DT_PLTREL, [DT_RELA])[0] == DT_RELA
        for tag, size_tag, rela in (
            (DT_RELA, DT_RELASZ, True), (DT_REL, DT_RELSZ, False), (DT_JMPREL, DT_PLTRELSZ, rela_plt)
        ):  # fmt: skip
            if tag not in tags or size_tag not in tags:
                continue
            form = self.order + self.word * (3 if rela else 2)
            size = struct.calcsize(form)
            raw = self.bytes_at(self.offset(tags[tag][0]), tags[size_tag][0])
            shift = 32 if self.bits == 64 else 8
            for row in struct.iter_unpack(form, raw[: len(raw) - len(raw) % size]):
                highest = max(highest, row[1] >> shift)
        return highest + 1


def _machine(data: mmap.mmap, order: str) -> int:
    return int(struct.unpack(order + "H", data[18:20])[0])


def _type(data: mmap.mmap, order: str) -> int:
    return int(struct.unpack(order + "H", data[16:18])[0])
