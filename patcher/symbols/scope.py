"""What a program loads, in the order in which the loader searches it for symbols."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import NamedTuple

from patcher.symbols.elf import ET_EXEC, Definition, ElfObject, Reference, UnreadableElfError, read
from patcher.symbols.elf.constants import DF_1_PIE
from patcher.symbols.platforms import platform_of
from patcher.symbols.search import BIONIC, GLIBC, MUSL, Search

Loaders = tuple[ElfObject, ...]

# musl's own file stands for all of them (ldso/dynlink.c, reserved names)
_MUSL_OWN = ("libc.", "libpthread.", "librt.", "libm.", "libdl.", "libutil.", "libxnet.")


class Missing(NamedTuple):
    """A NEEDED entry that has no file, or (``why``) one at which the loader stops.

    ``assumed``: the user says that it will be there, its symbols unknown.
    """

    name: str
    requester: ElfObject
    why: str = ""
    assumed: bool = False


class Scope:
    """The objects of one root, breadth first (gABI: the global scope), and who led to whom."""

    def __init__(self, root: ElfObject, libc: str = GLIBC) -> None:
        self.root, self.libc = root, libc
        self.objects: list[ElfObject] = []
        self.parents: dict[ElfObject, ElfObject | None] = {}
        self.edges: dict[ElfObject, tuple[ElfObject, ...]] = {}
        self.found_by: dict[tuple[ElfObject, str], str] = {}  # (requester, soname) -> rule
        self.chosen: dict[tuple[ElfObject, str], ElfObject] = {}  # (requester, NEEDED) -> what it gets
        self.missing: list[Missing] = []
        self.preloaded: set[ElfObject] = set()
        self.company: frozenset[ElfObject] = frozenset()  # a plugin's hosts and what they load
        self.loaders: dict[ElfObject, Loaders] = {}  # who led to each, the nearest first
        self.places: dict[ElfObject, str] = {}  # of what was found through a link: the folder of the link

    def way(self, target: ElfObject) -> tuple[ElfObject, ...]:
        """The objects from the root to ``target``."""
        way: list[ElfObject] = []
        at: ElfObject | None = target
        while at is not None:
            way.append(at)
            at = self.parents.get(at)
        return tuple(reversed(way))

    def chain(self, target: ElfObject) -> tuple[str, ...]:
        """The names from the root to ``target``."""
        return tuple(item.name for item in self.way(target))

    def closure(self, start: ElfObject) -> frozenset[ElfObject]:
        """``start`` and all that it leads to by its own NEEDED entries, in this scope."""
        seen, todo = {start}, [start]
        while todo:
            for item in self.edges.get(todo.pop(), ()):
                if item not in seen:
                    seen.add(item)
                    todo.append(item)
        return frozenset(seen)


class Library:
    """Every file that was read, by its real place: each is read once."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self._by_real: dict[str, ElfObject] = {}
        self._by_path: dict[str, ElfObject] = {}

    def read(self, path: Path | str) -> ElfObject:
        """The object at ``path``, links followed. Raises :class:`UnreadableElfError`."""
        text = str(path)
        known = self._by_path.get(text)
        if known is None:
            real = os.path.realpath(self.search.places.inside(text))
            known = self._by_real.get(real)
            if known is None:
                known = self._by_real[real] = read(Path(real))
            self._by_path[text] = known
        return known

    def load(self, root: ElfObject, hosts: tuple[ElfObject, ...] = ()) -> Scope:
        """What is loaded with ``root``; a plugin's ``hosts`` and what they load come before it."""
        return _Loading(self, root, hosts).scope


class _Loading:
    """One run of the loader."""

    def __init__(self, library: Library, root: ElfObject, hosts: tuple[ElfObject, ...]) -> None:
        self.library = library
        self.scope = Scope(root, _libc(hosts[0] if hosts else root))
        self.by_name: dict[str, ElfObject] = {}
        self.places = self.scope.places
        self.todo: deque[ElfObject] = deque()
        # what a program opens may use its RPATH: glibc and musl ask it last (its RUNPATH: musl alone)
        main = tuple(one for one in hosts if one.executable)[:1]
        for start in dict.fromkeys((*hosts, root)):
            if start is root and hosts:
                self.scope.company = frozenset(self.scope.objects)
            if start not in self.scope.parents:
                self.add(start, None, () if start in hosts else main)
                if len(self.scope.objects) == 1:
                    self.preload(start)
            while self.todo:
                item = self.todo.popleft()
                got = {name: self.need(name, item, self.scope.loaders[item]) for name in item.needed}
                self.scope.chosen |= {(item, name): one for name, one in got.items() if one is not None}
                self.scope.edges[item] = tuple(one for one in got.values() if one is not None)

    def add(self, item: ElfObject, parent: ElfObject | None, loaders: Loaders) -> None:
        self.scope.objects.append(item)
        self.scope.parents[item] = parent
        self.scope.loaders[item] = loaders
        if self.scope.libc != MUSL:  # musl goes by the name under which it found a file, not by soname
            self.by_name.setdefault(item.name, item)
        self.todo.append(item)

    def preload(self, first: ElfObject) -> None:
        """What comes right behind the program (ld.so(8), LD_PRELOAD); what isn't found is passed over."""
        if not first.dynamic or (first.executable and first.interpreter is None):
            return  # a static program has no loader
        for name in self.library.search.preload:
            item = self.need(name, first, ())
            if item is not None:
                self.scope.preloaded.add(item)
        self.scope.missing.clear()

    def need(self, name: str, requester: ElfObject, loaders: Loaders) -> ElfObject | None:
        scope = self.scope
        own = scope.libc == MUSL and name.startswith(_MUSL_OWN)
        key = "libc.so" if own else name
        known = self.by_name.get(key)
        if known is not None:  # a soname that is loaded already is not searched for again
            scope.found_by[requester, name] = "loaded"
            return known
        search = self.library.search
        found = search.find(name, requester, loaders, scope.libc, self.places)
        if found is None and own:  # musl's loader is its C library, by whatever name
            arch = platform_of(requester.abi).musl
            found = search.find(f"/lib/ld-musl-{arch}.so.1", requester, (), scope.libc)
        if found is None:
            scope.missing.append(Missing(name, requester, assumed=name in search.options.assumed))
            return None
        if found.why:
            scope.missing.append(Missing(name, requester, f"{found.path}: {found.why}"))
            return None
        try:
            item = self.library.read(found.path)
        except UnreadableElfError as why:
            scope.missing.append(Missing(name, requester, str(why)))
            return None
        if scope.libc == GLIBC and is_program(item):
            why_not = f"{item.path}: it is a program, and glibc's loader takes none for a library"
            scope.missing.append(Missing(name, requester, why_not))
            return None
        scope.found_by[requester, name] = found.how
        self.by_name[key] = item
        if item not in scope.parents:
            folder = found.place or found.path.rpartition("/")[0]
            if folder and folder != str(item.path.parent):
                self.places[item] = folder
            self.add(item, requester, (requester, *loaders))
        return item


def is_program(item: ElfObject) -> bool:
    """Whether glibc says "cannot dynamically load [position-independent] executable" (2.26, 2.30)."""
    return item.type == ET_EXEC or bool(item.flags_1 & DF_1_PIE)


def _libc(root: ElfObject) -> str:
    """Whose loader would load it: the interpreter tells, or the name of the C library that it needs."""
    if root.interpreter is not None:
        android = root.interpreter.startswith("/system/bin/")
        return MUSL if "/ld-musl-" in root.interpreter else BIONIC if android else GLIBC
    if any(name.startswith("libc.musl-") for name in root.needed):
        return MUSL
    if "libc.so" in root.needed:  # glibc's is libc.so.6, always; musl has the other parts in it
        return BIONIC if {"libm.so", "libdl.so", "liblog.so"} & set(root.needed) else MUSL
    return GLIBC


def provides(definitions: tuple[Definition, ...], provider: ElfObject, wanted: Reference, libc: str) -> bool:
    """Whether a definition serves a reference, versions and all (glibc's elf/dl-lookup.c, check_match)."""
    if not provider.versioned:
        # glibc stops with "Inconsistency detected by ld.so" where the very library that the version is
        # wanted from has none; any other library's definition serves
        return bool(definitions) and (libc != GLIBC or not has_lost_versions(provider, wanted))
    if libc == MUSL:  # versions are not compared, definitions that are no default are passed over
        return any(not one.hidden for one in definitions)
    if wanted.version is not None:
        return any(
            one.version == wanted.version or (one.version is None and not one.hidden and not wanted.hidden)
            for one in definitions
        )
    # no version asked for: the base or the first one, or else the only one that is a default
    return any(one.number < 3 for one in definitions) or sum(not one.hidden for one in definitions) == 1


def has_lost_versions(provider: ElfObject, wanted: Reference) -> bool:
    """Whether ``provider`` had versions when it was linked against, and has none now."""
    return (
        wanted.version is not None
        and not provider.versioned
        and wanted.file in (provider.soname, provider.path.name)
    )
