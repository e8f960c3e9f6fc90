"""Ours in the place of theirs: what is there is taken out, and the edit planned on what is left."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial

from patcher.engine import patterns
from patcher.engine.anchors import AnchorError, ParsedFile, Site, Source, Splice, splice
from patcher.engine.patchset import Edit

_ROUNDS = 8  # a table's entry may stand more than once


def replaced(
    edit: Edit, source: Source, first: Iterable[tuple[int, int]], rendered: Callable[[Site], str]
) -> tuple[Splice, ...]:
    """What takes the spans ``first`` out of ``source`` and puts ours where the anchor wants it.

    Offsets are into ``source``. What stands there more than once goes, too. Raises :class:`AnchorError`
    where the edit has no place once theirs is out.
    """
    gone = merged(whole_lines(source, start, end) for start, end in first)
    for _ in range(_ROUNDS):
        left = without(source.data, gone)
        parsed = ParsedFile(Source(source.path, left), [(edit.kind, edit.anchor)])
        patterns.try_anchor(edit, partial(parsed.locate, edit.kind, edit.anchor))
        located = parsed.locate(edit.kind, edit.anchor)
        if not located.existing:
            break
        more = [(_back(there.start, gone), _back(there.end, gone)) for there in located.existing]
        gone = merged([*gone, *(whole_lines(source, start, end) for start, end in more)])
    else:
        raise AnchorError("a place for ours once theirs is out", f"theirs more than {_ROUNDS} times")
    cuts = []
    for site in located.sites:
        made = splice(parsed.source, site, site.text if site.text is not None else rendered(site))
        cuts.append(Splice(_back(made.start, gone), _back(made.end, gone), made.text))
    # what is put at the edge of a hole comes before the hole
    return tuple(
        sorted(
            [*cuts, *(Splice(start, end, b"") for start, end in gone)], key=lambda cut: (cut.start, cut.end)
        )
    )


def removed(source: Source, spans: Iterable[tuple[int, int]]) -> tuple[Splice, ...]:
    """What takes ``spans`` out of a file that nothing of ours goes to."""
    return tuple(
        Splice(start, end, b"")
        for start, end in merged(whole_lines(source, start, end) for start, end in spans)
    )


def merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that touch made one."""
    out: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def whole_lines(source: Source, start: int, end: int) -> tuple[int, int]:
    """The span with what follows a list's element or a declaration, and its lines where it has them alone.

    One of two blank lines around it goes as well; a comment above it is somebody's, and stays.
    """
    tail = re.compile(rb"[ \t]*[,;]?[ \t]*").match(source.data, end)
    reach = tail.end() if tail is not None else end
    if not source.starts_line(start) or not source.ends_line(reach):
        return start, end
    first, last = source.line_start(start), source.line_end(reach)
    above = first == 0 or not source.data[source.line_start(first - 1) : first].strip()
    if above and last < len(source.data) and not source.data[last : source.line_end(last)].strip():
        last = source.line_end(last)
    return first, last


def without(data: bytes, gone: Iterable[tuple[int, int]]) -> bytes:
    """``data`` less the spans ``gone``, which are in order."""
    out, position = [], 0
    for start, end in gone:
        out.append(data[position:start])
        position = end
    return b"".join([*out, data[position:]])


def _back(offset: int, gone: Iterable[tuple[int, int]]) -> int:
    """Where an offset of what is left lies in the whole; at a hole's edge, before the hole."""
    for start, end in gone:
        if offset > start:
            offset += end - start
    return offset
