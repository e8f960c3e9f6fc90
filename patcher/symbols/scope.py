"""What a program loads, in the order in which the loader searches it for symbols."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from patcher.symbols.elf import Definition, ElfObject, Reference, read
from patcher.symbols.search import Search


@dataclass(frozen=True)
class Missing:
    """A NEEDED entry for which no file was found."""

    name: str
    requester: Path


@dataclass
class Scope:
    """The objects of one root, breadth first (gABI: the global scope), and who led to whom."""

    root: ElfObject
    objects: list[ElfObject] = field(default_factory=list)
    parents: dict[Path, Path | None] = field(default_factory=dict)
    edges: dict[Path, list[ElfObject]] = field(default_factory=dict)
    found_by: dict[tuple[Path, str], str] = field(default_factory=dict)  # (requester, soname) -> rule
    missing: list[Missing] = field(default_factory=list)

    def chain(self, target: ElfObject) -> tuple[str, ...]:
        """The names from the root to ``target``."""
        names: list[str] = []
        at: Path | None = target.path
        by_path = {item.path: item for item in self.objects}
        while at is not None:
            names.append(by_path[at].name)
            at = self.parents.get(at)
        return tuple(reversed(names))

    @cached_property
    def providers(self) -> dict[str, list[ElfObject]]:
        """Name -> the objects that export it, in search order."""
        table: dict[str, list[ElfObject]] = {}
        for item in self.objects:
            for name in item.definitions:
                table.setdefault(name, []).append(item)
        return table

    def closure(self, start: ElfObject) -> frozenset[Path]:
        """``start`` and all that it leads to by its own NEEDED entries, in this scope."""
        seen, todo = {start.path}, [start]
        while todo:
            for item in self.edges.get(todo.pop().path, ()):
                if item.path not in seen:
                    seen.add(item.path)
                    todo.append(item)
        return frozenset(seen)


class Library:
    """Every file that was read, by its real place: each is read once."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self._objects: dict[Path, ElfObject] = {}

    def read(self, path: Path) -> ElfObject:
        """The object at ``path``, links followed. Raises :class:`UnreadableElfError`."""
        real = path.resolve()
        if real not in self._objects:
            self._objects[real] = read(real)
        return self._objects[real]

    def load(self, root: ElfObject, hosts: tuple[ElfObject, ...] = ()) -> Scope:
        """What is loaded with ``root``; a plugin's ``hosts`` and what they load come before it."""
        scope = Scope(root)
        by_name: dict[str, ElfObject] = {}
        todo: deque[tuple[ElfObject, tuple[ElfObject, ...]]] = deque()

        def add(item: ElfObject, parent: ElfObject | None, loaders: tuple[ElfObject, ...]) -> None:
            scope.objects.append(item)
            scope.parents[item.path] = parent.path if parent is not None else None
            by_name.setdefault(item.name, item)
            todo.append((item, loaders))

        for start in dict.fromkeys((*hosts, root)):
            if start.path in scope.parents:
                continue
            add(start, None, ())
            while todo:
                item, loaders = todo.popleft()
                for name in item.needed:
                    self._need(scope, by_name, name, item, loaders, add)
        return scope

    def _need(
        self,
        scope: Scope,
        by_name: dict[str, ElfObject],
        name: str,
        requester: ElfObject,
        loaders: tuple[ElfObject, ...],
        add: Callable[[ElfObject, ElfObject | None, tuple[ElfObject, ...]], None],
    ) -> None:
        edges = scope.edges.setdefault(requester.path, [])
        known = by_name.get(name)
        if known is not None:  # a soname that is loaded already is not searched for again
            edges.append(known)
            scope.found_by[requester.path, name] = "loaded"
            return
        found = self.search.find(name, requester, loaders)
        if found is None:
            scope.missing.append(Missing(name, requester.path))
            return
        item = self.read(found.path)
        scope.found_by[requester.path, name] = found.how
        by_name[name] = item
        edges.append(item)
        if item.path not in scope.parents:
            add(item, requester, (requester, *loaders))


def provides(definitions: tuple[Definition, ...], provider: ElfObject, wanted: Reference) -> bool:
    """Whether a definition serves a reference, versions and all (glibc's elf/dl-lookup.c, check_match)."""
    if not provider.versioned:
        return True
    if wanted.version is not None:
        return any(
            one.version == wanted.version or (one.index < 2 and not one.hidden and not wanted.hidden)
            for one in definitions
        )
    # no version asked for: the base or the first one, or else the only one that is a default
    return any(one.index < 3 for one in definitions) or sum(not one.hidden for one in definitions) == 1
