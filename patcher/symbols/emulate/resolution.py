"""The symbol table that a linker builds while it goes along the line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from patcher.symbols.elf import ElfObject
from patcher.symbols.emulate.archives import Archives
from patcher.symbols.emulate.binding import Bindings
from patcher.symbols.emulate.collect import sections
from patcher.symbols.emulate.commandline import LinkLine
from patcher.symbols.emulate.linkers import Bound, Libraries, Linker
from patcher.symbols.emulate.names import OWN, Key, ObjectUse, UndefinedName, defines, linker_own
from patcher.symbols.emulate.operands import Input
from patcher.symbols.relocatable import Unit, weak_exports


@dataclass
class Table:
    """What is wanted and what is defined."""

    linker: Linker
    line: LinkLine
    wanted: dict[Key, UndefinedName] = field(default_factory=dict)
    objects: dict[str, bool] = field(default_factory=dict)  # defined by objects -> visible to libraries
    by_library: dict[Key, ElfObject] = field(default_factory=dict)
    libraries: list[ElfObject] = field(default_factory=list)
    sonames: set[str] = field(default_factory=set)
    needs_all: list[ElfObject] = field(default_factory=list)  # under --copy-dt-needed-entries
    units: list[Unit] = field(default_factory=list)  # that were taken in
    hidden: set[str] = field(default_factory=set)  # wanted by an object that says it is its own
    unexported: set[str] = field(default_factory=set)  # of a --defsym, and a script makes it local
    own_calls: dict[str, list[ObjectUse]] = field(default_factory=dict)  # where it is defined, --wrap's
    bound: set[str] = field(default_factory=set)  # wanted by a library before an object said it is its own
    shadowed: set[str] = field(default_factory=set)  # defined by an object, and by a library behind it
    dropped: dict[str, ElfObject] = field(default_factory=dict)  # --as-needed, by soname
    bindings: Bindings = field(init=False)
    archives: Archives = field(init=False)
    followed: list[ElfObject] = field(default_factory=list)  # not on the line, needed by what is
    lto: bool = False

    def __post_init__(self) -> None:
        self.bindings = Bindings(self.linker.bound_by)
        self.archives = Archives(self.linker, self.line)

    def take(self, parts: list[Input]) -> None:
        """Go along the line."""
        self.bindings.ask(self.line.asked_for)
        if self.linker.archives_by_rank:
            self.archives.ended = True
            self._by_rank(parts)
            return
        lazy = self.archives.lazy
        for number, part in enumerate(parts):
            self.archives.at, group = part.operand.at, part.operand.group
            is_last = number + 1 == len(parts) or parts[number + 1].operand.group != group
            is_lazy = part.archive and not part.operand.whole_archive
            if part.library is not None:
                self._library(part, part.library)
            elif is_lazy:
                self.archives.offer(
                    part, lambda name: (name, None) in self.by_library and name not in self.hidden
                )
            else:
                for unit in part.units:
                    self.unit(unit, excluded=self.archives.excluded(part))
            if not self.linker.archives_in_order:
                self._extract(lazy)
            elif group and is_last and (is_lazy or not part.archive):
                # at the end of a group all of its archives are gone through again
                self._extract(
                    [one for one in parts[: number + 1] if one.archive and one.operand.group == group]
                )
            elif is_lazy:
                self._extract([part])
        self._at_end()

    def _at_end(self) -> None:
        """What a --defsym names is looked for in archives when all else was read."""
        self.archives.ended = True
        if not self.linker.archives_in_order:
            self._extract(self.archives.lazy)

    def extract_late(self, names: set[str]) -> None:
        """Take the members that have ``names``, too, where the order of the line doesn't matter."""
        self.archives.late = names
        self._extract(self.archives.lazy)

    def _by_rank(self, parts: list[Input]) -> None:
        """All objects and libraries, then of what is lazy what serves: a strong definition, and the first."""
        lazy = [part for part in parts if part.archive and not part.operand.whole_archive]
        spare = [part for part in parts if part.library is not None and part.operand.as_needed]
        self.archives.rank(parts, lazy)
        for part in parts:
            if part.library is None and part not in lazy:
                for unit in part.units:
                    self.unit(unit, excluded=self.archives.excluded(part))
        for part in parts:
            if part.library is not None and part not in spare:
                self._library(part, part.library)
        count = -1
        while count != len(self.units) + len(self.libraries):
            count = len(self.units) + len(self.libraries)
            self._extract(lazy)
            serving = {
                self.archives.first.get(key[0])
                for key, wanted in self.wanted.items()
                if wanted.hard and key[0] not in self.objects
            }
            for part in spare:
                if id(part) in serving and part.library is not None:
                    self._library(part, part.library)

    def _extract(self, archives: list[Input]) -> None:
        """Take the members that define what is wanted, until there is none more."""
        taken: set[int] = set()
        again = True
        while again:
            again = False
            for number, archive in enumerate(archives):
                for unit in archive.units:
                    if id(unit) in taken or not self._serves(unit, number):
                        continue
                    taken.add(id(unit))
                    self.unit(unit, excluded=self.archives.excluded(archive))
                    again = True

    def _serves(self, unit: Unit, number: int) -> bool:
        self.lto = self.lto or unit.lto
        for symbol in unit.symbols:
            if symbol.defined and not symbol.local:
                name = symbol.name.decode("utf-8", "surrogateescape")
                wanted = self.wanted.get((name, None))
                asked = self.archives.asked(name)
                hard = wanted is not None and (
                    self.bindings.strongly[name]
                    or (self.linker.archives_by_rank and any(one for _, one in wanted.users))
                )
                if not asked and not hard:
                    continue
                if self.linker.archives_by_rank:
                    if name not in self.objects and self.archives.first.get(name) == id(unit):
                        return True
                elif not self.defined(symbol.name) and self.archives.lost.get(name, 0) <= number:
                    return True
        return False

    def defined(self, name: bytes) -> bool:
        """Whether anything, visible or not, defines a name without a version."""
        text = name.decode("utf-8", "surrogateescape")
        undone = self.linker.hidden_wins and text in self.hidden
        return text in self.objects or ((text, None) in self.by_library and not undone)

    def unit(self, unit: Unit, *, excluded: bool) -> None:
        """Take one object file in."""
        self.lto = self.lto or unit.lto
        number = len(self.units)
        self.units.append(unit)
        if self.linker.wraps_definers and self.line.wrapped:
            self._wrap_own(number, unit)
        for symbol in unit.symbols:
            if symbol.local:
                continue
            name = symbol.name.decode("utf-8", "surrogateescape")
            if symbol.hidden:
                self.hidden.add(name if symbol.defined or self.linker.wraps_late else self.meant(name))
            if symbol.defined:
                self.bindings.define(name, weak=symbol.weak, first=name not in self.objects)
                visible = not symbol.hidden and not excluded
                self.objects[name] = visible and self.objects.get(name, True)
            else:
                key = (name if self.linker.wraps_late else self.meant(name), None)
                self._want(key, symbol.weak, unit.path, None)
                use = ObjectUse(number, symbol.name, symbol.weak, symbol.hidden)
                self.wanted[key].objects.append(use)

    def _wrap_own(self, number: int, unit: Unit) -> None:
        """What an object calls of its own under a name that is wrapped."""
        part = sections(unit)
        for symbol in unit.symbols if part is not None else ():
            name = symbol.name.decode("utf-8", "surrogateescape")
            if part is None or symbol.local or not symbol.defined or name not in self.line.wrapped:
                continue
            if any(symbol.name in leads for leads in part.leads.values()):
                self.own_calls.setdefault(name, []).append(ObjectUse(number, symbol.name, False, False))

    def meant(self, name: str) -> str:
        """What a reference means under ``--wrap``: the wrapper, or the real one that a wrapper calls."""
        if name in self.line.wrapped:
            return f"__wrap_{name}"
        real = name.removeprefix("__real_")
        return real if real != name and real in self.line.wrapped else name

    def _want(self, key: Key, weak: bool, path: Path, library: ElfObject | None) -> None:
        if key[1] is None:
            is_library = library is not None
            self.bindings.mention(key[0], weak=weak, library=is_library, offered=self.archives.offered)
        self.note_user(key, weak, path, library)

    def reached(self, number: int, name: bytes) -> bytes:
        """The name whose definition a reference of the unit with that number reaches in the end."""
        own = any(one.name == name and one.defined for one in self.units[number].symbols)
        if own and not self.linker.wraps_definers:
            return name
        text = self.meant(name.decode("utf-8", "surrogateescape"))
        return self.aliased(text).encode("utf-8", "surrogateescape")

    def aliased(self, name: str) -> str:
        """What a --defsym calls ``name``, where the linker goes by that."""
        return self.line.aliases.get(name, name) if self.linker.follows_aliases else name

    def note_user(self, key: Key, weak: bool, path: Path, library: ElfObject | None) -> None:
        """Note that a file wants ``key``, which says nothing of how it is bound."""
        wanted = self.wanted.setdefault(key, UndefinedName())
        wanted.hard = wanted.hard or not weak
        for users in (wanted.users, *([] if weak else [wanted.strong_users])):
            if not users or users[-1][0] != path:
                users.append((path, library))

    def _library(self, part: Input, library: ElfObject) -> None:
        name = library.soname or part.operand.text
        if self.linker.drops_unneeded and part.operand.as_needed and not self._needed(library):
            self.dropped[name] = library
            return
        if part.operand.copy_needed:
            self.needs_all.append(library)
        if name not in self.sonames:
            self.sonames.add(name)
            self.library(library)

    def _needed(self, library: ElfObject) -> bool:
        return any(
            wanted.hard
            and key not in self.by_library
            and key[0] not in self.objects
            and key[0] not in self.line.defined
            and key[0] not in self.hidden
            and key in defines(library)
            for key, wanted in self.wanted.items()
        )

    def library(self, library: ElfObject) -> None:
        """Take one shared library in."""
        self.libraries.append(library)
        weakly = weak_exports(library.path) if self.linker.bound_by is Bound.OBJECTS else set[bytes]()
        for key in defines(library):
            self.by_library.setdefault(key, library)
            if key[0] in self.objects:
                self.shadowed.add(key[0])
            if key[1] is None:
                self.bindings.export(key[0], weak=key[0].encode("utf-8", "surrogateescape") in weakly)
            if not self.linker.archives_in_order and key[0] not in self.hidden:
                self.archives.lose(key[0])
        self._references(library)

    def indirect(self, library: ElfObject) -> None:
        """Take in a library that is not on the line: what it wants counts, what it defines is no object's."""
        self.followed.append(library)
        self._references(library)

    def _references(self, library: ElfObject) -> None:
        for one in library.references:
            if one.version is not None or one.name not in OWN:
                wrapped = self.linker.wraps_libraries and one.version is None
                name = self.meant(one.name) if wrapped else one.name
                self._want((name, one.version), one.weak, library.path, library)
                if name not in self.hidden:
                    self.bound.add(name)

    @property
    def dynamic(self) -> bool:
        """Whether bfd makes an output that exports: of objects alone it makes a static program."""
        return bool(self.libraries) or self.line.pie or self.line.shared

    def own(self, name: str) -> bool:
        """Whether the linker defines ``name`` itself, or takes it for granted."""
        return linker_own(name) or name in self.linker.granted

    def serves_library(self, key: Key) -> bool | None:
        """Whether a library that wants ``key`` gets it; None where it is there and not exported."""
        name, version = key
        if key in self.by_library or (version is None and self.own(name)):
            return True
        if name in self.line.defined:
            return None if name in self.hidden | self.unexported else True
        if version is None and name in self.objects:
            return True if self.objects[name] and name not in self.hidden else None
        return self.linker.asking_is_enough and name in self.line.asked_for


def asks(linker: Linker, table: Table) -> set[ElfObject]:
    """The libraries on the line whose own references are looked at."""
    known = {library for library in table.libraries if all(name in table.sonames for name in library.needed)}
    if linker.libraries is Libraries.NONE:
        return set()
    if linker.libraries is Libraries.ALL_KNOWN:
        return known if len(known) == len(set(table.libraries)) else set()
    return known if linker.libraries is Libraries.KNOWN else set(table.libraries)
