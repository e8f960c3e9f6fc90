"""The bytes of an ELF file: its header, segments and sections, every access bounded."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from patcher.base import system
from patcher.base.errors import UsageError
from patcher.symbols.elf.constants import MAGIC, PN_XNUM, PT_DYNAMIC, PT_INTERP, PT_LOAD, PT_TLS
from patcher.symbols.elf.identity import Abi, identify

if TYPE_CHECKING:
    from types import TracebackType

MAX_SECTIONS = 2_000_000
MAX_TEXT = 4096  # the longest soname, path or version that is believed, as PATH_MAX has it
FIRST = 4096  # what is read at once: the header and nearly always all program headers
WINDOW = 16_384  # and around anything small behind that: tables of versions are made of small pieces


class UnreadableElfError(UsageError):
    """An ELF file that is cut off or contradicts itself (exit 2)."""


class Section(NamedTuple):
    """One section header. ``offset`` and ``size`` are as the file claims them, unchecked."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int


class Image:
    """An open ELF file. Raises :class:`UnreadableElfError` for all that lies outside of it.

    ``start`` and ``size`` are for one that is a part of another file, as a member of an archive is.
    """

    def __init__(self, path: Path, start: int = 0, size: int | None = None) -> None:
        self.path, self._start = path, start
        # without O_NONBLOCK, a FIFO of the right name would hold us for ever
        self._handle = os.open(path, system.READ)
        try:
            status = os.fstat(self._handle)
            if not stat.S_ISREG(status.st_mode):
                raise self.fail("not a regular file")
            self.size = max(0, min(status.st_size - start, status.st_size if size is None else size))
            self._first = system.read_at(self._handle, min(FIRST, self.size), start)
            self._window, self._window_at = b"", 0
            self._header()
        except BaseException:
            os.close(self._handle)
            raise

    def __enter__(self) -> Image:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)

    def fail(self, what: str) -> UnreadableElfError:
        """The error to raise for this file."""
        return UnreadableElfError(f"{self.path}: not a sound ELF file ({what})")

    def at(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``, or an error: never fewer."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise self.fail(f"bytes {offset} to {offset + size} lie outside its {self.size}")
        if offset + size <= len(self._first):
            return self._first[offset : offset + size]
        if size <= WINDOW // 4:
            at = offset - self._window_at
            if at < 0 or at + size > len(self._window):
                self._window, self._window_at, at = (
                    system.read_at(self._handle, WINDOW, self._start + offset),
                    offset,
                    0,
                )
            if at + size <= len(self._window):
                return self._window[at : at + size]
        data = system.read_at(self._handle, size, self._start + offset)
        while len(data) < size:  # Linux reads at most 2 GB at once
            more = system.read_at(self._handle, size - len(data), self._start + offset + len(data))
            if not more:
                raise self.fail(f"bytes {offset} to {offset + size} can't be read")
            data += more
        return data

    def unpack(self, form: str, offset: int) -> tuple[int, ...]:
        """Numbers in the file's byte order."""
        form = self.order + form
        return struct.unpack(form, self.at(offset, struct.calcsize(form)))

    def _header(self) -> None:
        abi = identify(self._first)
        if self._first[:4] != MAGIC:
            raise self.fail("it doesn't begin like one")
        if abi is None:
            raise self.fail("its header is cut off or of no known class")
        self.abi: Abi = abi
        self.bits, self.little, self.machine = abi[0], abi[1], abi[2]
        self.order = "<" if self.little else ">"
        self.type = self.unpack("H", 16)[0]
        if self.bits == 64:
            self._phoff, self._shoff = self.unpack("QQ", 32)
            rest = self.unpack("IHHHHHH", 48)
        else:
            self._phoff, self._shoff = self.unpack("II", 28)
            rest = self.unpack("IHHHHHH", 36)
        _, _, self._phentsize, self._phnum, self._shentsize, self._shnum, self._shstrndx = rest
        self.loads: list[tuple[int, int, int]] = []  # address, file offset, size in the file
        self.dynamic: tuple[int, int, int] | None = None  # file offset, size, address
        self.interpreter: str | None = None
        self.thread_local = 0  # bytes of each thread's own
        self._segments()

    def _segments(self) -> None:
        form = self.order + ("IIQQQQQQ" if self.bits == 64 else "IIIIIIII")
        count = self._phnum
        if count == PN_XNUM and (first := self.sections(1)):
            count = first[0].info  # more than fit in the header's field
        if not count:
            return
        if self._phentsize < struct.calcsize(form):
            raise self.fail(f"program headers of {self._phentsize} bytes")
        table = self.at(self._phoff, self._phentsize * count)
        for number in range(count):
            row = struct.unpack_from(form, table, number * self._phentsize)
            offset, address, size = (row[2], row[3], row[5]) if self.bits == 64 else (row[1], row[2], row[4])
            if row[0] == PT_LOAD:
                self.loads.append((address, offset, size))
            elif row[0] == PT_DYNAMIC:
                self.dynamic = (offset, size, address)
            elif row[0] == PT_TLS:
                self.thread_local = row[6] if self.bits == 64 else row[5]
            elif row[0] == PT_INTERP and offset < self.size:
                # a split-off debug file keeps the header and not the text
                raw = self.at(offset, min(size, MAX_TEXT, self.size - offset))
                self.interpreter = raw.split(b"\0")[0].decode("utf-8", "replace")

    def offset(self, address: int) -> int:
        """Where in the file the byte for ``address`` lies."""
        for start, offset, size in self.loads:
            if start <= address < start + size:
                return offset + address - start
        raise self.fail(f"address {address:#x} is in no segment")

    def sections(self, limit: int = MAX_SECTIONS) -> list[Section]:
        """The section headers; none where there are none, or none that fit in the file."""
        form = self.order + ("IIQQQQIIQQ" if self.bits == 64 else "IIIIIIIIII")
        start, size = self._shoff, self._shentsize
        if not start or size < struct.calcsize(form) or start + size > self.size:
            return []
        count = self._shnum
        if not count:  # more than fit in the header's field: the first header says how many
            count = struct.unpack_from(form, self.at(start, size))[5]
        count = min(count, limit)
        if start + size * count > self.size or count > MAX_SECTIONS:
            return []
        table = self.at(start, size * count)
        rows = (struct.unpack_from(form, table, number * size) for number in range(count))
        return [Section(*row[:8]) for row in rows]

    def names(self, sections: list[Section]) -> list[bytes]:
        """The names of :meth:`sections`, in their order; empty where the file has none that can be read."""
        index = self._shstrndx
        if index == 0xFFFF and sections:
            index = sections[0].link
        if index >= len(sections):
            return [b""] * len(sections)
        table = sections[index]
        if table.offset + table.size > self.size:
            return [b""] * len(sections)
        raw = self.at(table.offset, table.size)
        return [raw[one.name : raw.find(b"\0", one.name, one.name + 256)] for one in sections]
