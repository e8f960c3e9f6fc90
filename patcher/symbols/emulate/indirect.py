"""The libraries that a link's libraries need and that aren't on the line, as GNU ld takes them in."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from patcher.symbols.elf import ElfObject, UnreadableElfError
from patcher.symbols.emulate.names import Key, defines
from patcher.symbols.emulate.refusal import Refusal
from patcher.symbols.emulate.resolution import Table
from patcher.symbols.scope import Library
from patcher.symbols.search import Search, SearchOptions


def follow(table: Table, library: Library) -> dict[Key, ElfObject]:
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
            there = table.dropped.get(name)
            place = search.find(name, item, ()) if there is None else None
            try:
                there = library.read(place.path) if place is not None else there
            except UnreadableElfError:
                there = None
            if there is not None and there not in table.libraries:
                for key in defines(there):
                    found.setdefault(key, there)
                table.indirect(there)
                todo.append(there)
    return found


def off_line(table: Table, indirect: dict[Key, ElfObject]) -> list[Refusal]:
    """What objects want of libraries that are not on the line: GNU ld ends at the first ("DSO missing")."""
    found = []
    for (name, version), there in indirect.items():
        if version is not None or name in table.hidden:
            continue
        wanted = table.wanted.get((name, None))
        users = [] if wanted is None else [one for one in wanted.objects if not one.weak]
        if (
            users
            and not table.defined(name.encode("utf-8", "surrogateescape"))
            and name not in table.line.defined
        ):
            if name in table.line.asked_for | table.line.mentioned:
                # mentioned before any object does: the library is taken in, with all that it defines
                for key in defines(there):
                    table.by_library.setdefault(key, there)
                continue
            user = table.units[users[0].unit].path
            why = f"{there.path.name} has it, which isn't on the line"
            found.append(Refusal(name, user, why, fatal=True))
    return found


def copied(table: Table, refusal: Refusal, library: Library) -> bool:
    """Whether --copy-dt-needed-entries lets a library of a library serve an object."""
    if not table.needs_all or refusal.symbol == "":
        return False
    scopes = [library.load(one) for one in table.needs_all]
    return any((refusal.symbol, None) in defines(item) for scope in scopes for item in scope.objects) or any(
        (refusal.symbol, None) in defines(item) for item in table.followed
    )
