"""RUNPATHs that lead to where something was built, and nowhere on the machine where it will run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache

# What configured a folder leaves in it: CMake, Ninja, Meson, Autoconf, Bazel, Cargo.
_MARKS = ("CMakeCache.txt", "build.ninja", "meson-info", "config.status", "DO_NOT_BUILD_HERE", "CACHEDIR.TAG")
_SYSTEM = ("/usr/", "/lib", "/opt/")  # where files are installed, and may be missing here
_PERSONAL = ("/home/", "/root/", "/tmp/", "/var/tmp/", "/Users/")  # noqa: S108 - only compared with
_MAX_DEPTH = 12


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
