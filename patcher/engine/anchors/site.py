"""Where an edit goes, and how its text is made to look like its neighbours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from patcher.engine.anchors.conditions import own_condition
from patcher.engine.anchors.source import Source


class AnchorError(Exception):
    """An anchor that is missing, ambiguous or contradicted.

    Attributes: ``looked_for`` and ``found`` complete the sentences "looked for ..." and "found ...".
    """

    def __init__(self, looked_for: str, found: str) -> None:
        super().__init__(f"looked for {looked_for}; found {found}")
        self.looked_for = looked_for
        self.found = found


class Place(Enum):
    """How a site takes its text."""

    LINES = "lines"  # whole lines, indented like the neighbour
    INLINE = "inline"  # in the middle of a line, as it is


@dataclass(frozen=True)
class Site:
    """One place in one file: the bytes ``start`` to ``end`` give way to the rendered text."""

    owner: str  # the function, enum or table that it lies in
    start: int
    end: int
    place: Place
    indent: str = ""
    like: str = ""  # the neighbour's line, whose columns a one-line text follows
    values: Mapping[str, object] = field(default_factory=dict)  # what the template may use of the anchor
    blank_before: int = 0  # empty lines between the neighbour and the text
    text: str | None = None  # what goes there, where it isn't the template's to say


@dataclass(frozen=True)
class Existing:
    """What a hand has already put there. ``contradiction`` says how it differs from what is wanted."""

    owner: str
    start: int
    end: int
    contradiction: str | None = None
    note: str | None = None
    twin: tuple[int, int] | None = None  # of a case with an arm of its own: the sibling's arm
    values: Mapping[str, object] | None = None  # what the template is given of it, where that is all there


@dataclass(frozen=True)
class Located:
    """All that an anchor found in one file."""

    sites: tuple[Site, ...] = ()
    existing: tuple[Existing, ...] = ()
    unneeded: str = ""  # why nothing is wanted, where neither is there


@dataclass(frozen=True)
class Splice:
    """A replacement of bytes in one file; offsets are into the file as it was read."""

    start: int
    end: int
    text: bytes


def behind(source: Source, end: int, what: str) -> int:
    """Offset just behind the line in which ``what`` ends at ``end``.

    Raises :class:`AnchorError` where something else goes on in that line: text put behind the line would
    land in the middle of it.
    """
    if not source.ends_line(end):
        rest = source.data[end : source.line_end(end)].decode("utf-8", "replace").strip()
        raise AnchorError(f"the end of the line behind {what}", f"'{rest[:60]}'")
    return source.line_end(end)


def outside(source: Source, at: int, start: int, *, inside: int = -1, within: str = "") -> int:
    """``at``, or behind the ``#endif`` of a condition that is the neighbour's own, which begins at ``start``.

    ``inside`` is where the list, the switch or the function begins that both lie in.
    """
    found = own_condition(source, start, inside=inside, within=within)
    return at if found is None else found.end


def behind_comma(source: Source, end: int, what: str) -> int:
    """:func:`behind` the comma that has to follow ``what``, which ends at ``end``."""
    comma = re.compile(rb"\s*,").match(source.code, end)
    if comma is None:
        raise AnchorError(f"a comma behind {what}", "none")
    return behind(source, comma.end(), what)


_WORD = re.compile(r"[^\s(:,;]+")


def _column(piece: str, like: str, start: int) -> tuple[int, int]:
    """Where in ``like``, behind ``start``, a word begins as ``piece`` does: (column, end), or (0, start).

    The whole word is tried, then less and less of it from the right, then its first character: names
    that differ in their last part (``..._Q8_0``, ``..._Q8_A8``) stand under each other.
    """
    word = _WORD.match(piece)
    keys = [piece[:1]]
    if word:
        parts = word.group().split("_")
        keys = [
            "_".join(parts[:count]) + "_" * (count < len(parts)) for count in range(len(parts), 0, -1)
        ] + keys
    for key in keys:
        found = re.compile(r"(?<=\s)" + re.escape(key)).search(like, start) if key.strip() else None
        if found:
            return found.start(), found.end()
    return 0, start


def align(rendered: str, like: str, indent: str = "") -> str:
    """``indent`` and a one-line text, its tabs replaced by the spaces that put what follows under its like.

    The word after a tab is looked for in the neighbour's line ``like``; its column there is where
    ours goes, or one space behind what we have where that is already further right.
    """
    first, *pieces = rendered.split("\t")
    out, seen = indent + first, 0
    for piece in pieces:
        column, seen = _column(piece, like, seen)
        out += " " * max(1, column - len(out)) + piece
    return out


def splice(source: Source, site: Site, rendered: str) -> Splice:
    """The bytes that put ``rendered`` (a template's output) at ``site`` of ``source``."""
    eol = source.eol_at(site.start).decode()
    if site.place is Place.INLINE:
        return Splice(site.start, site.end, rendered.strip("\n").replace("\n", eol).encode())
    lines = rendered.strip("\n").split("\n")
    if len(lines) == 1:
        lines = [align(lines[0], site.like, site.indent)]
    else:
        lines = [site.indent + line if line and not line.startswith("#") else line for line in lines]
    lines = [""] * site.blank_before + lines
    text = eol.join(lines) + eol
    at_end = site.start == len(source.data)
    if at_end and source.data and not source.data.endswith(b"\n"):
        text = eol + text[: -len(eol)]  # the file has no final newline: it still has none after us
    return Splice(site.start, site.end, text.encode())
