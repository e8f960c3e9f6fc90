"""What is loaded, and why that file: as ``ldd`` shows it, for any machine, running nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from patcher.base.errors import UsageError
from patcher.base.printable import readable
from patcher.symbols.elf import ElfObject
from patcher.symbols.hosts import host_of
from patcher.symbols.inputs import gather, roots_first
from patcher.symbols.scope import Library, Scope
from patcher.symbols.search import Search, SearchOptions, SearchPlace

_HOW = {
    "path": "named by its path", "library-path": "LD_LIBRARY_PATH", "cache": "ld.so.cache",
    "default": "default folder", "assumed": "--assume-library", "loaded": "already loaded",
    "preload": "preloaded",
}  # fmt: skip
_ENDS = ("taken", "no such file")


class Node(NamedTuple):
    """One NEEDED entry, or a root. ``path`` is None for what isn't found; ``why``: the loader stops at it.

    ``owner`` has the RPATH or RUNPATH that led to ``place``. ``passed`` are files of that name that were
    passed over, ``searched`` every folder that was looked at, the last one ending the search.
    """

    name: str
    path: str | None
    how: str = ""
    owner: str | None = None
    place: str = ""
    why: str = ""
    passed: tuple[SearchPlace, ...] = ()
    searched: tuple[str, ...] = ()
    needs: tuple[Node, ...] = ()

    @property
    def broken(self) -> bool:
        """Whether something is lacking here or below."""
        lacking = self.path is None and self.how != "assumed"
        return lacking or bool(self.why) or any(one.broken for one in self.needs)

    @property
    def rule(self) -> str:
        """What chose the file, in words."""
        if self.how in ("rpath", "runpath"):
            return f"{self.how.upper()} of {Path(self.owner or '').name}: {self.place}"
        return _HOW.get(self.how, self.how)

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "name": readable(self.name),
            "path": readable(self.path) if self.path is not None else None,
            "how": self.how,
            "owner": readable(self.owner) if self.owner is not None else None,
            "place": readable(self.place),
            "why": readable(self.why),
            "passed": [
                {"how": step.how, "place": readable(step.place), "why": readable(step.outcome)}
                for step in self.passed
            ],
            "searched": [readable(place) for place in self.searched],
            "needs": [one.document() for one in self.needs],
        }


def trees(
    paths: Iterable[Path], *, options: SearchOptions | None = None, hosts: Iterable[Path | str] = ()
) -> tuple[Node, ...]:
    """The trees of every program, and of every library that none of the others loads.

    Raises what :func:`patcher.symbols.check` raises.
    """
    library = Library(Search(options or SearchOptions.from_environment()))
    given = [Path(path) for path in paths]
    inputs = gather(given, library)
    if not inputs.objects and not inputs.unreadable:
        names = ", ".join(map(str, given))
        raise UsageError(
            f"{names}: looked for programs or libraries, found object files, which load nothing",
            hint="name a program or a library (.so), or the folder that they lie in",
        )
    openers = [(host, library.read(host.program)) for host in map(host_of, hosts)]
    loaded: set[ElfObject] = set()
    found = []
    for item in roots_first(inputs.objects):
        if item not in loaded:
            company = tuple(program for host, program in openers if host.opens(item.path))
            scope = library.load(item, () if item.executable else company)
            loaded.update(scope.objects)
            found.append(_Tree(scope, library.search).root())
    return tuple(found)


class _Tree:
    """One scope as a tree: each object with what it needs where it is loaded, and there alone."""

    def __init__(self, scope: Scope, search: Search) -> None:
        self.scope, self.search = scope, search
        self.stops = {(gap.requester, gap.name): gap for gap in scope.missing}

    def root(self) -> Node:
        root = self.scope.root
        early = [
            Node(item.name, str(item.path), "preload", needs=tuple(self._needs(item)))
            for item in self.scope.objects
            if item in self.scope.preloaded
        ]
        why = self.search.interpreter_problem(root)
        said = f"{root.interpreter}: {why}" if why else ""
        return Node(root.name, str(root.path), "given", why=said, needs=(*early, *self._needs(root)))

    def _needs(self, item: ElfObject) -> Iterator[Node]:
        for name in dict.fromkeys(item.needed):
            yield self._node(item, name)

    def _node(self, item: ElfObject, name: str) -> Node:
        scope = self.scope
        got, how = scope.chosen.get((item, name)), scope.found_by.get((item, name), "")
        if got is not None and how == "loaded":
            return Node(name, str(got.path), how)
        steps = self.search.steps(name, item, scope.loaders[item], scope.libc, scope.places)
        passed = tuple(step for step in steps if step.outcome not in _ENDS)
        searched = tuple(dict.fromkeys(step.place for step in steps))
        last = steps[-1] if steps else None
        owner = str(last.owner.path) if last is not None and last.owner is not None else None
        gap = self.stops.get((item, name))
        if got is None:
            if gap is not None and gap.why:
                return Node(name, None, how, why=gap.why, passed=passed[:-1], searched=searched)
            assumed = "assumed" if gap is not None and gap.assumed else ""
            return Node(name, None, assumed, passed=passed, searched=searched)
        first = scope.parents.get(got) is item and how != "loaded"
        needs = tuple(self._needs(got)) if first else ()
        place = last.place if last is not None else ""
        if how in ("cache", "path"):
            place = place.rpartition("/")[0]
        return Node(name, str(got.path), how, owner, place, "", passed, searched, needs)


def text(nodes: Iterable[Node]) -> str:
    """The trees as lines: what is needed, the file, the rule that chose it, what was passed over and why."""
    return readable_lines(line for node in nodes for line in _lines(node, 0))


def readable_lines(lines: Iterable[str]) -> str:
    """Lines as they may be printed, whatever the files that they are about are called."""
    return "\n".join(readable(line) for line in lines)


def _lines(node: Node, depth: int) -> Iterator[str]:
    start = "    " * depth
    if depth == 0:
        yield node.path or node.name
        if node.why:
            yield f"    NOT STARTED by {node.why}"
    elif node.path is not None:
        yield f"{start}{node.name} => {node.path} [{node.rule}]"
    elif node.why:
        yield f"{start}{node.name} => THE LOADER STOPS: {node.why}"
    elif node.how == "assumed":
        yield f"{start}{node.name} => assumed, its symbols unknown"
    else:
        yield f"{start}{node.name} => NOT FOUND"
        if node.searched:
            yield f"{start}      searched {', '.join(node.searched)}"
    for step in node.passed:
        yield f"{start}      passed over in {step.place}: {step.outcome}"
    there = [one.name for one in node.needs if one.how == "loaded"]
    for one in node.needs:
        if one.how != "loaded":
            yield from _lines(one, depth + 1)
    if there:
        yield f"{start}    already loaded: {', '.join(there)}"
