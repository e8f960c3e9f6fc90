"""The link command of a file in a build folder: from Ninja, CMake's ``link.txt``, made a linker's own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from patcher.base.errors import UsageError
from patcher.symbols.emulate.commandline import LinkLine, parse
from patcher.symbols.installed import is_installed

TIMEOUT = 60  # seconds for a program that only prints
_DRIVER = re.compile(r"(?:^|[-/])(?:g?cc|[gc]\+\+|clang|clang\+\+|c\+\+|cc)(?:-[\d.]+)?$")
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
            hint="name files in the folder that they were built in",
        )
    return parse(linker_arguments(command), command.folder)


def is_command(words: Sequence[str | Path]) -> bool:
    """Whether these are no files but a command: a compiler's or linker's name, and what it is given."""
    first = str(words[0]) if words else ""
    name = Path(first).name
    return len(words) > 1 and not Path(first).is_dir() and bool(_DRIVER.search(name) or _LINKER.match(name))


def given_line(words: Sequence[str | Path]) -> LinkLine:
    """The link that a command would make in the current folder. Raises :class:`UsageError` as above."""
    return parse(linker_arguments(Command(tuple(map(str, words)), Path.cwd())), Path.cwd())


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
    arguments = ["ninja", "-C", str(folder), "-t", "commands"]
    arguments += [str(target.relative_to(folder))] if target is not None else []
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.SubprocessError) as why:
        raise UsageError(f"{folder}: looked for link commands with ninja ({why})") from why
    for line in done.stdout.splitlines():
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


def linker_arguments(command: Command) -> list[str]:
    """The arguments that the linker gets from the compiler driver (``-###`` prints them and runs nothing).

    Raises :class:`UsageError` where the driver isn't there or prints something else.
    """
    words = list(command.words)
    while words and not _DRIVER.search(words[0]) and not _LINKER.match(Path(words[0]).name):
        words.pop(0)  # ccache, env and the like
    if not words:
        raise UsageError(f"{command.words[0]}: looked for a compiler or linker, found something else")
    if _LINKER.match(Path(words[0]).name):
        return words[1:]
    if not is_installed(words[0]):
        raise UsageError(
            f"{words[0]}: the link's compiler is none that is installed; what came with a build is not run",
            hint="put its folder on PATH if it is yours",
        )
    try:
        done = subprocess.run(
            [words[0], "-###", *words[1:]],
            cwd=command.folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError) as why:
        raise UsageError(
            f"{words[0]}: looked for the compiler of the link command ({why})",
            hint="run it where it was built",
        ) from why
    for line in reversed(done.stderr.splitlines()):
        try:
            printed = shlex.split(line)
        except ValueError:
            continue
        if printed and (Path(printed[0]).name == "collect2" or _LINKER.match(Path(printed[0]).name)):
            return printed[1:]
    said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
    raise UsageError(f"{words[0]} -###: looked for the linker's arguments, found: {said}")
