"""One upstream file as bytes, with what an anchor needs to know about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

# What an anchor must not see: comments and literals. Raw strings first, they may hold anything.
_NOT_CODE = re.compile(
    rb'R"(?P<delim>[^()\\\s]{0,16})\((?:.|\n)*?\)(?P=delim)"'
    rb"|//[^\n]*"
    rb"|/\*(?:.|\n)*?\*/"
    rb'|"(?:\\(?:.|\n)|[^"\\\n])*"'
    rb"|'(?:\\.|[^'\\\n])+'"
)
_SPACES = bytes(byte if byte == ord("\n") else ord(" ") for byte in range(256))


def blank_run(data: bytes) -> bytes:
    """Spaces of the same length, line ends kept, so that every offset stays valid."""
    return data.translate(_SPACES)


def blank(found: re.Match[bytes]) -> bytes:
    """:func:`blank_run` for ``re.sub``."""
    return blank_run(found.group())


@dataclass
class Source:
    """A file of the tree. Offsets are bytes into :attr:`data`; columns are bytes, counted from 0."""

    path: str
    data: bytes

    @cached_property
    def eol(self) -> bytes:
        """The line ending that the file uses (the first one it has)."""
        first = self.data.find(b"\n")
        return b"\r\n" if first > 0 and self.data[first - 1 : first] == b"\r" else b"\n"

    @cached_property
    def code(self) -> bytes:
        """The bytes with comments and literals blanked (C and C++)."""
        return _NOT_CODE.sub(blank, self.data)

    @cached_property
    def starts(self) -> list[int]:
        """Offset of the first byte of every line."""
        return [0, *(found.end() for found in re.finditer(rb"\n", self.data))]

    def line_start(self, offset: int) -> int:
        """Offset of the first byte of the line that holds ``offset``."""
        return self.data.rfind(b"\n", 0, offset) + 1

    def line_end(self, offset: int) -> int:
        """Offset just behind the line (its line ending included) that holds ``offset``."""
        end = self.data.find(b"\n", offset)
        return len(self.data) if end < 0 else end + 1

    def line(self, offset: int) -> str:
        """The text of the line that holds ``offset``, without its ending."""
        raw = self.data[self.line_start(offset) : self.line_end(offset)]
        return raw.rstrip(b"\r\n").decode("utf-8", "replace")

    def line_number(self, offset: int) -> int:
        """The line that holds ``offset``, counted from 1."""
        return self.data.count(b"\n", 0, offset) + 1

    def indent(self, offset: int) -> str:
        """The white space that the line of ``offset`` starts with."""
        line = self.line(offset)
        return line[: len(line) - len(line.lstrip(" \t"))]

    def text(self, start: int, end: int) -> str:
        """The bytes ``start`` to ``end`` as text."""
        return self.data[start:end].decode("utf-8", "replace")

    def starts_line(self, offset: int) -> bool:
        """Whether only white space stands before ``offset`` on its line."""
        return not self.data[self.line_start(offset) : offset].strip()

    def ends_line(self, offset: int) -> bool:
        """Whether only white space or a comment stands between ``offset`` and the end of its line."""
        return not self.code[offset : self.line_end(offset)].strip()
