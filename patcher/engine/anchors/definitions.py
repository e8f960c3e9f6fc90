"""What a C file defines at its top level, read without a grammar, and the anchor behind one of these.

Of ggml-common.h a grammar makes nothing: its tables stand between two macros. This reads functions, macros,
types, variables and such tables by their braces, and says under which conditions each stands.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from patcher.engine.anchors.conditions import twice
from patcher.engine.anchors.focus import bodies
from patcher.engine.anchors.kind import AnchorKind, Language
from patcher.engine.anchors.site import AnchorError, Existing, Located, Place, Site, behind, outside
from patcher.engine.anchors.source import CONDITION, Source

_DIRECTIVE = re.compile(rb"(?m)^[ \t]*#(?:[^\n]*\\\r?\n)*[^\n]*")
_DEFINE = re.compile(rb"(?m)^[ \t]*#[ \t]*define[ \t]+(\w+)(?:[^\n]*\\\r?\n)*[^\n]*")
_TABLE = re.compile(
    rb"(?m)^(?P<word>\w+)_BEGIN\s*\([^(),]*,\s*(?P<name>\w+)\s*,[^()]*\)[^(){};]*?(?P=word)_END\s*\(\s*\)"
)
_PLAIN = re.compile(
    rb"(?m)^(?:(?:extern|static)\b[^;{}()#=]{0,120}?"
    rb"|(?!typedef\b|using\b|namespace\b|(?:struct|union|enum|class)\s+\w+\s*;)[A-Za-z_][^;{}()#=\n]{0,120}?)"
    rb"[\s*](?P<name>\w+)\s*(?:\[[^\]\n]*\]\s*)*(?:=[^;{}#]{0,200})?;"
)
_ELSEWHERE = re.compile(rb"(?:GGML|LLAMA)_(?:\w+_)?API\b[^=]*\Z")  # which says extern: no definition
_DECLARED = re.compile(
    rb"(?m)^[A-Za-z_][^;{}()=#\n]*?[\s*](?P<name>\w+)\s*\([^;{}()#]*(?:\([^;{}()#]*\)[^;{}()#]*)*\)\s*;"
)
_VARIABLE = re.compile(rb"\b(\w+)\s*(?:\[[^\[\]]*\]\s*)*=\s*\Z")
_CALLED = re.compile(rb"\b(?!__attribute__|alignas|_Alignas|__declspec)(\w+)\s*\(")
_AGGREGATE = re.compile(
    rb"\s*(?:typedef\b|(?:static\s+|const\s+)*(?:struct|union|enum|class)\s+(?:\w+\s*)?\Z)"
)
_NAMED = re.compile(rb"(?:struct|union|enum|class)\s+(\w+)\s*\Z")
_BEHIND = re.compile(rb"\s*(?:(\w+)\s*)?(?:\[[^\]]*\]\s*)?;")


@dataclass(frozen=True)
class Definition:
    """One top-level item; ``start`` to ``end`` are its bytes, the comment above it not among them."""

    name: str
    construct: str  # function, macro, type, table, variable, declaration
    start: int
    end: int


def definitions(source: Source) -> list[Definition]:
    """The top-level definitions of ``source`` in the order of the file."""
    code = source.code
    found: list[Definition] = []
    inside: list[tuple[int, int]] = []
    for header, start, end in bodies(code):
        inside.append((start, end))
        one = _braced(code, header, start, end)
        if one is not None:
            found.append(one)
    outside_of = _Outside(inside)
    taken = {one.start for one in found}
    for pattern, construct in (
        (_DEFINE, "macro"),
        (_TABLE, "table"),
        (_PLAIN, "variable"),
        (_DECLARED, "declaration"),
    ):
        for match in pattern.finditer(code):
            if pattern is _PLAIN and _ELSEWHERE.match(match[0]):
                continue
            if outside_of(match.start()) and match.start() not in taken:
                name = (match["name"] if "name" in match.groupdict() else match[1]).decode()
                found.append(Definition(name, construct, match.start(), len(code[: match.end()].rstrip())))
    return sorted(found, key=lambda one: one.start)


class _Outside:
    """Whether an offset lies in no body."""

    def __init__(self, spans: list[tuple[int, int]]) -> None:
        self._spans = sorted(spans)

    def __call__(self, offset: int) -> bool:
        at = bisect_right(self._spans, (offset, 1 << 62)) - 1
        return at < 0 or not self._spans[at][0] <= offset < self._spans[at][1]


def _braced(code: bytes, header: int, start: int, end: int) -> Definition | None:
    """The definition whose braces hold ``start`` to ``end``; ``header`` is where its head may begin."""
    head = _DIRECTIVE.sub(lambda found: b" " * len(found.group()), code[header : start - 1])
    cut = max(head.rfind(b";"), head.rfind(b"}"), head.rfind(b"_END()") + 5 if b"_END()" in head else -1) + 1
    piece = head[cut:]
    first = header + cut + len(piece) - len(piece.lstrip())
    close = code.find(b"}", end) + 1
    if _AGGREGATE.match(piece):
        behind_it = _BEHIND.match(code, close)
        named = _NAMED.search(piece)
        name = (behind_it[1] if behind_it is not None else b"") or (named[1] if named is not None else b"")
        return (
            Definition(name.decode(), "type", first, behind_it.end() if behind_it else close)
            if name
            else None
        )
    variable = _VARIABLE.search(piece)
    if variable is not None:
        semicolon = re.compile(rb"\s*;").match(code, close)
        return Definition(variable[1].decode(), "variable", first, semicolon.end() if semicolon else close)
    called = _CALLED.search(piece)
    return Definition(called[1].decode(), "function", first, close) if called is not None else None


def with_comment(source: Source, start: int) -> int:
    """Where the comment begins that stands directly above the line of ``start``; else that line."""
    at = source.line_start(start)
    while at > 0:
        above = source.line_start(at - 1)
        line = source.data[above:at].strip()
        if not line or source.code[above:at].strip():
            break
        at = above
    return at


def conditions_of(source: Source, offset: int) -> tuple[str, ...]:
    """The conditions that hold at ``offset``, outermost first, as a ``#if`` would say each; that of the whole
    file isn't among them."""
    told: list[str] = []
    opened: list[list[str]] = []
    starts: list[int] = []
    for found in CONDITION.finditer(source.code, 0, offset):
        word = found[1].decode()
        raw = re.sub(
            r"//.*|/\*.*?(?:\*/|\Z)", "", source.text(found.start(2), found.end(2)), flags=re.DOTALL
        ).strip()
        if word in ("if", "ifdef", "ifndef"):
            said = {"if": raw, "ifdef": f"defined({raw})", "ifndef": f"!defined({raw})"}[word]
            opened.append([said])
            starts.append(found.start())
        elif word == "endif" and opened:
            opened.pop()
            starts.pop()
        elif opened:
            ways = opened[-1]
            ways[-1] = f"!({ways[-1]})"
            ways.append(raw if word == "elif" else "")
    whole = {first for first, _, _ in source.branches if _guards(source, first)}
    for start, ways in zip(starts, opened, strict=True):
        said = " && ".join(
            f"({way})" if len(ways) > 1 and not way.startswith("!(") else way for way in ways if way
        )
        if start not in whole and said:
            told.append(said)
    return tuple(told)


def _guards(source: Source, first: int) -> bool:
    """Whether the ``#if`` at ``first`` holds all of the file."""
    last = max(branch[2] for branch in source.branches if branch[0] == first)
    rest = source.code[:first] + b"\n" + source.code[source.line_end(last) :]
    return not _DIRECTIVE.sub(b"", rest).strip()


def definition(source: Source, *, names: Iterable[str], ours: str, within: str = "") -> Located:
    """Behind the definition of the first of ``names`` that the file has once: a function, a macro, a type, a
    variable, or a table between two macros.

    ``within`` is a word of the ``#if`` that both lie in.
    """
    known: dict[str, list[Definition]] = {}
    for one in definitions(source):
        known.setdefault(one.name, []).append(one)
    there = [one for one in known.get(ours, ()) if one.construct != "declaration"]
    if there:
        problem = twice(source, ours, [one.start for one in there])
        return Located(existing=(Existing(ours, there[0].start, there[0].end, problem),))
    wanted = list(names)
    for name in wanted:
        found = [one for one in known.get(name, ()) if one.construct != "declaration"]
        if len(found) == 1:
            at = behind(source, found[0].end, f"the definition of {name}")
            at = outside(source, at, found[0].start, within=within)
            return Located((Site(ours, at, at, Place.LINES, blank_before=1),))
    raise AnchorError(f"one definition of {' or '.join(wanted)}", "none, or several of each")


DEFINITION = AnchorKind(
    "definition",
    definition,
    Language.TEXT,
    hangs_on=lambda at: rf"\b{at['names'][0]}\b",
    shows="names",
    is_whole=True,
    example='names = ["ggml_e8m0_to_fp32"], ours = "ggml_ue4m3_to_fp32"',
)

_MACRO_LINE = re.compile(rb"(?m)^[ \t]*#[ \t]*define[ \t]+(\w+)(?!\w)[^\n]*\n")


def branch_define(
    source: Source, *, beside: str, ours: str, apart: Iterable[str] = (), own: Iterable[str] = ()
) -> Located:
    """A ``#define`` in each branch of the one ``#if`` chain whose branches define what matches ``beside``,
    behind the last of these.

    A branch whose condition has a word of ``apart`` gets none: there the function has a text of its own. A
    branch that a later release adds gets one.

    ``own`` are files of architectures that define the function themselves, such as ``arch/x86/quants.c``.
    Those of the tree are found without being named. A branch whose condition names the file's folder
    (``__x86_64__``) gets no define, and one that has it is in conflict: the function would be there twice.
    """
    words = [re.compile(rf"\b{re.escape(word)}\b") for word in apart]
    natives = {path: _of_architecture(path) for path in own}
    pattern = re.compile(beside)
    chains: dict[int, list[tuple[int, int]]] = {}
    for first, start, end in sorted(source.branches):
        chains.setdefault(first, []).append((start, end))
    chosen = [
        (first, branches)
        for first, branches in chains.items()
        if len(branches) > 1 and any(_last(source, pattern, *branch) is not None for branch in branches)
    ]
    if len(chosen) != 1:
        raise AnchorError(f"one #if chain whose branches define what matches '{beside}'", f"{len(chosen)}")
    sites: list[Site] = []
    existing: list[Existing] = []
    for start, end in chosen[0][1]:
        condition = source.line(source.line_start(start - 1))
        native = next((path for path, word in natives.items() if word.search(condition)), None)
        there = re.compile(rf"(?m)^[ \t]*#[ \t]*define[ \t]+{re.escape(ours)}\b".encode()).search(
            source.code, start, end
        )
        if there is not None:
            line = source.line_number(there.start())
            twice = f"it in line {line}, and the function that takes its name there in {native}"
            existing.append(
                Existing(
                    condition.strip(),
                    there.start(),
                    source.line_end(there.start()),
                    twice if native is not None else None,
                )
            )
        elif native is None and not any(word.search(condition) for word in words):
            at = _last(source, pattern, start, end) or source.line_end(start)
            sites.append(Site(condition.strip(), at, at, Place.LINES))
    unneeded = "" if sites or existing else "every architecture here has a function of its own"
    return Located(tuple(sites), tuple(existing), unneeded)


def _of_architecture(path: str) -> re.Pattern[str]:
    """What names the architecture of the folder that ``path`` lies in, in a condition: ``__x86_64__`` x86."""
    folder = path.rpartition("/")[0].rpartition("/")[2]
    return re.compile(rf"(?i)(?<![a-z0-9]){re.escape(folder)}") if folder else re.compile(r"(?!)")


def _last(source: Source, pattern: re.Pattern[str], start: int, end: int) -> int | None:
    """Behind the last ``#define`` between ``start`` and ``end`` whose name matches."""
    ends = [
        found.end()
        for found in _MACRO_LINE.finditer(source.code, start, end)
        if pattern.fullmatch(found[1].decode())
    ]
    return ends[-1] if ends else None


BRANCH_DEFINE = AnchorKind(
    "branch-define",
    branch_define,
    Language.TEXT,
    hangs_on=lambda at: rf"\b{at['beside']}\b",
    patterns=("beside",),
    shows="ours",
    example='beside = "ggml_vec_dot_\\\\w+_generic", ours = "ggml_vec_dot_q6_x_q8_0_generic", '
    'apart = ["__aarch64__"]',
)
