"""Losses seeded into a merge in which nothing was lost: one of each kind that a person or a tool makes."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from benchmarks.merges_made import Bench, Made
from patcher import git
from patcher.git.changes import changed
from patcher.merge_audit import Finding

_CASE = re.compile(r"\s*case [\w:]+:\s*(?://.*)?$")
_ENUMERATOR = re.compile(r"\s*[A-Z][A-Z0-9_]{5,}(?:\s*=\s*\w+)?,\s*(?://.*)?$")
_NUMBERED = re.compile(r"\s*[A-Z][A-Z0-9_]{5,}\s*=\s*(\d+),\s*(?://.*)?$")
_ROW = re.compile(r"\s*(?:\{.*[\w\"].*\},|\[\w+\]\s*=\s*.+,)\s*(?://.*)?$")
_DECLARATION = re.compile(r"(?:GGML_API|LLAMA_API|static|void|int|bool|size_t|float|struct)\b[^=]*\)\s*;\s*$")
_FIELD = re.compile(
    r"    (?:const )?(?:struct |std::)?[\w:<>]+ [*&]?\s*\w+(?:\[\w+\])?(?:\s*=\s*[^;(){}]+)?;\s*(?://.*)?$"
)
_SOURCE = re.compile(r"\s*(?:PRIVATE |PUBLIC )?[\w${}./-]+\.(?:c|cpp|h|cu|m|hpp)\s*$")
_OPTION = re.compile(r"\s*option\s*\(.*\)\s*$")
_INCLUDE = re.compile(r"\s*#\s*include\s+[<\"]")
_PYTHON = re.compile(r"\s+[A-Z][A-Z0-9_]+\s*(?:=\s*(?:\d+|auto\(\))|:\s*\".*\",?)\s*$")
_STATEMENT = re.compile(r"    \s*[\w.>\[\]-]+(?:\s*=\s*|\()[^{}]{12,}\);\s*$")
_OPENED = re.compile(r"\s*switch \(.*\{\s*$")
_EMPTY = frozenset(["case", "return", "include", "static", "const", "struct", "enum", "int", "void", "bool"])


def _is_c(path: PurePosixPath) -> bool:
    return path.suffix in (".c", ".cpp", ".h", ".cu", ".cuh", ".m", ".hpp")


def _is_header(path: PurePosixPath) -> bool:
    return path.suffix in (".h", ".hpp", ".cuh")


def _is_cmake(path: PurePosixPath) -> bool:
    return path.name == "CMakeLists.txt"


def _is_python(path: PurePosixPath) -> bool:
    return path.suffix == ".py"


# what is seeded -> how, which lines are meant, in which files
KINDS: dict[str, tuple[str, re.Pattern[str], Callable[[PurePosixPath], bool]]] = {
    "a case": ("drop", _CASE, _is_c),
    "an enumerator": ("drop", _ENUMERATOR, _is_header),
    "a row of a table": ("drop", _ROW, _is_c),
    "a declaration": ("drop", _DECLARATION, _is_header),
    "a field": ("drop", _FIELD, _is_header),
    "an include": ("drop", _INCLUDE, _is_c),
    "a statement": ("drop", _STATEMENT, _is_c),
    "a source of CMake": ("drop", _SOURCE, _is_cmake),
    "an option of CMake": ("drop", _OPTION, _is_cmake),
    "an enumerator or a row of Python": ("drop", _PYTHON, _is_python),
    "half of a conflict": ("hunk", re.compile(""), lambda _: True),
    "a case twice": ("twice", _CASE, _is_c),
    "an enumerator twice": ("twice", _ENUMERATOR, _is_header),
    "an include twice": ("twice", _INCLUDE, _is_c),
    "a source of CMake twice": ("twice", _SOURCE, _is_cmake),
    "a case in another switch": ("move", _CASE, _is_c),
    "two enumerators of one value": ("number", _NUMBERED, _is_c),
}


@dataclass(frozen=True)
class Seed:
    """One loss: its kind, the file, and the lines that it is about."""

    kind: str
    path: str
    about: str


def seeded(bench: Bench, made: Made, wanted: Sequence[str], chance: random.Random) -> tuple[str, list[Seed]]:
    """A commit of ``made`` with a loss of each of the kinds ``wanted``, one a file, where there is a place.

    Files that both sides changed come first, then those that one did, then (of lists and enums) the others.
    """
    sides = [set(changed(bench.repo, made.base, side)) for side in (made.ours, made.theirs)]
    merged = git.entries(bench.repo, made.merged)
    base = git.entries(bench.repo, made.base)
    changes: dict[str, str] = {}
    seeds = []
    for kind in wanted:
        how, pattern, is_for = KINDS[kind]
        paths = [
            path
            for path, (mode, _) in merged.items()
            if is_for(PurePosixPath(path)) and mode.startswith("100") and path not in changes and path in base
        ]
        paths = [one for one in paths if _is_c(PurePosixPath(one)) or one.endswith((".py", "CMakeLists.txt"))]
        chance.shuffle(paths)
        paths.sort(key=lambda path: -sum(path in side for side in sides))
        for path in paths[:60]:
            if how == "hunk" and not any(path in side for side in sides):
                break
            lines = bench.lines(made.merged, path)
            if how == "hunk":
                done = _hunk(bench, made, path, lines, chance)
            else:
                done = _line(lines, how, pattern, chance)
            if done is not None:
                changes[path] = "".join(done[0])
                seeds.append(Seed(kind, path, done[1]))
                break
    return bench.write(made.merged, changes, [made.ours, made.theirs]), seeds


def _hunk(
    bench: Bench, made: Made, path: str, lines: list[str], chance: random.Random
) -> tuple[list[str], str] | None:
    """One hunk of a side taken out of the merge: what it added goes, what it replaced comes back."""
    side = chance.choice((made.ours, made.theirs))
    hunks = [one for one in bench.hunks(made.base, side).get(path, ()) if one[3] > one[2]]
    old, new = bench.lines(made.base, path), bench.lines(side, path)
    chance.shuffle(hunks)
    for first, last, start, end in hunks:
        block, was = new[start:end], old[first:last]
        told = [line for line in block if re.search(r"\w", bare(line))]
        at = next((n for n in range(len(lines)) if lines[n : n + len(block)] == block), None)
        if at is None or not told or len(block) > 40 or set(map(bare, told)) <= set(map(bare, was)):
            continue
        return [*lines[:at], *was, *lines[at + len(block) :]], "".join([*told, *was])
    return None


def _line(
    lines: list[str], how: str, pattern: re.Pattern[str], chance: random.Random
) -> tuple[list[str], str] | None:
    fit = [number for number in _outside_comments(lines) if pattern.match(lines[number])]
    if pattern in (_ENUMERATOR, _NUMBERED):
        fit = [number for number in fit if _in_an_enum(lines, number)]
    if pattern is _STATEMENT:  # one that begins in its line
        fit = [number for number in fit if re.search(r"[;{}]\s*$", lines[number - 1])]
    if how == "twice":  # of a list of CMake; the first of two lines that are equal already is none twice
        fit = [
            number for number in fit if lines[number].strip() not in (x.strip() for x in lines[number + 1 :])
        ]
    if not fit:
        return None
    at = chance.choice(fit)
    line = lines[at]
    if how == "drop":
        return [*lines[:at], *lines[at + 1 :]], line
    if how == "twice":
        return [*lines[: at + 1], line, *lines[at + 1 :]], line
    if how == "number":
        return _renumbered(lines, pattern, at)
    switches = [n for n, one in enumerate(lines) if _OPENED.match(one)]
    mine = max((n for n in switches if n < at), default=None)
    others = [
        n for n in switches if n != mine and line.strip() not in {x.strip() for x in lines[n : n + 200]}
    ]
    if mine is None or not others:
        return None
    to = chance.choice(others)
    moved = [one for n, one in enumerate(lines) if n != at]
    to -= to > at
    return [*moved[: to + 1], line, *moved[to + 1 :]], line


def _in_an_enum(lines: list[str], at: int) -> bool:
    opened = next((line for line in reversed(lines[max(0, at - 300) : at]) if re.search(r"[{}(]", line)), "")
    return re.search(r"\benum\b[^(]*\{\s*(?://.*)?$", opened) is not None


def _renumbered(lines: list[str], pattern: re.Pattern[str], at: int) -> tuple[list[str], str] | None:
    """The enumerator in line ``at`` with the number of the one before it."""
    mine, other = pattern.match(lines[at]), pattern.match(lines[at - 1]) if at else None
    if mine is None or other is None or mine[1] == other[1]:
        return None
    line = lines[at][: mine.start(1)] + other[1] + lines[at][mine.end(1) :]
    return [*lines[:at], line, *lines[at + 1 :]], lines[at]


def _outside_comments(lines: list[str]) -> list[int]:
    inside, found = False, []
    for number, line in enumerate(lines):
        if not inside:
            found.append(number)
        opened, closed = line.rfind("/*"), line.rfind("*/")
        if max(opened, closed) >= 0:
            inside = opened > closed
    return found


def bare(line: str) -> str:
    """The line without its comment and the white space in it."""
    return re.sub(r"//.*|/\*.*?\*/|^\s*#(?!\s*(?:if|el|end|include|define)).*|\s+", "", line)


def is_about(found: Finding, seed: Seed) -> bool:
    """Whether ``found`` names what was seeded: an alarm in its file, with its words."""
    if found.file != seed.path or found.severity == "note":
        return False
    words = set(re.findall(r"\w+", seed.about)) - _EMPTY
    return bool(words & set(re.findall(r"\w+", found.text)))
