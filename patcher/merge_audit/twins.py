"""Enums of Python that say what one of C says: found on the sides, and asked of the merge."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from patcher.merge_audit.finding import Finding
from patcher.merge_audit.index import indexes

if TYPE_CHECKING:
    from patcher.merge_audit.meeting import Meeting

_Members = dict[str, tuple[int | None, int, bool]]
_Known = dict[str, dict[tuple[str, ...], _Members]]  # a content's enums
_SHARED = 4  # names that two enums must share to be twins
_PYTHON = re.compile(rb"^[ \t]*class[ \t]+\w+\(.*(?:Enum|Flag)\)", re.MULTILINE)
_HEADERS = ("ggml.h", "llama.h", "gguf.h")  # whose twins in Python are known
_MOST = 400  # files of Python that are looked through for the other half


def broken(meeting: Meeting) -> Iterator[Finding]:
    """Every enumerator in which a pair that agreed on a side disagrees in the merge."""
    bases = len(meeting.bases)
    halves = _new_together(meeting)
    if not halves:
        return
    known: _Known = {}
    ours, theirs, merged = (_enums(meeting, number, halves, known) for number in range(bases, bases + 3))
    for (c_file, c_name), members in merged["c"].items():
        for (py_file, py_name), spoken in merged["python"].items():
            problems = _disagreements(members, spoken) if (c_file, py_file) in halves else None
            if not problems:
                continue
            key_c, key_py = (c_file, c_name), (py_file, py_name)
            sides = [side for side in (ours, theirs) if key_c in side["c"] and key_py in side["python"]]
            before = [_disagreements(side["c"][key_c], side["python"][key_py]) for side in sides]
            if not before or any(one is None for one in before):
                continue
            there = {name for one in before for name in one or {}}
            for name in sorted(set(problems) - there):
                detail = f"{problems[name]} (twin of {' > '.join(c_name)} in {c_file})"
                line = (
                    spoken[name][1] if name in spoken else next((line for _, line, _ in spoken.values()), 1)
                )
                yield Finding("merge-twin", py_file, line, "enumerator", py_name, name, "both", None, detail)


def _new_together(meeting: Meeting) -> set[tuple[str, str]]:
    """Pairs of a header and a Python file that stand together in the merge, and so on neither side."""
    bases = len(meeting.bases)
    ours, theirs, merged = (_halves(meeting, number) for number in range(bases, bases + 3))
    headers = [path for path in merged if PurePosixPath(path).name in _HEADERS]
    spoken = [path for path in merged if path.endswith(".py")][:_MOST]
    return {
        (header, path)
        for header in headers
        for path in spoken
        if not any(
            side.get(header) == merged[header] and side.get(path) == merged[path] for side in (ours, theirs)
        )
    }


def _halves(meeting: Meeting, number: int) -> dict[str, str]:
    """Shared path -> content of the files that may be half of a pair."""
    version = meeting.versions[number]
    return {
        version.moved.get(path, path): content
        for path, content in sorted(version.contents.items())
        if path.endswith(".py") or PurePosixPath(path).name in _HEADERS
    }


def _enums(
    meeting: Meeting, number: int, halves: set[tuple[str, str]], known: _Known
) -> dict[str, dict[tuple[str, tuple[str, ...]], _Members]]:
    """Language -> (shared path, enum) -> members, of the files that are in ``halves``."""
    found: dict[str, dict[tuple[str, tuple[str, ...]], _Members]] = {"c": {}, "python": {}}
    version = meeting.versions[number]
    wanted = {path for pair in halves for path in pair}
    for path in sorted(version.contents):
        pure, shared = PurePosixPath(path), version.moved.get(path, path)
        if shared not in wanted:
            continue
        language, content = ("python" if pure.suffix == ".py" else "c"), version.contents[path]
        if content not in known:
            known[content] = _enums_of(language, version.read(path))
        for owner, members in known[content].items():
            found[language][shared, owner] = members
    return found


def _enums_of(language: str, data: bytes | None) -> dict[tuple[str, ...], _Members]:
    if data is None or (language == "python" and not _PYTHON.search(data)):
        return {}
    names = indexes(language, [data])[0].names
    return {owner: members for owner, members in names.items() if len(members) >= _SHARED}


def _disagreements(c_members: _Members, python_members: _Members) -> dict[str, str] | None:
    """Name in Python -> in what it differs from C; None where the two are no twins."""
    prefix = _prefix(c_members, python_members)
    if prefix is None:
        return None
    found = {}
    for name, (number, _, _) in python_members.items():
        other = c_members.get(prefix + name)
        if other is None:
            found[name] = f"C has no {prefix}{name}"
        elif None not in (number, other[0]) and number != other[0]:
            found[name] = f"is {number}, and {prefix}{name} is {other[0]}"
    for name, (number, _, _) in c_members.items():
        short = name.removeprefix(prefix)
        if short not in python_members and number is not None:
            found[short] = f"{name} = {number} has no twin"
    return found


def _prefix(c_members: _Members, python_members: _Members) -> str | None:
    """What C's names have before Python's; None where too few of them are the same."""
    tried: dict[str, int] = {}
    for name in c_members:
        for at in (found.end() for found in re.finditer("_", name)):
            if name[at:] in python_members:
                tried[name[:at]] = tried.get(name[:at], 0) + 1
    best = max(tried, key=lambda prefix: tried[prefix], default=None)
    if best is None or tried[best] < max(_SHARED, len(python_members) * 2 // 3):
        return None
    return best
