"""From a link line's operands to files: libraries searched for, linker scripts followed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from patcher.symbols.elf import ElfObject, UnreadableElfError
from patcher.symbols.elf.constants import ET_REL
from patcher.symbols.elf.identity import head
from patcher.symbols.emulate.commandline import LinkLine, Operand
from patcher.symbols.relocatable import Unit, members
from patcher.symbols.scope import Library

_TOKEN = re.compile(r"/\*.*?(?:\*/|\Z)|[(),]|\"[^\"]*\"|[^\s(),;]+", re.S)
_MAX_SCRIPT = 1 << 20
_BITCODE = (b"BC\xc0\xde", b"\xde\xc0\x17\x0b")  # LLVM's, bare and wrapped
_ASSIGNED = re.compile(r"(?<![\w.$])([A-Za-z_.$][\w.$]*)\s*(?:[-+*/&|]|<<|>>)?=(?!=)")
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.S)


@dataclass(frozen=True)
class Input:
    """One file of a link: ``units`` of an object or archive, or a shared ``library``."""

    path: Path
    operand: Operand
    units: tuple[Unit, ...] = ()
    archive: bool = False
    library: ElfObject | None = None


def inputs(line: LinkLine, library: Library) -> tuple[list[Input], list[str]]:
    """The files of a link in its order, and the operands for which there is none."""
    found: list[Input] = []
    missing: list[str] = []
    for script in line.scripts:
        place = find(line, Operand(script)) or find(line, Operand(f":{script}", is_name=True))
        if place is None:
            missing.append(script)
        else:
            line.defined.update(script_definitions(place))
    for operand in line.operands:
        path = find(line, operand)
        if path is None:
            missing.append(f"-l{operand.text}" if operand.is_name else operand.text)
        else:
            found += _read(line, operand, path, library, missing, 0)
    return found, missing


def named(line: LinkLine, *, symbols_by_letter: bool) -> list[str]:
    """The files that options name and that aren't there; those that give symbols alone are read."""
    files = [*line.dynamic_lists, *line.files, *([line.version_script] if line.version_script else [])]
    for option, path in line.symbol_files:
        if option == "R" and (path.is_dir() or not symbols_by_letter):
            continue  # it is an rpath
        files.append(path)
        symbols = (one for unit in members(path) for one in unit.symbols) if path.is_file() else iter(())
        line.defined |= {
            one.name.decode("utf-8", "surrogateescape") for one in symbols if one.defined and not one.local
        }
    return [str(path) for path in files if not path.is_file()]


def find(line: LinkLine, operand: Operand) -> Path | None:
    """The file that an operand means."""
    if not operand.is_name:
        path = line.folder / operand.text
        if path.is_file():
            return path
        rooted = Path(line.sysroot + operand.text) if line.sysroot and operand.text[:1] == "/" else None
        return rooted if rooted is not None and rooted.is_file() else None
    name = operand.text
    exact = name[1:] if name.startswith(":") else None
    for place in line.search:
        bare = place.removeprefix("=").removeprefix("$SYSROOT")
        folder = line.folder / (bare if bare == place else (line.sysroot or "") + bare)
        endings = ("a",) if operand.static or line.static else ("so", "a")
        for file in [exact] if exact else [f"lib{name}.{ending}" for ending in endings]:
            if (folder / file).is_file():
                return folder / file
    return None


def _read(
    line: LinkLine, operand: Operand, path: Path, library: Library, missing: list[str], depth: int
) -> Iterator[Input]:
    start = head(path, 20)
    if start[:8] in (b"!<arch>\n", b"!<thin>\n"):
        yield Input(path, operand, tuple(members(path)), archive=True)
    elif start[:4] in _BITCODE:
        yield Input(path, operand, (Unit(path, "", True, (), lto=True),))
    elif start[:4] == b"\x7fELF":
        little = start[5:6] == b"\1"
        if int.from_bytes(start[16:18], "little" if little else "big") == ET_REL:
            yield Input(path, operand, tuple(members(path)), archive=operand.lazy)
            return
        try:
            yield Input(path, operand, library=library.read(path))
        except UnreadableElfError as why:
            missing.append(str(why))
    elif depth < 8:  # anything else is a linker script, as libc.so is
        line.defined.update(script_definitions(path))
        for part in script_operands(path, operand):
            place = find(line, part)
            if place is None and not part.is_name:
                beside = replace(part, text=f":{part.text}", is_name=True)
                place = find(line, beside)
            if place is not None:
                yield from _read(line, part, place, library, missing, depth + 1)


def _script(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_SCRIPT).decode("utf-8", "replace")
    except OSError:
        return ""


def script_definitions(path: Path) -> set[str]:
    """The symbols that a linker script assigns, whether always or (``PROVIDE``) where they are wanted."""
    return set(_ASSIGNED.findall(_COMMENT.sub(" ", _script(path)))) - {"."}  # which is where it writes


def script_operands(path: Path, like: Operand) -> Iterator[Operand]:
    """What ``INPUT``, ``GROUP`` and ``AS_NEEDED`` of a linker script name."""
    text = _script(path)
    command, stack = "", []
    for token in _TOKEN.findall(text):
        if token.startswith(("/*", ",")):
            continue
        if token[0] == "(":
            stack.append(command)
        elif token[0] == ")":
            if stack:
                stack.pop()
        elif stack and set(stack) <= {"INPUT", "GROUP", "AS_NEEDED"}:
            if token in ("AS_NEEDED", "INPUT", "GROUP"):
                command = token
                continue
            needed = like.as_needed or "AS_NEEDED" in stack
            name = token.strip('"')
            is_name = name.startswith("-l")
            yield replace(
                like, text=name[2:] if is_name else name, is_name=is_name, as_needed=needed, group=0
            )
        else:
            command = token
