"""The link command of a file in a build folder: from Ninja, CMake's ``link.txt``, made a linker's own."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from patcher.base import processes
from patcher.base.environment import asked
from patcher.base.errors import UsageError
from patcher.base.packages import install_hint
from patcher.symbols.emulate.commandline import LinkLine, parse
from patcher.symbols.emulate.driver import MEMORY, TIMEOUT, linker_words, take_apart
from patcher.symbols.installed import installed_program

_DRIVER = re.compile(r"(?:^|[-/])(?:g?cc|[gc]\+\+|clang|clang\+\+|c\+\+|cc)(?:-[\d.]+)?$")
_WRAPPER = re.compile(r"(?:^|/)(?:ccache|sccache|distcc|env|nice|time)$")
_LINKER = re.compile(r"^(?:.*-)?(?:ld(?:\.(?:bfd|gold|lld))?|mold|ld\.mold)(?:-\d+)?$")


@dataclass(frozen=True)
class Command:
    """One command line and the folder that it ran in."""

    words: tuple[str, ...]
    folder: Path


def link_line(target: Path) -> LinkLine:
    """The link of ``target``. Raises :class:`UsageError` where the command can't be had."""
    command = find(target)
    if command is None:
        raise UsageError(
            f"{target}: looked for its link command in a build folder above it; found none",
            hint="name files in the folder that they were built in, or give a command word by word behind --",
        )
    return _line(command)


def _line(command: Command) -> LinkLine:
    arguments, left_out = linker_arguments(command)
    line = parse(arguments, command.folder)
    line.left_out += left_out
    return line


def is_command(words: Sequence[str | Path]) -> bool:
    """Whether these are no files but a command: a compiler's or linker's name, and what it is given."""
    first = next((str(word) for word in words if not _WRAPPER.search(str(word))), "")
    name = Path(first).name
    return len(words) > 1 and not Path(first).is_dir() and bool(_DRIVER.search(name) or _LINKER.match(name))


def given_line(words: Sequence[str | Path]) -> LinkLine:
    """The link that a command would make in the current folder. Raises :class:`UsageError` as above."""
    return _line(Command(tuple(map(str, words)), Path.cwd()))


def outputs(folder: Path) -> list[Path]:
    """What the build folder at or above ``folder`` links at or below it, made or not."""
    real = folder.resolve()
    for place in (real, *real.parents):
        if (place / "build.ninja").is_file():
            commands: Iterable[Command] = _from_ninja(place, None)
        elif (place / "CMakeCache.txt").is_file():
            commands = _from_make(place)
        else:
            continue
        made = (_output(command) for command in commands if _links(command))
        return sorted({one for one in made if one is not None and one.is_relative_to(real)})
    return []


def _links(command: Command) -> bool:
    """Whether a command links: archivers and whatever else has an output don't."""
    return any(_DRIVER.search(word) or _LINKER.match(Path(word).name) for word in command.words[:4])


def find(target: Path) -> Command | None:
    """The command that linked ``target``, from the nearest build folder above it."""
    real = target.resolve()
    for folder in real.parents:
        if (folder / "build.ninja").is_file():
            commands = _from_ninja(folder, real)
        elif (folder / "CMakeCache.txt").is_file():
            commands = _from_make(folder)
        else:
            continue
        # the last one that writes the file: commands that it depends on come before
        made = [command for command in commands if _output(command) == real]
        if made:
            return made[-1]
    return None


def _from_ninja(folder: Path, target: Path | None) -> Iterator[Command]:
    """``ninja -t commands`` prints and runs nothing."""
    ninja = installed_program("ninja", folder)
    if ninja is None:
        raise UsageError(f"{folder}: looked for ninja on PATH, found none", hint=install_hint("ninja"))
    command = [ninja, "-C", str(folder), "-t", "commands", "--"]
    command += [str(target.relative_to(folder))] if target is not None else []
    try:
        done = processes.run(command, env=asked(), seconds=TIMEOUT, memory=MEMORY)
    except processes.ProcessError as why:
        raise UsageError(f"{folder}: looked for link commands with ninja ({why.message})") from why
    for line in done.text.splitlines():
        yield from _split(line, folder)


def _from_make(folder: Path) -> Iterator[Command]:
    """CMake's Makefile generators keep each link in a file, relative to the target's build folder."""
    for text in sorted(folder.rglob("CMakeFiles/*.dir/link.txt")):
        if text.is_file():
            for line in text.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
                yield from _split(line, text.parent.parent.parent)


def _split(line: str, folder: Path) -> Iterator[Command]:
    """The links in one shell line: commands joined by ``&&``."""
    if " -o " not in line and "-o" not in line:
        return
    try:
        words = shlex.split(line)
    except ValueError:
        return
    part: list[str] = []
    for word in [*words, "&&"]:
        if word not in ("&&", ";", "||"):
            part.append(word)
            continue
        if part[:1] == ["cd"] and len(part) == 2:
            folder = folder / part[1]
        elif len(part) > 2 and "-c" not in part and "-o" in part:
            yield Command(tuple(part), folder)
        part = []


def _output(command: Command) -> Path | None:
    at = command.words.index("-o") + 1
    return Path(os.path.realpath(command.folder / command.words[at])) if at < len(command.words) else None


def linker_arguments(command: Command) -> tuple[list[str], list[str]]:
    """The arguments that the linker gets from the compiler driver, and what of the command was left out.

    Raises :class:`UsageError` where the driver isn't there, came with the build, or won't say.
    """
    words = list(command.words)
    while words and not _DRIVER.search(words[0]) and not _LINKER.match(Path(words[0]).name):
        words.pop(0)  # ccache, env and the like
    if not words:
        raise UsageError(f"{command.words[0]}: looked for a compiler or linker, found something else")
    if _LINKER.match(Path(words[0]).name):
        return words[1:], []
    driver = installed_program(words[0], command.folder)
    if driver is None:
        raise UsageError(
            f"{words[0]}: the link's compiler is none that is installed; what came with a build is not run",
            hint="put its folder on PATH if it is yours",
        )
    stops = next((word for word in words[1:] if word in ("-c", "-S", "-E", "-fsyntax-only")), None)
    if stops is not None:
        raise UsageError(f"{words[0]} {stops}: looked for a command that links, found one that compiles")
    taken = take_apart(words[1:], command.folder)
    if taken.sources:
        source = taken.sources[0]
        raise UsageError(
            f"{source}: looked for an object file, found what a compiler would compile first",
            hint=f"nothing is run here: compile it ({words[0]} -c {source}) and name the object",
        )
    return linker_words(driver, taken), taken.left_out
