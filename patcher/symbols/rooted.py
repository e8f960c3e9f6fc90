"""Paths of another system that lies in a folder: its links lead to its own files, never to this machine's."""

from __future__ import annotations

import os

_MAX_LINKS = 40  # as the kernel has it


class Root:
    """The folder that is ``/`` for the files that are looked at."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.realpath(folder)
        self._folders: dict[str, str | None] = {}  # below the root -> where it really is, below the root

    def place(self, path: str) -> str:
        """Where a path of that system lies on this one, links in it not followed."""
        return f"{self.folder}/{path.strip('/')}".rstrip("/") or "/"

    def inside(self, path: str) -> str | None:
        """The real place of what a path of this machine names; None for a circle of links.

        Every link below the root is followed as that system would: an absolute one begins at the root, and
        nothing leads above it. A path that isn't below the root stays as it is.
        """
        # what begins with the root means a path in it, whatever ".." it has: no RUNPATH leads out
        below = self._below(path)
        if below is None:
            below = self._below(os.path.abspath(path)) or self._below(os.path.realpath(path))  # noqa: PTH100
        if below is None:
            return path
        real = self._resolved(below, 0)
        return None if real is None else self.place(real)

    def _below(self, path: str) -> str | None:
        if path == self.folder:
            return "/"
        start = self.folder.rstrip("/") + "/"
        return "/" + path[len(start) :] if path.startswith(start) else None

    def _resolved(self, path: str, links: int) -> str | None:
        """The same for an absolute path of that system."""
        folder, _, name = path.rstrip("/").rpartition("/")
        if not name:
            return "/"
        if folder not in self._folders:
            self._folders[folder] = self._resolved(folder, links) if folder else "/"
        real = self._folders[folder]
        if real is None:
            return None
        if name in (".", ".."):
            return real if name == "." else os.path.dirname(real)  # noqa: PTH120
        there = f"{real.rstrip('/')}/{name}"
        try:
            target = os.readlink(self.place(there))  # noqa: PTH115
        except (OSError, ValueError):
            return there
        if links >= _MAX_LINKS:
            return None
        return self._resolved(target if target.startswith("/") else f"{real.rstrip('/')}/{target}", links + 1)
