"""Where a loader looks for a library, without running it: glibc's order (ld.so(8)) and musl's.

glibc: RPATH of the requester and of all that led to it (unless the requester has a RUNPATH),
LD_LIBRARY_PATH, the requester's RUNPATH, ld.so.cache, default folders (elf/dl-load.c). musl:
LD_LIBRARY_PATH, then RUNPATH or RPATH of the requester and of all that led to it, then its list
(ldso/dynlink.c, load_library). Android's is here as far as it goes without namespaces.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from patcher.base.errors import UsageError
from patcher.symbols.elf import DF_1_NODEFLIB, ElfObject, start_of
from patcher.symbols.ldconfig import Cache, read_conf, read_file, read_musl_path
from patcher.symbols.places import Places
from patcher.symbols.platforms import platform_of, runs_here

GLIBC, MUSL, BIONIC = "glibc", "musl", "bionic"
_EARLY = (MUSL, BIONIC)  # whose loaders stop at the first file of a name, whatever it is

_NO_PLACES: Mapping[ElfObject, str] = {}
_NOTHING: Mapping[str, Path | None] = MappingProxyType({})


class SearchOptions(NamedTuple):
    """What a user says about where libraries are."""

    library_path: tuple[Path, ...] = ()  # as LD_LIBRARY_PATH
    sysroot: Path | None = None
    preload: tuple[str, ...] = ()  # as LD_PRELOAD
    assumed: Mapping[str, Path | None] = _NOTHING  # soname -> the file that stands for it; None: any symbols

    @classmethod
    def from_environment(
        cls, library_path: tuple[Path, ...] = (), sysroot: Path | None = None
    ) -> SearchOptions:
        """The options, and what the loader would honour, too: LD_LIBRARY_PATH, LD_PRELOAD (no sysroot's).

        Raises :class:`UsageError` for a folder that is named and isn't there.
        """
        for option, folder in [("--library-path", one) for one in library_path] + [("--sysroot", sysroot)]:
            if folder is not None and not folder.is_dir():
                there = "a file" if folder.exists() else "nothing"
                raise UsageError(
                    f"{option} {folder}: looked for a folder, found {there}",
                    hint="check how the path is spelled",
                )
        if sysroot is not None:
            return cls(library_path, sysroot)
        inherited = os.environ.get("LD_LIBRARY_PATH", "")
        folders = [Path(part or ".") for part in inherited.replace(";", ":").split(":")] if inherited else []
        preload = os.environ.get("LD_PRELOAD", "").replace(":", " ").split()
        return cls((*library_path, *folders), sysroot, tuple(preload))


class _Asker(NamedTuple):
    """Who asks, or led to who asks; and the folder that it was found in, where that isn't its real one."""

    item: ElfObject
    place: str


class Found(NamedTuple):
    """A library's file, and which rule found it. ``why``: the loader finds it and stops at it."""

    path: str
    how: str  # path, rpath, library-path, runpath, cache, default, assumed
    why: str = ""
    place: str = ""  # the folder that it was found in, links unresolved


class SearchPlace(NamedTuple):
    """One place where a loader looks. ``owner`` has the RPATH or RUNPATH that names it."""

    how: str
    owner: ElfObject | None
    place: str  # a folder, or the file that the cache names
    outcome: str  # "taken", "no such file", or why the file there is passed over or refused


_Rule = tuple[str, "ElfObject | None", list[str]]  # how, whose path it is, the folders


class Search:
    """One search order, its folders and cache read once."""

    def __init__(self, options: SearchOptions | None = None) -> None:
        self.options = options or SearchOptions()
        self.places = Places(self.options.sysroot)
        self._asked: dict[tuple[object, ...], Found | None] = {}

    def find(
        self,
        name: str,
        requester: ElfObject,
        loaders: tuple[ElfObject, ...],
        libc: str = GLIBC,
        places: Mapping[ElfObject, str] = _NO_PLACES,
    ) -> Found | None:
        """The file that ``requester`` gets for its NEEDED entry ``name``.

        ``loaders`` are the objects that led to the requester, the nearest first and the program last.
        ``places`` are the folders in which objects were found, for ``$ORIGIN``: loaders take it from the
        path that they searched for, links in it unresolved. Without one it is the real folder.
        """
        askers = self._askers(requester, loaders, libc, places)
        key = (name, askers, libc)
        if key not in self._asked:
            self._asked[key] = self._find(name, requester, askers, libc)
        return self._asked[key]

    def steps(
        self,
        name: str,
        requester: ElfObject,
        loaders: tuple[ElfObject, ...],
        libc: str = GLIBC,
        places: Mapping[ElfObject, str] = _NO_PLACES,
    ) -> list[SearchPlace]:
        """Every place where :meth:`find` looks, in its order, up to the one that ends the search."""
        steps: list[SearchPlace] = []
        self._find(name, requester, self._askers(requester, loaders, libc, places), libc, steps)
        return steps

    @staticmethod
    def _askers(
        requester: ElfObject, loaders: tuple[ElfObject, ...], libc: str, places: Mapping[ElfObject, str]
    ) -> tuple[_Asker, ...]:
        if libc == MUSL or not requester.runpath:
            # musl's own folders go by the program's interpreter, so the program is always one
            loaders = tuple(
                one
                for number, one in enumerate(loaders, 1)
                if one.rpath or (libc == MUSL and (one.runpath or number == len(loaders)))
            )
        else:
            loaders = ()  # theirs don't count
        return tuple([_Asker(one, places.get(one, "")) for one in (requester, *loaders)])

    def _find(
        self,
        name: str,
        requester: ElfObject,
        askers: tuple[_Asker, ...],
        libc: str,
        steps: list[SearchPlace] | None = None,
    ) -> Found | None:
        if "\0" in name or not name:
            return None
        stands = self.options.assumed.get(name)
        if stands is not None:
            return self._told(Found(str(stands), "assumed"), None, str(stands), steps)
        if "/" in name:
            path = self.places.placed(name) if name.startswith("/") else name
            seen = self.places.look(path, requester, early=libc in _EARLY)
            if seen is None:
                return None
            return self._told(Found(seen[0], "path", seen[1], _folder(path)), None, path, steps)
        order = {MUSL: self._musl_order, BIONIC: self._bionic_order}.get(libc, self._glibc_order)
        for how, owner, folders in order(askers):
            if how == "cache":
                for path in self._cached(name, requester):
                    seen = self.places.look(path, requester, early=libc in _EARLY)
                    if seen is not None:
                        return self._told(Found(seen[0], how, seen[1], _folder(path)), owner, path, steps)
                    if steps is not None:
                        steps.append(SearchPlace(how, owner, path, self.places.why_passed(path, requester)))
            for folder in folders:
                if steps is not None:
                    steps += self._passed_in(folder, name, requester, libc, how, owner)
                there = self.places.find(folder, name, requester, early=libc in _EARLY)
                if there is not None:
                    found = Found(there[0], how, *there[1:])
                    return self._told(found, owner, found.place, steps)
        return None

    @staticmethod
    def _told(found: Found, owner: ElfObject | None, place: str, steps: list[SearchPlace] | None) -> Found:
        if steps is not None:
            steps.append(SearchPlace(found.how, owner, place, found.why or "taken"))
        return found

    def _passed_in(
        self, folder: str, name: str, requester: ElfObject, libc: str, how: str, owner: ElfObject | None
    ) -> list[SearchPlace]:
        """The places in a folder that are looked at and have nothing for the requester."""
        passed = []
        for place in (*self.places.levels(folder, requester.abi), folder):
            if self.places.look(f"{place}/{name}", requester, early=libc in _EARLY) is not None:
                break
            passed.append(
                SearchPlace(how, owner, place, self.places.why_passed(f"{place}/{name}", requester))
            )
        return passed

    def _glibc_order(self, askers: tuple[_Asker, ...]) -> Iterator[_Rule]:
        requester, place = askers[0]
        if not requester.runpath:
            # RPATH counts for all that an object leads to, unless the object has a RUNPATH itself
            for origin, there in askers:
                if origin.rpath and not origin.runpath:
                    yield "rpath", origin, self.places.expand(origin.rpath, origin, there)
        yield "library-path", None, [str(folder) for folder in self.options.library_path]
        yield "runpath", requester, self.places.expand(requester.runpath, requester, place)
        yield "cache", None, []
        if not requester.flags_1 & DF_1_NODEFLIB:
            yield "default", None, self.default_folders(requester)

    def _musl_order(self, askers: tuple[_Asker, ...]) -> Iterator[_Rule]:
        yield "library-path", None, [str(folder) for folder in self.options.library_path]
        for origin, place in askers:
            how = "runpath" if origin.runpath else "rpath"
            yield how, origin, self.places.expand_for_musl(origin.runpath or origin.rpath, origin, place)
        arch = platform_of(askers[0].item.abi).musl
        interpreter = askers[-1].item.interpreter or ""
        prefix = interpreter.rpartition("/")[0].rpartition("/")[0] if interpreter.startswith("/") else ""
        path = self.places.rooted(f"{prefix}/etc/ld-musl-{arch}.path")
        yield "default", None, [str(folder) for folder in read_musl_path(path, self.places.rooted)]

    def _bionic_order(self, askers: tuple[_Asker, ...]) -> Iterator[_Rule]:
        """Android's, without its namespaces: RPATH counts for nothing (linker.cpp, open_library)."""
        requester, place = askers[0]
        yield "library-path", None, [str(folder) for folder in self.options.library_path]
        yield "runpath", requester, self.places.expand(requester.runpath, requester, place)
        below = "lib64" if requester.bits == 64 else "lib"
        tops = ("/system", "/odm", "/vendor", "/apex/com.android.runtime", "/apex/com.android.art")
        folders = [f"{top}/{below}" for top in tops]
        folders.insert(4, f"/apex/com.android.runtime/{below}/bionic")
        yield "default", None, [self.places.placed(folder) for folder in folders]

    def interpreter_problem(self, item: ElfObject) -> str:
        """Why the kernel can't start a program with the interpreter that it names; "" where it can.

        For a program of another machine that is checked without a sysroot nobody can tell.
        """
        name = item.interpreter
        if name is None or (self.options.sysroot is None and not runs_here(item.abi)):
            return ""
        start = start_of(self.places.inside(self.places.placed(name) if name.startswith("/") else name))
        if start is None:
            return "there is no such file"
        if start.abi is None:
            return start.why
        return "" if start.abi == item.abi else "it is for another machine"

    def default_folders(self, requester: ElfObject) -> list[str]:
        """The folders of ld.so.conf (where there is no cache) and the loader's own."""
        names = platform_of(requester.abi)
        below = [f"lib/{names.multiarch}"] if names.multiarch else []
        below += [names.lib, *names.other_libs, "lib"]
        own = [self.places.placed(f"{top}/{name}") for name in dict.fromkeys(below) for top in ("", "/usr")]
        return [*(() if self._cache else self._configured), *own]

    @cached_property
    def preload(self) -> tuple[str, ...]:
        """What is loaded into every program: LD_PRELOAD and ``/etc/ld.so.preload``."""
        path = self.places.rooted("/etc/ld.so.preload")
        text = read_file(path).decode("utf-8", "surrogateescape").replace(":", " ")
        lines = (line.partition("#")[0] for line in text.splitlines())
        return (*self.options.preload, *(name for line in lines for name in line.split()))

    @cached_property
    def _configured(self) -> list[str]:
        return [
            str(folder) for folder in read_conf(self.places.rooted("/etc/ld.so.conf"), self.places.rooted)
        ]

    def _cached(self, name: str, requester: ElfObject) -> Iterator[str]:
        for path in self._cache.get(name):
            own = requester.flags_1 & DF_1_NODEFLIB
            if not (own and path.rpartition("/")[0] in self.default_folders(requester)):
                yield path

    @cached_property
    def _cache(self) -> Cache:
        if self.options.sysroot is not None:
            return Cache(b"")  # its cache holds this machine's view of it, if any
        return Cache(read_file(Path("/etc/ld.so.cache")))


def _folder(path: str) -> str:
    return path.rpartition("/")[0] if "/" in path else "."
