"""What a loader finds in folders: the file of a name that it takes or stops at, and what it passes over.

With a sysroot every path is one of the system in it, and no link leads out. Each folder is asked once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from patcher.symbols.elf import Abi, ElfObject, Start, refusal, start_of
from patcher.symbols.platforms import platform_of
from patcher.symbols.rooted import Root

_TOKENS = ("ORIGIN", "LIB", "PLATFORM")


class Places:
    """The folders of one system. ``early``: of a loader that stops at the first file of a name."""

    def __init__(self, sysroot: Path | None = None) -> None:
        self.root = Root(str(sysroot)) if sysroot is not None else None
        self._in_folder: dict[tuple[object, ...], tuple[str, str, str] | None] = {}
        self._hwcaps: dict[tuple[object, ...], tuple[str, ...]] = {}
        self._starts: dict[str, Start | None] = {}
        self._expanded: dict[tuple[object, ...], list[str]] = {}

    def expand(self, entries: tuple[str, ...], origin: ElfObject, place: str = "") -> list[str]:
        """RPATH or RUNPATH entries as folders, ``$ORIGIN``, ``$LIB`` and ``$PLATFORM`` filled in."""
        key = (entries, origin, place)
        if key not in self._expanded:
            names = platform_of(origin.abi)
            below = f"lib/{names.multiarch}"
            values = {
                "ORIGIN": place or str(origin.path.parent),
                "LIB": below if names.multiarch and self.rooted(f"/{below}").is_dir() else names.lib,
                "PLATFORM": names.platform,
            }
            folders = []
            for entry in entries:
                text = _filled_in(entry, values)
                own = "ORIGIN" in entry or not text.startswith("/")
                folders.append((text or ".") if own else self.placed(text))
            self._expanded[key] = folders
        return self._expanded[key]

    def expand_for_musl(self, entries: tuple[str, ...], origin: ElfObject, place: str = "") -> list[str]:
        """The same as musl has it: ``$ORIGIN`` alone, whatever follows it; any other dollar makes all void.

        Lines part folders as colons do, and an empty entry is none.
        """
        text = ":".join(entries)
        if any(not part.startswith(("ORIGIN", "{ORIGIN}")) for part in text.split("$")[1:]):
            return []
        folder = place or str(origin.path.parent)
        folders = []
        for entry in filter(None, text.replace("\n", ":").split(":")):
            filled = entry.replace("${ORIGIN}", folder).replace("$ORIGIN", folder)
            own = filled != entry or not entry.startswith("/")
            folders.append(filled if own else self.placed(entry))
        return folders

    def rooted(self, text: str) -> Path:
        """An absolute path of the system that the files are for, on this one, its links followed there."""
        return Path(self.inside(self.placed(text)))

    def placed(self, text: str) -> str:
        """The same, its links not followed."""
        return self.root.place(text) if self.root is not None else text

    # strings, not paths, from here on: a big folder asks a hundred thousand times

    def find(
        self, folder: str, name: str, requester: ElfObject, *, early: bool
    ) -> tuple[str, str, str] | None:
        """The file of a name in a folder, why the loader stops at it, and in which of its folders it is."""
        key = (folder, name, requester.abi, early)
        if key not in self._in_folder:
            found = None
            for place in (*self.levels(folder, requester.abi), folder):
                seen = self.look(f"{place}/{name}", requester, early=early)
                if seen is not None:
                    found = (*seen, place)
                    break
            self._in_folder[key] = found
        return self._in_folder[key]

    def levels(self, folder: str, abi: Abi) -> tuple[str, ...]:
        """The ``glibc-hwcaps`` folders in a folder, the best first."""
        key = (folder, abi)
        if key not in self._hwcaps:
            inner = f"{folder}/glibc-hwcaps"
            levels = platform_of(abi).hwcaps if os.path.isdir(self.inside(inner)) else ()  # noqa: PTH112
            self._hwcaps[key] = tuple(f"{inner}/{level}" for level in levels)
        return self._hwcaps[key]

    def look(self, path: str, requester: ElfObject, *, early: bool) -> tuple[str, str] | None:
        """The file at ``path`` and why the loader stops at it, if it does; None for what it passes over."""
        inside = self.inside(path)
        if inside not in self._starts:
            self._starts[inside] = start_of(inside)
        start = self._starts[inside]
        if start is None:
            return None
        why = refusal(start, requester.abi, first_counts=early)
        return None if why is None else (inside, why)

    def inside(self, path: str) -> str:
        """Where ``path`` leads without leaving the sysroot; itself where there is none."""
        if self.root is None:
            return path
        real = self.root.inside(path)
        return f"{path}/\0" if real is None else real  # a circle of links: no file has that name

    def why_passed(self, path: str, requester: ElfObject) -> str:
        """Why :meth:`look` passes over ``path``."""
        inside = self.inside(path)
        start = self._starts.get(inside)
        if start is None or start.abi is None:
            there = "\0" not in inside and os.path.lexists(inside)
            return "may not be opened" if there else "no such file"
        return f"{start.abi[0]} bits" if start.abi[0] != requester.bits else "for another machine"


def _filled_in(entry: str, values: Mapping[str, str]) -> str:
    """``entry`` with ``$NAME`` and ``${NAME}`` replaced; other dollars stay (glibc's _dl_dst_substitute)."""
    first, *parts = entry.split("$")
    for part in parts:
        for name in _TOKENS:
            after = part[len(name) :]
            if part.startswith(f"{{{name}}}"):
                first += values[name] + part[len(name) + 2 :]
            elif part.startswith(name) and not (
                after[:1].isascii() and (after[:1].isalnum() or after[:1] == "_")
            ):
                first += values[name] + after
            else:
                continue
            break
        else:
            first += f"${part}"
    return first
