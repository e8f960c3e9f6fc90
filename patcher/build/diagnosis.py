"""What went wrong in a build, out of its log: the first error, its place, and what to do about it.

Patterns are those of GCC and Clang, of ld.bfd, gold, lld and mold, of CMake and Ninja.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from patcher.symbols.demangle import demangle
from patcher.symbols.instantiate import directive, tidy

Explain = Callable[[Path, int], str | None]
Placed = Callable[[Path, int], tuple[Path, str | None]]  # an absolute path, and our edit there


@dataclass(frozen=True)
class Diagnosis:
    """The first error of a build. ``step``: compile, link, cmake, memory, disk, target, or unknown."""

    step: str
    message: str
    file: Path | None = None
    line: int | None = None
    edit: str | None = None  # which of our edits stands there
    symbols: tuple[str, ...] = ()  # demangled, of a link that lacks them
    hint: str | None = None

    @property
    def place(self) -> str:
        """``file:line``, or nothing."""
        if self.file is None:
            return ""
        return f"{self.file}:{self.line}" if self.line else str(self.file)

    def text(self) -> str:
        """One line: place, error, our edit there."""
        parts = [f"{self.place}: {self.message}" if self.place else self.message]
        return "; ".join([*parts, *([self.edit] if self.edit else [])])


_COMPILE = re.compile(
    r"^(?P<file>(?:[A-Za-z]:)?[^:\n]+):(?P<line>\d+)(?::\d+)?: (?:fatal )?error: (?P<message>.+)$", re.M
)
_INTERNAL = re.compile(r"^(?P<message>.*internal compiler error.*)$", re.M)
_KILLED = re.compile(
    r"fatal error: Killed signal|terminated by signal 9|virtual memory exhausted"
    r"|(?:\bcc1\w*|ERROR): out of memory"
)
_DISK = re.compile(r"No space left on device")
_CMAKE = re.compile(
    # paragraphs of the message stand apart, indented all of them
    r"^CMake Error at (?P<file>[^:\n]+):(?P<line>\d+)(?!\d)[^\n]*"
    r":\n+(?P<message>(?:  .+(?:\n|\Z)|\n(?=  ))+)",
    re.M,
)
_CMAKE_PLAIN = re.compile(r"^CMake Error: (?P<message>.+)$", re.M)
_NINJA = re.compile(r"^ninja: error: (?P<message>.+)$", re.M)
_TARGET = re.compile(
    r"^ninja: error: unknown target '(?P<name>[^']+)'(?:, did you mean '(?P<near>[^']+)')?", re.M
)
_MULTIPLE = re.compile(
    r"multiple definition of [`'](?P<name>[^'\n]+)'|duplicate symbol: (?P<other>.+)$", re.M
)
_LIBRARY = re.compile(r"(?:cannot find|unable to find library) (?P<name>-l\S+)")
_LINKER = re.compile(
    r"^(?P<message>(?:\S*/)?(?:ld|ld\.\w+|mold|collect2|clang[^\s/]*)(?:\.exe)?: (?:error: |fatal: )?.*)$",
    re.M,
)

# an undefined symbol, in the words of each linker; ld64's names stand in double quotes
_UNDEFINED = (
    re.compile(r"undefined reference to [`'](?P<name>[^\n]+?)'(?:$|\n)", re.M),  # bfd, gold
    re.compile(r"error: undefined (?:symbol|reference): (?P<name>.+)$", re.M),  # lld, mold
    re.compile(r"undefined reference due to --no-allow-shlib-undefined: (?P<name>.+)$", re.M),  # lld
    re.compile(r"undefined symbol: (?P<name>.+)$", re.M),  # mold
    re.compile(r'^[ \t]+"(?P<name>[^"\n]+)", referenced from:', re.M),  # ld64
)


def diagnose(log: str, explain: Explain | None = None, *, folder: Path = Path()) -> Diagnosis:
    """The first error in the output of CMake or Ninja, which ran in ``folder``."""

    def placed(path: Path, line: int) -> tuple[Path, str | None]:
        path = path if path.is_absolute() else Path(os.path.normpath(folder / path))
        return path, explain(path, line) if explain else None

    return _first(log, placed)


def _first(log: str, placed: Placed) -> Diagnosis:
    if _DISK.search(log):
        return Diagnosis("disk", "no space left on the disk", hint="free some, then build again")
    if _KILLED.search(log):
        return Diagnosis(
            "memory", "the compiler was killed, most likely for want of memory", hint="build with --jobs 1"
        )
    target = _TARGET.search(log)
    if target:
        near = (
            f"did you mean {target['near']}?"
            if target["near"]
            else "see 'ninja -t targets' for those there are"
        )
        return Diagnosis("target", f"{target['name']}: no such target", hint=near)
    found = _COMPILE.search(log)
    if found and "undefined reference" not in found["message"]:
        return _placed("compile", found["message"].strip(), found["file"], int(found["line"]), placed)
    for pattern, step in ((_INTERNAL, "compile"),):
        found = pattern.search(log)
        if found:
            return Diagnosis(
                step, found["message"].strip(), hint="try another compiler: CXX=clang++ CC=clang"
            )
    return _link(log, placed) or _cmake(log, placed) or _other(log)


def _placed(step: str, message: str, file: str, line: int, placed: Placed) -> Diagnosis:
    path, edit = placed(Path(file), line)
    return Diagnosis(step, message, path, line, edit)


def undefined_symbols(log: str) -> tuple[str, ...]:
    """Every symbol that a linker in ``log`` misses, demangled, each once, in the order of the log."""
    found: dict[str, int] = {}
    for pattern in _UNDEFINED:
        for match in pattern.finditer(log):
            name = tidy(demangle(match["name"].strip().strip("'`\"")))
            found.setdefault(name, match.start())
    return tuple(sorted(found, key=lambda name: found[name]))


def _link(log: str, placed: Placed) -> Diagnosis | None:
    missing = undefined_symbols(log)
    if missing:
        lines = [line for name in missing if (line := directive(name))]
        hint = f"instantiate it where the template is defined: {lines[0]}" if lines else None
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        where = re.search(
            r"(?<![^\s:()])(?P<file>[^\s:()]+\.(?:c|cc|cpp|cxx)):(?P<line>\d+): undefined reference", log
        )
        message = f"undefined reference to {missing[0]}{more}"
        if where is None:
            return Diagnosis("link", message, symbols=missing, hint=hint)
        at = _placed("link", message, where["file"], int(where["line"]), placed)
        return replace(at, symbols=missing, hint=hint)
    twice = _MULTIPLE.search(log)
    if twice:
        name = tidy(demangle(twice["name"] or twice["other"]))
        return Diagnosis("link", f"{name} is defined twice", symbols=(name,))
    library = _LIBRARY.search(log)
    if library:
        return Diagnosis("link", f"the linker can't find {library['name']}", hint="install that library")
    return None


def _cmake(log: str, placed: Placed) -> Diagnosis | None:
    found = _CMAKE.search(log)
    if found:
        message = " ".join(found["message"].split())
        return _placed("cmake", message, found["file"], int(found["line"]), placed)
    plain = _CMAKE_PLAIN.search(log)
    return Diagnosis("cmake", plain["message"].strip()) if plain else None


def _other(log: str) -> Diagnosis:
    linker = _LINKER.search(log)
    if linker:
        return Diagnosis("link", linker["message"].strip())
    ninja = _NINJA.search(log)
    if ninja:
        return Diagnosis("unknown", ninja["message"].strip())
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = next((line for line in lines if re.search(r"\berror\b", line, re.I)), lines[-1] if lines else "")
    return Diagnosis("unknown", said or "it ended without a word")
