"""One upstream file as bytes, with what an anchor needs to know about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

# What an anchor must not see: comments and literals. Raw strings first, they may hold anything.
# One without an end reaches to the file's end, or the line's: a search from each start takes the square.
_NOT_CODE = re.compile(
    rb'R"(?P<delim>[^()\\\s]{0,16})\((?:.|\n)*?(?:\)(?P=delim)"|\Z)'
    rb"|//[^\n\\]*(?:\\(?:\r?\n|.)?[^\n\\]*)*"  # a backslash at its end carries it on
    rb"|/\*(?:.|\n)*?(?:\*/|\Z)"
    rb'|"(?:\\(?:.|\n)|[^"\\\n])*"?'
    rb"|'(?:\\.|[^'\\\n]){1,64}'"
)
CONDITION = re.compile(rb"^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|else|endif)\b[ \t]*([^\n]*)", re.MULTILINE)
_CONSTANT_IF = re.compile(rb"#[ \t]*(?:if|elif)[ \t]*(?:\([ \t]*)?(?:0|1|true|false)\b")
_CONSTANT = re.compile(rb"\(?[ \t]*(?:(0|false)|(1|true))\s*(?:\)\s*)?")
_SPACES = bytes(byte if byte == ord("\n") else ord(" ") for byte in range(256))


def blank_run(data: bytes) -> bytes:
    """Spaces of the same length, line ends kept, so that every offset stays valid."""
    return data.translate(_SPACES)


def blank(found: re.Match[bytes]) -> bytes:
    """:func:`blank_run` for ``re.sub``."""
    return blank_run(found.group())


def _goes_on(line: bytes) -> bool:
    """Whether a comment that begins in the line has no end there."""
    at = 0
    while True:
        start, whole = line.find(b"/*", at), line.find(b"//", at)
        if start < 0 or 0 <= whole < start:
            return False
        at = line.find(b"*/", start + 2) + 2
        if at < 2:
            return True


def _unless_literal(found: re.Match[bytes]) -> bytes:
    return blank_run(found.group()) if found.group().startswith(b"/") else found.group()


def _dead(code: bytes) -> Iterator[tuple[int, int]]:
    """The regions that a constant condition switches off, outermost only."""
    # of each open #if: whether what follows is dead, and whether a branch is known to be taken
    stack: list[tuple[bool, bool]] = []
    start = -1
    for found in CONDITION.finditer(code):
        word, rest = found.groups()
        was_dead = any(dead for dead, _ in stack)
        if word in (b"if", b"ifdef", b"ifndef"):
            constant = _CONSTANT.fullmatch(rest) if word == b"if" else None
            stack.append((bool(constant and constant[1]), bool(constant and constant[2])))
        elif stack and word == b"endif":
            stack.pop()
        elif stack:
            _, taken = stack[-1]
            constant = _CONSTANT.fullmatch(rest) if word == b"elif" else None
            stack[-1] = (taken or bool(constant and constant[1]), taken or bool(constant and constant[2]))
        is_dead = any(dead for dead, _ in stack)
        if is_dead and not was_dead:
            start = found.end()
        elif was_dead and not is_dead:
            yield start, found.start()
    if start >= 0 and any(dead for dead, _ in stack):
        yield start, len(code)


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
        """The bytes with comments, literals and dead code blanked (C and C++)."""
        return self._alive(self._plain)

    @cached_property
    def _plain(self) -> bytes:
        return _NOT_CODE.sub(blank, self.data)

    @cached_property
    def live(self) -> bytes:
        """The bytes with dead code blanked; comments and literals stand."""
        return self._alive(self.data)

    @cached_property
    def spoken(self) -> bytes:
        """The bytes with comments and dead code blanked; literals stand."""
        return self._alive(_NOT_CODE.sub(_unless_literal, self.data))

    @cached_property
    def dead(self) -> tuple[tuple[int, int], ...]:
        """What the preprocessor always drops: between ``#if 0`` and its end, the ``#else`` of ``#if 1``."""
        return tuple(_dead(self._plain)) if _CONSTANT_IF.search(self.data) else ()

    @cached_property
    def branches(self) -> tuple[tuple[int, int, int], ...]:
        """Every branch of every ``#if`` as (offset of the ``#if``, start of the branch, its end)."""
        found: list[tuple[int, int, int]] = []
        opened: list[tuple[int, int]] = []
        for directive in CONDITION.finditer(self.code):
            word = directive[1]
            if word in (b"if", b"ifdef", b"ifndef"):
                opened.append((directive.start(), directive.end()))
            elif opened:
                first, start = opened.pop()
                found.append((first, start, directive.start()))
                if word != b"endif":
                    opened.append((first, directive.end()))
        return tuple(found)

    def _alive(self, data: bytes) -> bytes:
        if not self.dead:
            return data
        out = bytearray(data)
        for start, end in self.dead:
            out[start:end] = blank_run(data[start:end])
        return bytes(out)

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
        """Whether nothing, or a comment that ends there, stands between ``offset`` and its line's end."""
        rest = slice(offset, self.line_end(offset))
        # code that is blank where a comment or literal goes on in the next line is no end
        return not self.code[rest].strip() and not _goes_on(self.data[rest])

    def eol_at(self, offset: int) -> bytes:
        """The line ending of the line before ``offset``, or of its own line where it is the first."""
        end = self.data.rfind(b"\n", 0, offset)
        end = end if end >= 0 else self.data.find(b"\n", offset)
        return b"\r\n" if end > 0 and self.data[end - 1 : end] == b"\r" else b"\n"
