"""Full symbol tables (``.symtab``): of object files, of archive members, of what was not stripped."""

from __future__ import annotations

import os
import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from patcher.symbols.elf.constants import (
    ET_REL,
    SHN_COMMON,
    SHN_UNDEF,
    SHT_DYNSYM,
    SHT_SYMTAB,
    STB_LOCAL,
    STB_WEAK,
    STT_FILE,
    STT_OBJECT,
    STT_SECTION,
    STT_TLS,
    STV_HIDDEN,
    STV_INTERNAL,
)
from patcher.symbols.elf.identity import head
from patcher.symbols.elf.image import Image, UnreadableElfError
from patcher.symbols.elf.table import Columns

MAX_MEMBERS = 100_000
MAX_MEMBER_NAME = 4096  # bytes
_LTO_TABLE = b".gnu.lto_.symtab."
_LTO_DEFINED, _LTO_WEAK, _LTO_COMMON, _LTO_HIDDEN = (0, 1, 4), (1, 3), 4, (2, 3)  # as plugin-api.h has them
_HEADER = 60  # bytes of an archive member's header


class Symbol(NamedTuple):
    """One entry of a full symbol table."""

    name: bytes
    defined: bool
    weak: bool
    local: bool
    hidden: bool
    common: bool
    tls: bool


@dataclass(frozen=True)
class Unit:
    """One object file, or one member of an archive. ``lto``: it has code of a compiler's, no symbols."""

    path: Path
    member: str
    relocatable: bool
    symbols: tuple[Symbol, ...]
    lto: bool = False
    file: Path | None = None  # that it lies in, where that isn't ``path``: a thin archive's member
    start: int = 0  # in its file
    size: int | None = None


def members(path: Path, only: Container[bytes] | None = None) -> Iterator[Unit]:
    """The file as units: itself, or each member of an archive. What can't be read has none.

    With ``only`` no other symbols are taken out.

    It explains findings and never makes one, so a file that is no sound ELF file is passed over.
    """
    start = head(path, 8)
    if start in (b"!<arch>\n", b"!<thin>\n"):
        yield from _archive(path, only, thin=start == b"!<thin>\n")
        return
    unit = _unit(path, path, "", only)
    if unit is not None:
        yield unit


def _unit(
    file: Path,
    path: Path,
    member: str,
    only: Container[bytes] | None,
    start: int = 0,
    size: int | None = None,
) -> Unit | None:
    try:
        with Image(file, start, size) as image:
            sections = image.sections()
            names = image.names(sections) if image.type == ET_REL else []
            tables = [one for one, name in zip(sections, names, strict=False) if name.startswith(_LTO_TABLE)]
            if tables:  # GCC's link-time optimization: what the linker's plugin is told
                entries = image.at(tables[0].offset, tables[0].size)
                return Unit(path, member, True, tuple(_lto_symbols(entries, only)), file=file)
            lto = any(name.startswith(b".gnu.lto_") for name in names)
            table = next((one for one in sections if one.type == SHT_SYMTAB), None)
            if table is None or table.link >= len(sections):
                return Unit(path, member, image.type == ET_REL, (), lto)
            strings = sections[table.link]
            columns = Columns(
                image.at(table.offset, table.size),
                image.bits,
                image.little,
                image.at(strings.offset, strings.size),
            )
            return Unit(
                path, member, image.type == ET_REL, tuple(_symbols(columns, only)), lto, file, start, size
            )
    except (UnreadableElfError, OSError, ValueError, struct.error, OverflowError, MemoryError):
        return None


def _lto_symbols(entries: bytes, only: Container[bytes] | None) -> Iterator[Symbol]:
    """GCC's table of an object for the linker's plugin (lto-plugin.c, parse_table_entry).

    Name and comdat group, each with a zero behind it, definition, visibility, 8 bytes of size, 4 of slot.
    """
    at = 0
    while at < len(entries):
        end = entries.index(b"\0", at)
        group = entries.index(b"\0", end + 1)
        if group + 15 > len(entries):
            raise ValueError("an entry is cut off")
        definition, visibility = entries[group + 1], entries[group + 2]
        name = entries[at:end]
        if only is None or name in only:
            yield Symbol(
                name,
                defined=definition in _LTO_DEFINED,
                weak=definition in _LTO_WEAK,
                local=False,
                hidden=visibility in _LTO_HIDDEN,
                common=definition == _LTO_COMMON,
                tls=False,
            )
        at = group + 15


def _symbols(table: Columns, only: Container[bytes] | None) -> Iterator[Symbol]:
    names, strings, find = table.names, table.strings, table.strings.index
    for index, section in enumerate(table.sections):
        info, at = table.infos[index], names[index]
        symbol_type = info & 15
        if not at or symbol_type in (STT_SECTION, STT_FILE):
            continue
        name = strings[at : find(b"\0", at)]
        if only is not None and name not in only:
            continue
        yield Symbol(
            name,
            defined=section != SHN_UNDEF,
            weak=info >> 4 == STB_WEAK,
            local=info >> 4 == STB_LOCAL,
            hidden=table.others[index] & 3 in (STV_HIDDEN, STV_INTERNAL),
            common=section == SHN_COMMON,
            tls=symbol_type == STT_TLS,
        )


def weak_exports(path: Path) -> set[bytes]:
    """The names that a library defines weakly for others; none where that can't be read."""
    table = _dynamic(path)
    return {one.name for one in _symbols(table, None) if one.defined and one.weak} if table else set()


def exports_data(path: Path, name: str) -> bool:
    """Whether a library defines ``name`` as data that a program can copy, which no thread's own is."""
    table = _dynamic(path)
    if table is None:
        return False
    key = name.encode("utf-8", "surrogateescape")
    return any(
        table.sections[index] and info & 15 == STT_OBJECT and table.name(index) == key
        for index, info in enumerate(table.infos)
    )


def _dynamic(path: Path) -> Columns | None:
    """The symbols that a library shows; None where they can't be read."""
    try:
        with Image(path) as image:
            sections = image.sections()
            table = next((one for one in sections if one.type == SHT_DYNSYM), None)
            if table is None:
                return None
            strings = sections[table.link]
            return Columns(
                image.at(table.offset, table.size),
                image.bits,
                image.little,
                image.at(strings.offset, strings.size),
            )
    except (UnreadableElfError, OSError, ValueError, IndexError, struct.error, OverflowError, MemoryError):
        return None


def _archive(path: Path, only: Container[bytes] | None, *, thin: bool) -> Iterator[Unit]:
    """The members of an ``ar`` file (System V and GNU: long names in ``//``, thin ones beside it)."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        at, long_names = 8, b""
        read: set[tuple[int, int]] = set()  # files that a thin archive has named
        defining: set[int] | None = (
            None  # offsets of the members that define what is wanted, if that is known
        )
        for _ in range(MAX_MEMBERS):
            file.seek(at)
            header = file.read(_HEADER)
            if len(header) < _HEADER or header[58:] != b"`\n":
                return
            raw, digits = header[:16].rstrip(), header[48:58].strip()
            if not digits.isdigit():
                return
            length = int(digits)
            special = raw in (b"/", b"//", b"/SYM64/") or raw.startswith(b"__.SYMDEF")
            if not thin or special:
                if at + _HEADER + length > size:
                    return
                following = at + _HEADER + length + length % 2
            else:
                following = at + _HEADER
            if raw == b"//":
                long_names = file.read(length)
            elif raw in (b"/", b"/SYM64/") and only is not None:
                defining = _indexed(file.read(length), 8 if raw == b"/SYM64/" else 4, only)
                if not defining and defining is not None:
                    return
            elif not special and (defining is None or at in defining):
                name = _member_name(raw, long_names)
                if thin:
                    place = path.parent / name
                    known = _identity(place)
                    unit = _unit(place, path, name, only) if known not in read else None
                    read |= {known} if known else set()
                else:
                    unit = _unit(path, path, name, only, at + _HEADER, length)
                if unit is not None:
                    yield unit
            at = following


def _identity(place: Path) -> tuple[int, int] | None:
    """Which file it is, by whatever name: a thin archive can name the same large one any number of times."""
    try:
        status = os.stat(place)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino)


def _indexed(table: bytes, word: int, only: Container[bytes]) -> set[int] | None:
    """Where an archive's own table says that members define what is wanted; None where it makes no sense.

    The number of names, as many offsets of members, big endian, and the names (ar(5), System V).
    """
    count = int.from_bytes(table[:word], "big")
    names = table[word * (count + 1) :].split(b"\0", count)
    if len(names) <= count or word * (count + 1) > len(table):
        return None
    return {
        int.from_bytes(table[word * (number + 1) : word * (number + 2)], "big")
        for number, name in enumerate(names[:count])
        if name in only
    }


def _member_name(raw: bytes, long_names: bytes) -> str:
    if raw[:1] == b"/" and raw[1:].isdigit():
        at = int(raw[1:])
        raw = long_names[at : at + MAX_MEMBER_NAME].partition(b"\n")[0]
    return raw.rstrip(b"/").decode("utf-8", "replace")
