"""Ninja's side of a build: runs it, follows its progress, keeps all it says."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from patcher.base import processes
from patcher.base.errors import BuildError
from patcher.base.progress import Step

# done, total, seconds so far, then what is being made; the leading byte never starts a compiler's line
_STATUS = "\x1e%f/%t\x1e"
_LINE = re.compile(r"\x1e(\d+)/(\d+)\x1e(.*)")
_ENDING = processes.Politeness(signal.SIGINT, 10.0)  # it removes what it had half written
_SAID = 64 << 20  # characters of what compilers say, for the diagnosis; the log has all


@dataclass
class Tally:
    """What ran. ``compiled`` counts compiler calls, those that a compiler cache answered included."""

    output: str = ""
    code: int = 0
    steps: int = 0
    compiled: int = 0
    linked: int = 0


def run(command: list[str], folder: Path, *, env: Mapping[str, str], log: IO[str], step: Step) -> Tally:
    """Run CMake or Ninja to its end; everything it says goes to ``log``, its position to ``step``.

    An interruption ends it and all its children, and is raised again: what was built stays built.
    """
    tally = Tally()
    said: list[str] = []
    room = _SAID

    def take(line: str) -> None:
        nonlocal room
        found = _LINE.match(line)
        if found is None:
            if room > 0:
                said.append(f"{line}\n")
                room -= len(line)
            log.write(f"{line}\n")
            return
        log.write(f"[{found[1]}/{found[2]}] {found[3]}\n")
        _count(tally, found[3])
        step.update(done=int(found[1]), total=int(found[2]), detail=_short(found[3]))

    values = {**env, "NINJA_STATUS": _STATUS, "CLICOLOR_FORCE": "0", "LC_ALL": "C"}
    try:
        done = processes.run(command, folder=folder, env=values, merged=True, on_line=take, ending=_ENDING)
    except processes.ProcessError as why:
        raise BuildError(f"{command[0]}: {why.message}", hint=why.hint) from why
    finally:
        log.flush()
    tally.code = done.code
    tally.output = "".join(said)
    return tally


def remove_left_over(ninja: Path, folder: Path, *, env: Mapping[str, str]) -> list[Path]:
    """Remove from ``bin`` what an earlier build.ninja made and today's doesn't, as another release's.

    Not by ``-t cleandead``: older releases have an output in the user's tree. What Ninja hasn't made stays.
    """
    bin_folder = folder / "bin"
    if bin_folder.is_symlink():
        return []
    try:
        made = (folder / ".ninja_log").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        known = processes.run([str(ninja), "-t", "targets", "all"], folder=folder, env=env, output=_SAID)
    except (OSError, processes.ProcessError):
        return []
    today = {line.rpartition(": ")[0] for line in known.text.splitlines()}
    if known.code != 0 or not today:
        return []
    before = {fields[3] for line in made if len(fields := line.split("\t")) > 4}
    gone = []
    for name in sorted(before - today):
        place = folder / name
        if place.parent == bin_folder and (place.is_symlink() or place.is_file()):
            place.unlink()
            gone.append(place)
    return gone


def _count(tally: Tally, what: str) -> None:
    tally.steps += 1
    tally.compiled += what.startswith("Building ")
    tally.linked += what.startswith("Linking ")


def _short(what: str) -> str:
    """``Building CXX object src/CMakeFiles/llama.dir/llama.cpp.o`` -> ``llama.cpp``."""
    name = what.rsplit("/", 1)[-1].strip()
    return re.sub(r"\.o(?:bj)?$", "", name)[:40]
