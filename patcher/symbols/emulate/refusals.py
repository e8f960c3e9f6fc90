"""What a linker refuses on one line: the symbols, who wants them, and why it minds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from patcher.symbols.elf import ElfObject, UnreadableElfError
from patcher.symbols.emulate.commandline import LinkLine
from patcher.symbols.emulate.linkers import Libraries, Linker
from patcher.symbols.emulate.operands import inputs
from patcher.symbols.emulate.resolution import Key, Table, Wanted, asks, defines, linker_own
from patcher.symbols.emulate.scripts import local_names
from patcher.symbols.scope import Library
from patcher.symbols.search import Search, SearchOptions


@dataclass(frozen=True)
class Refusal:
    """One complaint that ends the link. ``symbol`` is empty where it isn't about one."""

    symbol: str
    user: Path | None
    why: str
    unexported: bool = False


def refusals(line: LinkLine, linker: Linker, library: Library) -> list[Refusal]:
    """What ``linker`` would refuse; nothing where it would link."""
    strange = [name for name in line.options if name in linker.unknown_options]
    if strange:
        return [Refusal("", None, f"{linker.name} doesn't know {strange[0]}")]
    if line.relocatable:
        return []
    parts, missing = inputs(line, library)
    lost = [Refusal("", None, f"{linker.name} doesn't find {name}") for name in missing]
    if lost and not linker.goes_on:
        return lost
    table = Table(linker, line)
    table.take(parts)
    for name in local_names(line.version_script, table.objects):
        table.objects[name] = False
    found = [] if table.lto else _in_objects(table)
    indirect: dict[Key, ElfObject] = {}
    allowed = line.allow_in_libraries if line.allow_in_libraries is not None else line.shared
    if linker.libraries is Libraries.RECURSIVE and (not allowed or table.needs_all):
        indirect = _follow(table, library)
    if linker.libraries is Libraries.RECURSIVE:
        found = [one for one in found if not _copied(table, one, library)]
    if not allowed and not (line.ignore_in_libraries and linker.follows_unresolved):
        found += _in_libraries(table, indirect, {one.symbol for one in found})
    return lost if line.warn_only else [*lost, *found]


def _in_objects(table: Table) -> list[Refusal]:
    """Names that objects want: a program has to have them all, a library with -z defs, or hidden ones."""
    line, found = table.line, []
    if line.ignore_in_objects:
        return []
    for name in sorted(line.needed_by_defsym):
        known = name in table.objects or (name, None) in table.by_library or name in line.defined
        if not known and not linker_own(name):
            found.append(Refusal(name, None, "a --defsym names it, and nothing defines it"))
    for key, wanted in table.wanted.items():
        name = key[0]
        if not wanted.by_object or linker_own(name) or name in line.defined or name in table.objects:
            continue
        user = next(path for path, library in wanted.users if library is None)
        if key in table.hidden_wanted:
            found.append(Refusal(name, user, "wanted with hidden visibility, so no library can define it"))
        elif key not in table.by_library and (not line.shared or line.defs):
            found.append(Refusal(name, user, "defined nowhere on the line"))
    return found


def _follow(table: Table, library: Library) -> dict[Key, ElfObject]:
    """Load what the libraries need, as GNU ld does: those serve libraries, and objects not at all."""
    line = table.line
    root = Path(line.sysroot) if line.sysroot else None
    folders = tuple(line.folder / text for text in (*line.rpath_link, *line.rpath) if "$" not in text)
    search = Search(SearchOptions((*folders, *library.search.options.library_path), root))
    found: dict[Key, ElfObject] = {}
    seen = set(table.sonames)
    todo = deque(table.libraries)
    while todo:
        item = todo.popleft()
        for name in item.needed:
            if name in seen:
                continue
            seen.add(name)
            place = search.find(name, item, ())
            try:
                there = library.read(place.path) if place is not None else None
            except UnreadableElfError:
                there = None
            if there is not None and there not in table.libraries:
                for key in defines(there):
                    found.setdefault(key, there)
                table.indirect(there)
                todo.append(there)
    return found


def _copied(table: Table, refusal: Refusal, library: Library) -> bool:
    """Whether --copy-dt-needed-entries lets a library of a library serve an object."""
    if not table.needs_all or refusal.symbol == "":
        return False
    scopes = [library.load(one) for one in table.needs_all]
    return any((refusal.symbol, None) in defines(item) for scope in scopes for item in scope.objects) or any(
        (refusal.symbol, None) in defines(item) for item in table.followed
    )


def _in_libraries(table: Table, indirect: dict[Key, ElfObject], told: set[str]) -> list[Refusal]:
    linker, found = table.linker, []
    asked = asks(linker, table) | set(table.followed)
    for key, wanted in table.wanted.items():
        user = _asker(table, wanted, asked)
        if user is None or key[0] in told or key in indirect:
            continue
        served = table.serves_library(key)
        if served is False:
            found.append(Refusal(_text(key), user.path, "defined nowhere that this linker looks"))
        elif served is None and linker.reports_unexported:
            found.append(Refusal(_text(key), user.path, "defined by an object that doesn't export it", True))
    return found


def _asker(table: Table, wanted: Wanted, asked: set[ElfObject]) -> ElfObject | None:
    """The library in whose name the linker complains; None where it doesn't."""
    if not wanted.hard or (wanted.weak and table.linker.weak_stays_weak):
        return None
    if table.linker.first_referrer_counts:
        first = wanted.users[0][1]
        return first if first in asked else None
    strong = [library for _, library in wanted.strong_users if library is not None]
    return next((one for one in strong if one in asked), None)


def _text(key: Key) -> str:
    return key[0] if key[1] is None else f"{key[0]}@{key[1]}"
