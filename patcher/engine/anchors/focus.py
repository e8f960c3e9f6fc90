"""Parse less: tree-sitter is kept away from the bodies that no anchor asks about.

Parsing is what a plan spends its time on, and most of a file's functions are none of our business.
This only saves time: where an anchor doesn't find what it looks for in a focused tree, the whole
file is parsed and the anchor asked again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from patcher.engine.anchors.source import Source

# a linkage block is no body, and its closing brace may stand in an #ifdef of its own
_BRACE = re.compile(rb"\bextern\s*\{|[{}]")


@dataclass(frozen=True)
class Wanted:
    """A body is kept where ``name`` stands in what comes before it (or in it) and ``word`` in it."""

    names: tuple[str, ...] = ()  # none: any body
    words: tuple[str, ...] = ()  # none: whatever it holds
    header_only: bool = False


def focused(source: Source, wants: Iterable[Wanted]) -> list[tuple[int, int]]:
    """The byte ranges to parse: all but the top-level bodies that none of ``wants`` asks for."""
    wants = tuple(wants)
    code, ranges, position = source.code, [], 0
    for header, start, end in bodies(code):
        before, body = code[header:start], code[start:end]
        if not any(_keeps(want, before, body) for want in wants):
            ranges.append((position, start))
            position = end
    return [*ranges, (position, len(code))]


def _keeps(want: Wanted, header: bytes, body: bytes) -> bool:
    if want.words and not any(word.encode() in body for word in want.words):
        return False
    if not want.names:
        return True
    return any(
        name.encode() in header or (not want.header_only and name.encode() in body) for name in want.names
    )


def bodies(code: bytes) -> Iterator[tuple[int, int, int]]:
    """(header start, body start, body end) of every outermost pair of braces; the braces stay outside."""
    depth = header = start = 0
    for found in _BRACE.finditer(code):
        brace = found.group()
        if brace == b"{":
            if depth == 0:
                start = found.end()
            depth += 1
        elif brace == b"}" and depth:
            # a brace in the first column ends a function, whatever an #if before it left open
            depth = 0 if code[found.start() - 1 : found.start()] == b"\n" else depth - 1
            if depth == 0:
                yield header, start, found.start()
                header = found.end()
