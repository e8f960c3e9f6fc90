"""No undefined symbol remains, said by other code; and where the two readers differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple

from patcher.symbols.elf import ElfObject
from patcher.symbols.findings import SymbolFinding
from patcher.symbols.scope import Scope
from patcher.symbols.search import GLIBC, MUSL
from patcher.symbols.second.reading import ElfReading, UnreadableError, UsedSymbol, reading

REPORT = "please report it to the project, with the file if it may be shown"
_SOME = 3


class Agreement(NamedTuple):
    """What the second reader says: files that it read, and where the first says otherwise."""

    objects: int
    disagreements: tuple[SymbolFinding, ...]


def prove(
    scopes: Iterable[Scope], given: Iterable[ElfObject], lacking: Iterable[tuple[str, str]]
) -> Agreement:
    """Read every file of the scopes again and ask the question again.

    ``given`` are the files whose readings are compared member by member, ``lacking`` file and symbol of all
    that the first reader says is lacking in those scopes.
    """
    second = _Second()
    told: list[SymbolFinding] = []
    for item in given:
        told += second.compared(item)
    scopes = list(scopes)
    ours = {(path, symbol) for path, symbol in lacking if not symbol.startswith("@")}
    theirs: set[tuple[str, str]] = set()
    for scope in scopes:
        for item, wanted in second.lacking(scope):
            theirs.add((str(item.path), f"{wanted.name}@{wanted.version}" if wanted.version else wanted.name))
    for path, symbol in sorted(ours ^ theirs):
        first, other = ("lacks", "has") if (path, symbol) in ours else ("has", "lacks")
        detail = f"the fast reader says that {Path(path).name} {first} it, pyelftools that it {other} it"
        told.append(_disagreement(path, symbol, detail))
    return Agreement(len(second.read), tuple(told))


def differences(item: ElfObject, theirs: ElfReading) -> Iterator[SymbolFinding]:
    """Where the fast reading of one file, and another's, differ."""
    path = str(item.path)
    for what, ours, other in (
        ("soname", item.soname, theirs.soname), ("NEEDED", item.needed, theirs.needed),
        ("RPATH", item.rpath, theirs.rpath), ("RUNPATH", item.runpath, theirs.runpath),
        ("versions", item.versions, theirs.versions),
        ("wanted versions", {tuple(one) for one in item.wants}, set(theirs.wants)),
    ):  # fmt: skip
        if ours != other:
            yield _disagreement(path, what, f"{what}: the fast reader says {ours!r}, pyelftools {other!r}")
    wanted = {UsedSymbol(one.name, one.weak, one.version, one.file) for one in item.references}
    yield from _differing(path, "wants", wanted, set(theirs.references))
    exported = {(name, one.version, one.hidden) for name in item.exports for one in item.exports.of(name)}
    other_exports = {(name, *one) for name, every in theirs.definitions.items() for one in every}
    yield from _differing(path, "defines", exported, other_exports)


def _disagreement(path: str, symbol: str, detail: str) -> SymbolFinding:
    return SymbolFinding("readers-disagree", symbol, path, (Path(path).name,), detail, REPORT, (path,))


class _Second:
    """Every file once, by pyelftools."""

    def __init__(self) -> None:
        self.read: dict[ElfObject, ElfReading | None] = {}

    def of(self, item: ElfObject) -> ElfReading | None:
        if item not in self.read:
            try:
                self.read[item] = reading(item.path)
            except UnreadableError:
                self.read[item] = None
        return self.read[item]

    def compared(self, item: ElfObject) -> Iterator[SymbolFinding]:
        """Where the two readings of one file differ."""
        theirs = self.of(item)
        if theirs is None:
            detail = "the fast reader takes it for a sound file, pyelftools can't read it"
            yield _disagreement(str(item.path), item.path.name, detail)
        else:
            yield from differences(item, theirs)

    def lacking(self, scope: Scope) -> Iterator[tuple[ElfObject, UsedSymbol]]:
        """What nothing that is loaded serves, as far as all that is needed is there."""
        chosen: Mapping[tuple[ElfObject, str], ElfObject] = scope.chosen
        defined: dict[str, list[tuple[ElfObject, str | None, bool]]] = {}
        for item in scope.objects:
            theirs = self.of(item)
            for name, every in theirs.definitions.items() if theirs is not None else ():
                defined.setdefault(name, []).extend((item, version, hidden) for version, hidden in every)
        by_name = {item.name: item for item in scope.objects}
        open_ends = self._open_ends(scope, chosen)
        for item in scope.objects:
            theirs = self.of(item)
            if theirs is None:
                continue
            gone = self._gone(scope, theirs, by_name)
            for wanted in theirs.references:
                if (wanted.file, wanted.version) in gone:
                    yield item, wanted
                elif not wanted.weak and item not in open_ends:
                    if not self._served(wanted, defined.get(wanted.name, ()), scope, by_name):
                        yield item, wanted
                elif wanted.weak and item not in open_ends and self._lost(wanted, defined, by_name, scope):
                    yield item, wanted

    def _gone(
        self, scope: Scope, theirs: ElfReading, by_name: Mapping[str, ElfObject]
    ) -> set[tuple[str | None, str | None]]:
        """Versions that the library that they are wanted from doesn't define any more."""
        gone: set[tuple[str | None, str | None]] = set()
        for file, version, weak in theirs.wants:
            there = by_name.get(file)
            library = self.of(there) if there is not None else None
            if scope.libc != GLIBC or library is None or not library.versions or weak:
                continue
            if version not in library.versions:
                gone.add((file, version))
        return gone

    def _open_ends(self, scope: Scope, chosen: Mapping[tuple[ElfObject, str], ElfObject]) -> set[ElfObject]:
        """Who leads, by its own NEEDED entries, to one that isn't there: nobody knows what it would bring."""
        leads: dict[ElfObject, set[ElfObject]] = {}
        ends: set[ElfObject] = set()
        for item in scope.objects:
            theirs = self.of(item)
            for name in theirs.needed if theirs is not None else ():
                there = chosen.get((item, name))
                if there is None:
                    ends.add(item)
                else:
                    leads.setdefault(there, set()).add(item)
        lost_company = not ends.isdisjoint(scope.company)
        todo = list(ends)
        while todo:
            for user in leads.get(todo.pop(), ()):
                if user not in ends:
                    ends.add(user)
                    todo.append(user)
        return ends | {item for item in scope.objects if item not in scope.company} if lost_company else ends

    def _served(
        self,
        wanted: UsedSymbol,
        definitions: Iterable[tuple[ElfObject, str | None, bool]],
        scope: Scope,
        by_name: Mapping[str, ElfObject],
    ) -> bool:
        every: dict[ElfObject, list[tuple[str | None, bool]]] = {}
        for item, version, hidden in definitions:
            every.setdefault(item, []).append((version, hidden))
        return any(self._fits(wanted, item, found, scope, by_name) for item, found in every.items())

    def _fits(
        self,
        wanted: UsedSymbol,
        item: ElfObject,
        found: list[tuple[str | None, bool]],
        scope: Scope,
        by_name: Mapping[str, ElfObject],
    ) -> bool:
        theirs = self.of(item)
        if theirs is None or not theirs.versioned:
            # glibc stops where the library that a version is wanted from has none any more
            asked = wanted.version is not None and wanted.file in (item.soname, item.path.name)
            return not (asked and scope.libc == GLIBC)
        if scope.libc == MUSL:
            return any(not hidden for _, hidden in found)
        if wanted.version is None:
            return True
        return any(version == wanted.version or (version is None and not hidden) for version, hidden in found)

    def _lost(
        self,
        wanted: UsedSymbol,
        defined: Mapping[str, list[tuple[ElfObject, str | None, bool]]],
        by_name: Mapping[str, ElfObject],
        scope: Scope,
    ) -> bool:
        """A weak reference whose library has lost its versions: glibc stops at that, too."""
        there = by_name.get(wanted.file or "")
        theirs = self.of(there) if there is not None else None
        if theirs is None or theirs.versioned or scope.libc != GLIBC or wanted.version is None:
            return False
        return any(item is there for item, _, _ in defined.get(wanted.name, ())) and not self._served(
            wanted, defined.get(wanted.name, ()), scope, by_name
        )


def _differing(
    path: str, what: str, ours: AbstractSet[object], theirs: AbstractSet[object]
) -> Iterator[SymbolFinding]:
    if ours == theirs:
        return
    some = ", ".join(repr(one) for one in sorted(ours ^ theirs, key=repr)[:_SOME])
    detail = (
        f"{what}: the fast reader finds {len(ours)} symbols, pyelftools {len(theirs)}; they differ in"
        f" {len(ours ^ theirs)}: {some}"
    )
    yield _disagreement(path, what, detail)
