"""The type taken out of a file's content, as a commit has it: by merging, never by guessing.

What we put into a file is known as a pair, the file with the type and the file without: of a commit of our
own, or computed from the base with today's edits. The difference between the two, taken out of any later
content of the file, leaves what others have changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from functools import cached_property
from itertools import pairwise

from patcher import git
from patcher.base.errors import ConflictError
from patcher.engine import retired, tree_record
from patcher.engine.older import brought_up
from patcher.engine.patchset import PatchSet
from patcher.engine.planning import make_plan
from patcher.engine.tree_record import PLACE
from patcher.git.changes import FileVersion
from patcher.git.contents import Contents, Objects


class Stripping:
    """Contents without the type. ``ours`` are commits that put it in, each with the one before it; ``over``
    are files that the base is taken to have otherwise."""

    def __init__(
        self,
        objects: Objects,
        prefix: str,
        patchset: PatchSet,
        base: str,
        ours: Iterable[tuple[str, str]] = (),
        over: Mapping[str, FileVersion | None] | None = None,
    ) -> None:
        self._objects = objects
        self._prefix = prefix
        self._patchset = patchset
        self._base = Contents(objects, base, prefix)
        self._base.over.update(over or {})
        self._pairs = [
            (Contents(objects, carried, prefix), Contents(objects, stock, prefix)) for carried, stock in ours
        ]

    @cached_property
    def _computed(self) -> dict[str, tuple[bytes, bytes | None]]:
        """Path from the top -> the base's file with today's edits, and without."""
        plan = make_plan(self._base, self._patchset)
        return {
            self._prefix + file.path: (file.after(), None if file.is_new else file.before)
            for file in plan.files
        }

    @property
    def paths(self) -> set[str]:
        """The files that the type goes into, from the top."""
        return {*self._computed, self._prefix + PLACE}

    def version(self, path: str, version: FileVersion | None) -> FileVersion | None:
        """What ``path`` would be without the type, where it is ``version`` with it.

        Raises :class:`ConflictError` where ours and theirs can't be told apart any more.
        """
        if version is None or not version.is_file or not path.startswith(self._prefix):
            return version
        known = () if path == self._prefix + PLACE else tuple(self._known(path))
        below = path.removeprefix(self._prefix)
        if not known and below not in {PLACE, *retired.files(self._patchset)}:
            return version  # what it says of the type is somebody's own; not read, it may be of any length
        data = self._objects.read(version) or b""
        if below == PLACE:
            return self._objects.made(_without_type(data, self._patchset.name), version)
        for carried, stock in known:
            if data in (carried, stock):
                return self._objects.made(stock, version)
        data = retired.without(self._patchset, below, self._brought_up(path, data, version))
        if not known:
            return self._objects.made(data, version)
        for carried, stock in known:
            if data in (carried, stock):
                return self._objects.made(stock, version)
            if carried is None or stock is None:
                continue
            if not holds(data, carried, stock):
                return version
            merged = taken_out(data, carried, stock)
            if merged is not None:
                return self._objects.made(merged, version)
        raise ConflictError(
            f"{path}: {self._patchset.type.upper} can't be told from what was changed in its own lines",
            hint="take the type's lines out of that file by hand, commit that, then move",
        )

    def _brought_up(self, path: str, data: bytes, version: FileVersion) -> bytes:
        there = Contents(self._objects, self._base.commit, self._prefix)
        there.over = {**self._base.over, path: version}
        return brought_up(self._patchset, there, path.removeprefix(self._prefix), data)

    def _known(self, path: str) -> Iterator[tuple[bytes | None, bytes | None]]:
        below = path.removeprefix(self._prefix)
        for carried, stock in self._pairs:
            if carried.version(path) != stock.version(path):
                yield carried.read(below), stock.read(below)
        if path in self._computed:
            yield self._computed[path]


def holds(data: bytes, carried: bytes, stock: bytes) -> bool:
    """Whether ``data`` has a line that the type brings: one of ``carried`` that ``stock`` hasn't."""
    ours = {line.strip() for line in carried.splitlines()} - {line.strip() for line in stock.splitlines()}
    return any(line.strip() in ours for line in data.splitlines())


def taken_out(data: bytes, carried: bytes, stock: bytes) -> bytes | None:
    """``data`` less what ``carried`` has over ``stock``; None where that was changed since.

    To a merge, a line that somebody put beside one of ours is a change of ours. Where it gives up, ours are
    looked for line by line, and taken out where all of a place stand as they were written.
    """
    merged = git.merge(data, base=carried, other=stock)
    return merged if merged is not None else _lines_out(data, carried, stock)


def _lines_out(data: bytes, carried: bytes, stock: bytes) -> bytes | None:
    mine, ours, theirs = (text.splitlines(keepends=True) for text in (data, carried, stock))
    places = {}
    for block in SequenceMatcher(None, ours, mine).get_matching_blocks():
        places.update({block.a + n: block.b + n for n in range(block.size)})
    cuts = []
    for start, end, stock_lines in _hunks(ours, theirs):
        # a place without lines of ours lies between two lines of everybody's
        around = range(start, end) if start < end else range(max(0, start - 1), min(len(ours), start + 1))
        found = [places.get(number, -2) for number in around]
        if -2 in found or any(two != one + 1 for one, two in pairwise(found)):
            return None
        first = places.get(start, len(mine))
        cuts.append((first, first + end - start, stock_lines))
    for first, last, lines in reversed(cuts):
        mine[first:last] = lines
    return b"".join(mine)


def _hunks(ours: list[bytes], theirs: list[bytes]) -> Iterator[tuple[int, int, list[bytes]]]:
    """(start, end, lines): what of ``ours`` gives way to which lines of ``theirs``.

    Where one line of theirs was changed and others were put beside it, those are places of their own.
    """
    for tag, start, end, other_start, other_end in SequenceMatcher(None, ours, theirs).get_opcodes():
        lines = theirs[other_start:other_end]
        if tag == "replace" and len(lines) == 1 and end - start > 1:
            was = lines[0].decode("utf-8", "replace")
            like = max(
                range(start, end),
                key=lambda number, was=was: SequenceMatcher(  # type: ignore[misc]
                    None, was, ours[number].decode("utf-8", "replace")
                ).ratio(),
            )
            parts = ((start, like), (like, like + 1), (like + 1, end))
            yield from ((one, two, lines if one == like else []) for one, two in parts if one < two)
        elif tag != "equal":
            yield start, end, lines


def _without_type(data: bytes, name: str) -> bytes | None:
    """The tree's own file of the tool without the part of the type ``name``."""
    return tree_record.read(_OneFile(data)).with_type(name, None).text()


class _OneFile:
    """A tree of the tool's own file alone."""

    name = PLACE

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, path: str) -> bytes | None:
        return self._data if path == PLACE else None
