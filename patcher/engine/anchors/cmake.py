"""Anchors in CMake lists: behind an argument of a call, behind a call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from patcher.engine.anchors.conditions import Branch, twice, uncovered
from patcher.engine.anchors.kind import AnchorKind, Language
from patcher.engine.anchors.site import AnchorError, Existing, Located, Place, Site
from patcher.engine.anchors.source import Source, blank

# brackets first: what looks like a comment or a quote in one is text
_NOT_CODE = re.compile(rb'#?\[(?P<eq>=*)\[(?:.|\n)*?(?:\](?P=eq)\]|\Z)|#[^\n]*|"(?:\\(?:.|\n)|[^"\\])*"?')


def code_of(source: Source) -> bytes:
    """The bytes with comments, and arguments in quotes or brackets, blanked."""
    return _NOT_CODE.sub(blank, source.data)


_BLOCK = re.compile(
    rb"^[ \t]*(?i:(?P<open>if|foreach|while|function|macro)|(?P<other>else|elseif)"
    rb"|(?P<close>endif|endforeach|endwhile|endfunction|endmacro))\s*\(",
    re.MULTILINE,
)


def _branches(code: bytes) -> Iterator[Branch]:
    """What is done under a condition, in a loop, or when a function is called."""
    opened: list[tuple[int, int]] = []
    for found in _BLOCK.finditer(code):
        if found["open"]:
            opened.append((found.start(), found.end()))
        elif opened:
            first, start = opened.pop()
            yield first, start, found.start()
            if found["other"]:
                opened.append((first, found.end()))


def _ifs(code: bytes, offset: int) -> list[int]:
    """Where each ``if()`` begins that holds ``offset``, outermost first; loops and functions aside."""
    opened: list[tuple[bool, int]] = []
    for found in _BLOCK.finditer(code, 0, offset):
        if found["open"]:
            opened.append((found["open"].lower() == b"if", found.start("open")))
        elif found["close"] and opened:
            opened.pop()
    return [start for is_if, start in opened if is_if]


def _alone_in(code: bytes, start: int, end: int) -> tuple[int, int] | None:
    """The outermost ``if()`` that holds the call from ``start`` to ``end`` and nothing else, as its span."""
    found = None
    while True:
        opening = re.compile(rb"(?i:\bif)\s*\((?:[^()]|\([^()]*\))*\)\s*\Z").search(code, 0, start)
        closing = re.compile(rb"\s*(?i:endif)\s*\([^()]*\)").match(code, end)
        if opening is None or closing is None:
            return found
        start, end = opening.start(), closing.end()
        found = (start, end)


@dataclass(frozen=True)
class ListCall:
    """One ``list(APPEND variable ...)`` or ``add_library(variable ...)``: arguments and their places."""

    variable: str
    arguments: tuple[tuple[str, int], ...]


_LIST = re.compile(
    rb"(?i:\blist\s*\(\s*APPEND|\badd_library\s*\()\s*(?P<variable>[^\s()]+)(?=(?P<arguments>[^()]*))"
)


def calls_of(code: bytes) -> Iterator[ListCall]:
    """The calls that list sources, in the order of the file; ``code`` is without comments."""
    for call in _LIST.finditer(code):
        words = re.compile(rb"[^\s()]+").finditer(code, *call.span("arguments"))
        found = tuple((one.group().decode("utf-8", "replace"), one.start()) for one in words)
        yield ListCall(call["variable"].decode("utf-8", "replace"), found)


def cmake_item(source: Source, *, variable: str, beside: list[str], ours: str) -> Located:
    """Behind the line of the one of ``beside`` that ``list(APPEND variable ...)`` has, or
    ``add_library(variable ...)``.

    ``beside`` are names that an argument has had in one version or another. It has to end its line.
    ``ours`` is the argument that tells that the text is there.
    """
    code = code_of(source)
    lists = [call.arguments for call in calls_of(code) if call.variable == variable]
    found = [one for arguments in lists for one in arguments if one[0] in (ours, *beside)]
    there = [start for name, start in found if name == ours]
    if there:
        siblings = [start for name, start in found if name != ours]
        branches = list(_branches(code))
        problem = uncovered(source, ours, there, siblings, branches) or twice(source, ours, there, branches)
        return Located(existing=(Existing(variable, there[0], there[0] + len(ours), problem),))
    if len(found) != 1:
        names = " or ".join(beside)
        raise AnchorError(f"{names} in one list of {variable}", f"{len(found)}")
    name, start = found[0]
    around = _ifs(code, start)
    if around:
        what = f"a list of {variable} that has {name}, under no condition"
        raise AnchorError(what, f"it under '{source.line(around[-1]).strip()[:60]}'")
    behind = source.line_end(start)
    if not source.starts_line(start) or code[start + len(name.encode()) : behind].strip():
        raise AnchorError(f"{name} on a line of its own", f"'{source.line(start).strip()}'")
    return Located((Site(variable, behind, behind, Place.LINES, source.indent(start)),))


CMAKE_ITEM = AnchorKind(
    "cmake-item",
    cmake_item,
    Language.CMAKE,
    hangs_on=lambda at: "|".join(re.escape(name) for name in at["beside"]),
    shows="variable",
    example='variable = "GGML_CPU_SOURCES", beside = ["ggml-cpu/traits.h"], '
    'ours = "ggml-cpu/q8-a8/q8-a8.cpp"',
)


def cmake_call(source: Source, *, command: str, argument: str, ours: str) -> Located:
    """Behind the line of the one call ``command(argument)``, at its indent.

    ``ours`` is a pattern of a line that tells that the text is there; a comment doesn't.
    """
    code = code_of(source)
    there = list(re.finditer(ours.encode(), code, re.MULTILINE))
    pattern = rf"(?i:\b{re.escape(command)})\s*\(\s*{re.escape(argument)}\s*\)"
    calls = list(re.finditer(pattern.encode(), code))
    if there:
        # a pattern that starts with white space matches in the line before, too
        places = [match.end() - len(match.group().lstrip()) for match in there]
        name = source.text(places[0], there[0].end())
        branches = list(_branches(code))
        siblings = [call.start() for call in calls]
        problem = uncovered(source, name, places, siblings, branches) or twice(source, name, places, branches)
        return Located(existing=(Existing(command, places[0], there[0].end(), problem),))
    if len(calls) != 1:
        raise AnchorError(f"one call {command}({argument})", f"{len(calls)}")
    start, behind = calls[0].start(), source.line_end(calls[0].end() - 1)
    if not source.starts_line(start) or code[calls[0].end() : behind].strip():
        raise AnchorError(f"{command}({argument}) on a line of its own", f"'{source.line(start).strip()}'")
    indent = source.indent(start)
    alone = _alone_in(code, start, calls[0].end())
    if alone is not None:
        behind, indent = source.line_end(alone[1] - 1), source.indent(alone[0])
    return Located((Site(command, behind, behind, Place.LINES, indent),))


CMAKE_CALL = AnchorKind(
    "cmake-call",
    cmake_call,
    Language.CMAKE,
    hangs_on=lambda at: rf"\b{at['command']}\({at['argument']}\)",
    patterns=("ours",),
    shows="argument",
    example='command = "add_subdirectory", argument = "imatrix", ours = "q8a8-stats"',
)
