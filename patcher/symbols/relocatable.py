"""Full symbol tables (``.symtab``): of object files, of archive members, of what was not stripped."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from patcher.symbols.elf.constants import (
    ET_REL,
    SHN_COMMON,
    SHN_UNDEF,
    SHT_SYMTAB,
    STB_LOCAL,
    STB_WEAK,
    STT_FILE,
    STT_SECTION,
    STT_TLS,
    STV_HIDDEN,
    STV_INTERNAL,
)
from patcher.symbols.elf.identity import head
from patcher.symbols.elf.image import Image, UnreadableElfError
from patcher.symbols.elf.table import Columns

MAX_MEMBERS = 100_000
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
    """One object file, or one member of an archive. ``lto``: it holds a compiler's own code, not symbols."""

    path: Path
    member: str
    relocatable: bool
    symbols: tuple[Symbol, ...]
    lto: bool = False


def members(path: Path) -> Iterator[Unit]:
    """The file as units: itself, or each member of an archive. What can't be read has none.

    It explains findings and never makes one, so a file that is no sound ELF file is passed over.
    """
    start = head(path, 8)
    if start in (b"!<arch>\n", b"!<thin>\n"):
        yield from _archive(path, thin=start == b"!<thin>\n")
        return
    unit = _unit(path, path, "")
    if unit is not None:
        yield unit


def _unit(file: Path, path: Path, member: str) -> Unit | None:
    try:
        with Image(file) as image:
            sections = image.sections()
            lto = image.type == ET_REL and any(
                name.startswith(b".gnu.lto_") for name in image.names(sections)
            )
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
            return Unit(path, member, image.type == ET_REL, tuple(_symbols(columns)), lto)
    except (UnreadableElfError, OSError, ValueError, struct.error, OverflowError, MemoryError):
        return None


def _symbols(table: Columns) -> Iterator[Symbol]:
    for index, section in enumerate(table.sections):
        info, kind = table.infos[index], table.infos[index] & 15
        if not table.names[index] or kind in (STT_SECTION, STT_FILE):
            continue
        yield Symbol(
            table.name(index),
            defined=section != SHN_UNDEF,
            weak=info >> 4 == STB_WEAK,
            local=info >> 4 == STB_LOCAL,
            hidden=table.others[index] & 3 in (STV_HIDDEN, STV_INTERNAL),
            common=section == SHN_COMMON,
            tls=kind == STT_TLS,
        )


def _archive(path: Path, *, thin: bool) -> Iterator[Unit]:
    """The members of an ``ar`` file (System V and GNU: long names in ``//``, thin ones beside it)."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        at, long_names = 8, b""
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
            elif not special:
                name = _member_name(raw, long_names)
                if thin:
                    unit = _unit(path.parent / name, path, name)
                else:
                    unit = _copied(file.read(length), path, name)
                if unit is not None:
                    yield unit
            at = following


def _member_name(raw: bytes, long_names: bytes) -> str:
    if raw[:1] == b"/" and raw[1:].isdigit():
        at = int(raw[1:])
        raw = long_names[at : long_names.find(b"\n", at)]
    return raw.rstrip(b"/").decode("utf-8", "replace")


def _copied(data: bytes, path: Path, name: str) -> Unit | None:
    """A member as a unit. The reader wants a file: one in memory, as far as the system has such."""
    if data[:4] != b"\x7fELF":
        return None
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("member", os.MFD_CLOEXEC)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            return _unit(Path(f"/proc/self/fd/{handle}"), path, name)
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return _unit(Path(file.name), path, name)
