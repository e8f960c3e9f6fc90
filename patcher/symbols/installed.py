"""Which programs may be run: those of this machine, and none that came with what is inspected."""

from __future__ import annotations

import os
import stat
from pathlib import Path

# Where systems keep programs. A file there counts while nobody but its owner and root can change it.
_PLACES = ("/usr/", "/opt/", "/bin/", "/Library/", "/Applications/", "/nix/store/")


def installed_program(program: str, came_with: Path | None = None) -> str | None:
    """The absolute path of ``program`` where it is one of this machine's; None where it isn't.

    It is on PATH, or where systems keep programs and only root writes. A folder of PATH that is named
    relative to the folder that we are in doesn't count, and nothing at or below ``came_with`` does.
    """
    if "\0" in program or not program:
        return None
    if came_with is not None and Path(os.path.realpath(came_with)) == Path("/"):
        came_with = None  # a machine's root is no build folder
    found = _on_path(Path(program).name, came_with)
    if "/" not in program:
        return found
    if not os.path.isabs(program):  # noqa: PTH117 - text of a build
        return None
    real = os.path.realpath(program)
    if came_with is not None and Path(real).is_relative_to(os.path.realpath(came_with)):
        return None
    if found is not None and os.path.realpath(found) == real:
        return program
    return program if real.startswith(_PLACES) and _only_root_writes(Path(real)) else None


def _on_path(name: str, came_with: Path | None) -> str | None:
    inside = Path(os.path.realpath(came_with)) if came_with is not None else None
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        place = Path(folder) / name
        if not place.is_absolute() or not place.is_file() or not os.access(place, os.X_OK):
            continue
        if inside is None or not Path(os.path.realpath(place)).is_relative_to(inside):
            return str(place)
    return None


def _only_root_writes(place: Path) -> bool:
    """Whether the file, and every folder above it, belongs to root and is written by nobody else."""
    if not place.is_file() or not os.access(place, os.X_OK):
        return False
    for one in (place, *place.parents):
        facts = one.stat()
        sticky = stat.S_ISDIR(facts.st_mode) and facts.st_mode & stat.S_ISVTX
        if facts.st_uid != 0 or (facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky):
            return False
    return True
