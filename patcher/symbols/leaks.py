"""Paths in a file that lead to the right place in one folder, or on one machine, only."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from patcher.symbols.elf import ElfObject
from patcher.symbols.search import Search

# What configured a folder leaves in it: CMake, Ninja, Meson, Autoconf, Bazel, Cargo.
_MARKS = ("CMakeCache.txt", "build.ninja", "meson-info", "config.status", "DO_NOT_BUILD_HERE", "CACHEDIR.TAG")
_SYSTEM = ("/usr/", "/lib", "/opt/")  # where files are installed, and may be missing here
_PERSONAL = ("/home/", "/root/", "/tmp/", "/var/tmp/", "/Users/")  # noqa: S108 - only compared with
_MAX_DEPTH = 12
_FROM = "seen from where it is started"
_ONE_FOLDER = "that works in one folder only"


def leaks(item: ElfObject, search: Search, checked: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Each path of a file that works in one place only, and why.

    ``checked`` are the folders that are checked: to lead into the file's own build is no leak.
    """
    folders = list(map(str, checked))
    paths = (*item.rpath, *item.runpath)
    for path in (item.rpath, item.runpath):
        for number, entry in enumerate(path):
            if entry.startswith(("/", "$")) or (number and not entry):
                continue  # CMake leaves empty ones behind others, to have room for what it installs
            detail = f"{item.name} searches {entry or 'an empty path'}, {_FROM}: {_ONE_FOLDER}; use $ORIGIN"
            yield entry or "(empty)", detail
    entries = tuple(entry for entry in paths if entry.startswith("/"))
    for entry, folder in zip(entries, search.places.expand(entries, item), strict=True):
        inside = search.places.inside(folder)  # a sysroot's absolute links stay in it
        real = os.path.realpath(inside) if "\0" not in inside else inside
        why = leak(entry, real, str(item.path.parent), folders)
        if why is not None:
            yield entry, f"{item.name} searches {entry}: {why}"
    for name in item.needed:
        if name.startswith("/"):
            why = leak(name, os.path.realpath(search.places.rooted(name)), str(item.path.parent), folders)
            if why is not None:
                yield name, f"{item.name} needs {name} at this very place: {why}"
        elif "/" in name:
            detail = f"{item.name} needs {name}, {_FROM}: {_ONE_FOLDER}; give it a soname (-Wl,-soname)"
            yield name, detail
    if item.interpreter and not item.interpreter.startswith("/"):
        yield item.interpreter, f"{item.name} is started by {item.interpreter}, {_FROM}: {_ONE_FOLDER}"


@cache
def build_folder(folder: str) -> str | None:
    """The nearest build folder at or above ``folder``; None where there is none."""
    for _ in range(_MAX_DEPTH):
        if any(os.path.lexists(os.path.join(folder, mark)) for mark in _MARKS):  # noqa: PTH118
            return folder
        above = os.path.dirname(folder)  # noqa: PTH120
        if above == folder:
            return None
        folder = above
    return None


def leak(entry: str, real: str, home: str, checked: Iterable[str]) -> str | None:
    """What is wrong with a search path; None where nothing is.

    ``entry`` is what the file says and ``real`` the folder that it means here, ``home`` the file's own
    folder, ``checked`` the folders that are checked: to lead into the file's own build is no leak.
    """
    if any(_within(real, folder) or _within(folder, real) for folder in checked):
        return None
    built = build_folder(real)
    if built is not None:
        return None if built == build_folder(home) else f"it lies in the build folder {built}"
    if entry.startswith(_SYSTEM):
        return None
    if not os.path.isdir(real):  # noqa: PTH112
        return "there is no such folder here"
    return "it is somebody's own folder" if entry.startswith(_PERSONAL) else None


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
