"""Where a loader looks for a library, without running it: glibc's order (ld.so(8)) and musl's.

glibc: RPATH of the requester and of all that led to it (unless the requester has a RUNPATH),
LD_LIBRARY_PATH, the requester's RUNPATH, ld.so.cache, default folders (elf/dl-load.c). musl:
LD_LIBRARY_PATH, then RUNPATH or RPATH of the requester and of all that led to it, then its list
(ldso/dynlink.c, load_library).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from patcher.symbols.elf import DF_1_NODEFLIB, ElfObject, abi_of
from patcher.symbols.ldconfig import read_cache, read_conf, read_file, read_musl_path
from patcher.symbols.platforms import platform_of

GLIBC, MUSL = "glibc", "musl"

_TOKEN = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")
_MAX_LINKS = 40


@dataclass(frozen=True)
class SearchOptions:
    """What a user says about where libraries are."""

    library_path: tuple[Path, ...] = ()  # as LD_LIBRARY_PATH
    sysroot: Path | None = None

    @classmethod
    def from_environment(
        cls, library_path: tuple[Path, ...] = (), sysroot: Path | None = None
    ) -> SearchOptions:
        """The options and LD_LIBRARY_PATH, which the loader would honour too (not below a sysroot)."""
        inherited = os.environ.get("LD_LIBRARY_PATH", "") if sysroot is None else ""
        folders = [Path(part or ".") for part in inherited.replace(";", ":").split(":")] if inherited else []
        return cls((*library_path, *folders), sysroot)


@dataclass(frozen=True)
class Found:
    """A library's file, and which rule found it."""

    path: Path
    how: str  # path, rpath, library-path, runpath, cache, default


@dataclass
class Search:
    """One search order, its folders and cache read once."""

    options: SearchOptions = field(default_factory=SearchOptions)
    _in_folder: dict[tuple[object, ...], Path | None] = field(default_factory=dict, repr=False)
    _asked: dict[tuple[object, ...], Found | None] = field(default_factory=dict, repr=False)
    _expanded: dict[tuple[object, ...], list[Path]] = field(default_factory=dict, repr=False)

    def find(
        self, name: str, requester: ElfObject, loaders: tuple[ElfObject, ...], libc: str = GLIBC
    ) -> Found | None:
        """The file that ``requester`` gets for its NEEDED entry ``name``.

        ``loaders`` are the objects that led to the requester, the nearest first and the program last.
        """
        if libc == MUSL or not requester.runpath:
            loaders = tuple(one for one in loaders if one.rpath or (libc == MUSL and one.runpath))
        else:
            loaders = ()  # theirs don't count
        key = (name, requester, loaders, libc)
        if key not in self._asked:
            self._asked[key] = self._find(name, requester, loaders, libc)
        return self._asked[key]

    def _find(
        self, name: str, requester: ElfObject, loaders: tuple[ElfObject, ...], libc: str
    ) -> Found | None:
        if "\0" in name or not name:
            return None
        if "/" in name:
            inside = self._fitting(self.rooted(name) if name.startswith("/") else Path(name), requester)
            return Found(inside, "path") if inside else None
        order = self._musl_order if libc == MUSL else self._glibc_order
        for how, folders in order(requester, loaders):
            if how == "cache":
                cached = self._cached(name, requester)
                if cached is not None:
                    return Found(cached, how)
            for folder in folders:
                there = self._in(folder, name, requester)
                if there is not None:
                    return Found(there, how)
        return None

    def _glibc_order(
        self, requester: ElfObject, loaders: tuple[ElfObject, ...]
    ) -> Iterator[tuple[str, list[Path]]]:
        if not requester.runpath:
            # RPATH counts for all that an object leads to, unless the object has a RUNPATH itself
            for origin in (requester, *loaders):
                if origin.rpath and not origin.runpath:
                    yield "rpath", self.expand(origin.rpath, origin)
        yield "library-path", list(self.options.library_path)
        yield "runpath", self.expand(requester.runpath, requester)
        yield "cache", []
        if not requester.flags_1 & DF_1_NODEFLIB:
            yield "default", self.default_folders(requester)

    def _musl_order(
        self, requester: ElfObject, loaders: tuple[ElfObject, ...]
    ) -> Iterator[tuple[str, list[Path]]]:
        yield "library-path", list(self.options.library_path)
        for origin in (requester, *loaders):
            how = "runpath" if origin.runpath else "rpath"
            yield how, self.expand(origin.runpath or origin.rpath, origin)
        arch = platform_of(requester.abi).musl
        yield "default", read_musl_path(self.rooted(f"/etc/ld-musl-{arch}.path"), self.rooted)

    def expand(self, entries: tuple[str, ...], origin: ElfObject) -> list[Path]:
        """RPATH or RUNPATH entries as folders, ``$ORIGIN``, ``$LIB`` and ``$PLATFORM`` filled in."""
        key = (entries, origin)
        if key not in self._expanded:
            names = platform_of(origin.abi)
            below = f"lib/{names.multiarch}"
            values = {
                "ORIGIN": str(origin.path.parent),  # objects are read by their real paths
                "LIB": below if names.multiarch and self.rooted(f"/{below}").is_dir() else names.lib,
                "PLATFORM": names.platform,
            }
            folders = []
            for entry in entries:
                text = _TOKEN.sub(lambda found: values[found[1] or found[2]], entry)
                own = "ORIGIN" in entry or not text.startswith("/")
                folders.append(Path(text or ".") if own else self.rooted(text))
            self._expanded[key] = folders
        return self._expanded[key]

    def rooted(self, text: str) -> Path:
        """An absolute path of the system that the files are for, on this one."""
        root = self.options.sysroot
        return root / text.lstrip("/") if root is not None else Path(text)

    def _in(self, folder: Path, name: str, requester: ElfObject) -> Path | None:
        key = (folder, name, requester.abi)
        if key not in self._in_folder:
            hwcaps = platform_of(requester.abi).hwcaps if (folder / "glibc-hwcaps").is_dir() else ()
            inner = [folder / "glibc-hwcaps" / level for level in hwcaps]
            fitting = (self._fitting(place / name, requester) for place in (*inner, folder))
            self._in_folder[key] = next((path for path in fitting if path is not None), None)
        return self._in_folder[key]

    def _fitting(self, path: Path, requester: ElfObject) -> Path | None:
        """``path`` if it is for the requester's machine; an object of another one is passed over."""
        if self.options.sysroot is not None:
            for _ in range(_MAX_LINKS):
                if not path.is_symlink():
                    break
                target = str(path.readlink())
                # an absolute link of the other system leads into the sysroot, not to this machine's files
                path = self.rooted(target) if target.startswith("/") else path.parent / target
        return path if abi_of(path) == requester.abi else None

    def default_folders(self, requester: ElfObject) -> list[Path]:
        """The folders of ld.so.conf (where there is no cache) and the loader's own."""
        names = platform_of(requester.abi)
        below = [f"lib/{names.multiarch}"] if names.multiarch else []
        below += [names.lib, *names.other_libs, "lib"]
        own = [self.rooted(f"{top}/{name}") for name in dict.fromkeys(below) for top in ("", "/usr")]
        return [*(() if self._cache else self._configured), *own]

    @cached_property
    def _configured(self) -> list[Path]:
        return list(read_conf(self.rooted("/etc/ld.so.conf"), self.rooted))

    def _cached(self, name: str, requester: ElfObject) -> Path | None:
        for text in self._cache.get(name, ()):
            path = Path(text)
            if requester.flags_1 & DF_1_NODEFLIB and path.parent in self.default_folders(requester):
                continue
            if self._fitting(path, requester):
                return path
        return None

    @cached_property
    def _cache(self) -> dict[str, tuple[str, ...]]:
        if self.options.sysroot is not None:
            return {}  # its cache holds this machine's view of it, if any
        return read_cache(read_file(Path("/etc/ld.so.cache")))
