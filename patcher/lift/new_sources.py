"""Files that BASE hasn't: what the type needs out of one becomes a new file, which CMake is told of.

A fork often keeps several types in a file of its own. What one of them needs goes into a file that has the
type's name in its own, with the head of the fork's: its notice and its includes.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from patcher.base.errors import ConflictError
from patcher.engine.anchors import Source
from patcher.engine.anchors.cmake import calls_of, code_of
from patcher.engine.anchors.definitions import conditions_of
from patcher.lift.texts import Text, Texts, verbatim
from patcher.lift.tree_index import TreeIndex, words
from patcher.lift.type_facts import TypeFacts

_NAMING = ("ggml/src/ggml.c", "ggml/src/ggml-cpu/ggml-cpu.c")  # whose tables name the type's functions
_CMAKE = ("ggml/src/CMakeLists.txt", "ggml/src/ggml-cpu/CMakeLists.txt", "ggml/CMakeLists.txt")
_BESIDE = {"ggml/src/ggml-cpu/": "ggml/src/ggml-cpu/ggml-cpu.c", "ggml/src/": "ggml/src/ggml-quants.c"}
_SEARCHED = ("ggml/include", "ggml/src", "ggml/src/ggml-cpu")  # by the compiler, besides a file's own folder
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]+)"|<[^>\n]+>)[^\n]*\n', re.MULTILINE)


@dataclass(frozen=True)
class Listed:
    """Where CMake names the file: the argument ``ours`` of the call for ``variable``, behind ``beside``."""

    path: str
    variable: str
    beside: str
    ours: str
    span: tuple[int, int]


@dataclass(frozen=True)
class NewSource:
    """One new file: ``path`` in the tree, ``place`` in BASE, beside a file that BASE has."""

    path: str
    place: str
    beside: str
    template: str
    listed: tuple[Listed, ...]
    spans: tuple[tuple[int, int], ...]


def gathered(tree: TreeIndex, base: TreeIndex, facts: TypeFacts, needed: Texts) -> list[NewSource]:
    """The texts of ``needed`` that lie in files which BASE hasn't, taken out of it, as new files.

    A header is taken whole: several types may need it. Raises :class:`ConflictError` for one that includes
    what BASE finds nowhere, or that CMake doesn't compile.
    """
    by_path: dict[str, list[Text]] = {}
    for text in needed.carried:
        if base.same(text.path) is None and "/arch/" not in text.path:
            by_path.setdefault(text.path, []).append(text)
    needed.carried = [text for text in needed.carried if text.path not in by_path]
    made: dict[str, NewSource] = {}
    todo = [*by_path]
    while todo:
        path = todo.pop(0)
        source = tree.source(path)
        if path in made or source is None:
            continue
        whole = path.endswith(".h")
        head, end = (
            (source.text(0, len(source.data)), len(source.data)) if whole else _head(source, tree, path)
        )
        head = head.replace("\r\n", "\n")
        todo += _new_headers(head, tree, base, path)
        texts = [text for text in by_path.get(path, ()) if text.spans[0][0] >= end]
        place = path if whole else _own_name(path, facts.name)
        listed = () if whole else tuple(_listed(tree, base, path, place))
        if not listed and not whole:
            raise ConflictError(
                f"{path}: {texts[0].name} lies in it, and no list of {' or '.join(_CMAKE[:2])} names it",
                hint="a source that is found in another way can't be added to BASE",
            )
        beside = next(name for start, name in _BESIDE.items() if path.startswith(start))
        template = "\n".join([verbatim(head.rstrip("\n")) + "\n", *(text.template for text in texts)])
        spans = tuple(span for text in texts for span in text.spans)
        made[path] = NewSource(path, place, beside, template, listed, (*spans, (0, end)))
    return list(made.values())


def with_includes(
    tree: TreeIndex, base: TreeIndex, facts: TypeFacts, needed: Texts, new: Iterable[str] = ()
) -> list[tuple[str, str]]:
    """Give the first text of each file the headers that the tree includes there for the type, and BASE not.

    Those are headers that name it, and those of ``new``, which it brings: these go with each text that uses
    what they define, since another type may have brought the first one. What comes back are (path, header)
    where the file has no text that could take it along.
    """
    brought = set(new)
    left = []
    for path in dict.fromkeys((*_NAMING, *(text.path for text in needed.carried))):
        ours, theirs = tree.source(path), base.same(path)
        if ours is None or theirs is None:
            continue
        known = {found[1] for found in _INCLUDE.finditer(theirs.spoken.decode("latin-1"))}
        for found in _INCLUDE.finditer(ours.spoken.decode("latin-1")):
            header = next(
                (name for name in _places(path, found[1] or "") if tree.source(name) is not None), None
            )
            declares = tree.source(header) if header is not None and found[1] not in known else None
            if declares is None or not (
                header in brought or facts.word.search(declares.spoken.decode("latin-1"))
            ):
                continue
            there = [number for number, one in enumerate(needed.carried) if one.path == path]
            if not there:
                left.append((path, found[1]))
                continue
            known_there = {one.name for one in tree.definitions(header or "")} if header in brought else set()
            using = [
                number
                for number in there
                for span in needed.carried[number].spans[:1]
                if known_there & set(words(ours, *span))
            ]
            for number in using or there[:1]:
                text = needed.carried[number]
                needed.carried[number] = replace(text, template=f'#include "{found[1]}"\n{text.template}')
    return left


def _places(path: str, name: str) -> list[str]:
    """Where a compiler looks for ``name``, in the tree: ``../../quants.h`` is what sources of arch/ say."""
    folders = (posixpath.dirname(path), *_SEARCHED)
    places = [posixpath.normpath(posixpath.join(folder, name)) for folder in folders]
    return [place for place in places if not place.startswith(("../", "/"))]


def _own_name(path: str, name: str) -> str:
    pure = PurePosixPath(path)
    return path if name in pure.stem else str(pure.with_name(f"{pure.stem}-{name}{pure.suffix}"))


def _head(source: Source, tree: TreeIndex, path: str) -> tuple[str, int]:
    """The text up to the last include before the first definition that is no macro, and where it ends."""
    text = source.data.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    first = min(
        (one.start for one in tree.definitions(path) if one.construct not in ("macro", "declaration")),
        default=len(source.data),
    )
    end = 0
    for found in _INCLUDE.finditer(source.spoken.decode("latin-1")):
        if found.end() <= first:
            end = found.end()
    while end < len(source.data) and conditions_of(source, end):
        end = source.line_end(end)
    return text if end >= len(source.data) else source.text(0, end).replace("\r\n", "\n"), end


def _new_headers(head: str, tree: TreeIndex, base: TreeIndex, path: str) -> list[str]:
    """The headers of the tree that ``head`` includes and BASE hasn't."""
    found = []
    for include in _INCLUDE.finditer(head):
        name = include[1]
        places = _places(path, name or "")
        if name is None or any(base.source(place) is not None for place in places):
            continue
        there = next((place for place in places if tree.source(place) is not None), None)
        if there is None:
            raise ConflictError(
                f'{path}: includes "{name}", which is in none of {", ".join(_SEARCHED)}',
                hint="where the compiler looks besides is the tree's own matter: that isn't lifted",
            )
        found.append(there)
    return found


def _listed(tree: TreeIndex, base: TreeIndex, path: str, place: str) -> Iterable[Listed]:
    """Where CMake's lists name the file, each with the argument before it that BASE's list has, too."""
    for cmake in _CMAKE:
        ours, theirs = tree.source(cmake), base.source(cmake)
        if ours is None or theirs is None:
            continue
        there: dict[str, set[str]] = {}
        for call in calls_of(code_of(theirs)):
            there.setdefault(call.variable, set()).update(name for name, _ in call.arguments)
        for call in calls_of(code_of(ours)):
            names = [name for name, _ in call.arguments]
            mine = [(name, start) for name, start in call.arguments if path.endswith(f"/{name}")]
            if not mine or call.variable not in there:
                continue
            name, start = mine[0]
            at = names.index(name)
            earlier = [one for one in reversed(names[:at]) if one in there[call.variable]]
            if earlier:
                own = str(PurePosixPath(name).with_name(PurePosixPath(place).name))
                yield Listed(
                    cmake, call.variable, earlier[0], own, (ours.line_start(start), ours.line_end(start))
                )
