"""A tree as lift asks it: its sources, what each defines, what its headers know."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

from patcher.engine.anchors import Source
from patcher.engine.anchors.definitions import Definition, definitions

if TYPE_CHECKING:
    from patcher.engine.tree import ListedTree

# ggml's base and its CPU backend, in whatever folder of its own a fork keeps a part of them; no other backend
LIBRARY = re.compile(r"ggml/src/(?!ggml-(?!cpu/)[^/.]+/)(?:[^/]+/)*[^/]+\.(?:c|cpp|h)")
# names that upstream has given to what BASE has under an older one; the text stays as it is
RENAMED = {
    "GGML_CPU_FP16_TO_FP32": "GGML_FP16_TO_FP32",
    "GGML_CPU_FP32_TO_FP16": "GGML_FP32_TO_FP16",
    "GGML_CPU_E8M0_TO_FP32_HALF": "GGML_E8M0_TO_FP32_HALF",
}
RENAMED_IN = "ggml/src/ggml-cpu/simd-mappings.h"


def is_library(path: str) -> bool:
    """Whether it is a source or a header of ggml's base or its CPU backend, or one of the public headers."""
    return LIBRARY.fullmatch(path) is not None or re.fullmatch(r"ggml/include/[^/]+\.h", path) is not None


class TreeIndex:
    """One tree. ``paths`` are the names that a file has had: the candidates of the sets of edits."""

    def __init__(self, tree: ListedTree, paths: Iterable[Iterable[str]] = ()) -> None:
        self.tree = tree
        self.name = tree.name
        self._known: dict[str, Source | None] = {}
        self._definitions: dict[str, list[Definition]] = {}
        self._aliases = {name: tuple(names) for names in map(tuple, paths) for name in names}

    @cached_property
    def files(self) -> list[str]:
        """Every file, by its path."""
        return self.tree.files()

    @cached_property
    def headers(self) -> list[str]:
        """The headers that ggml's base and its CPU backend include."""
        return [path for path in self.files if path.endswith(".h") and is_library(path)]

    def source(self, path: str) -> Source | None:
        """The file; None where the tree has none of that name."""
        if path not in self._known:
            data = self.tree.read(path)
            self._known[path] = Source(path, data) if data is not None else None
        return self._known[path]

    def candidates(self, path: str) -> tuple[str, ...]:
        """The names that the file has had, the newest first."""
        return self._aliases.get(path, (path,))

    def same(self, path: str) -> Source | None:
        """The file that another tree has at ``path``, under whichever of its names this tree has it."""
        return next((found for name in self.candidates(path) if (found := self.source(name))), None)

    def definitions(self, path: str) -> list[Definition]:
        """What the file at ``path`` (or under another of its names) defines."""
        if path not in self._definitions:
            source = self.same(path)
            self._definitions[path] = definitions(source) if source is not None else []
        return self._definitions[path]

    def defined(self, path: str, name: str) -> list[Definition]:
        """The definitions of ``name`` in the file; declarations are none."""
        return [one for one in self.definitions(path) if one.name == name and one.construct != "declaration"]

    @cached_property
    def in_headers(self) -> dict[str, str]:
        """Name -> the header that defines it."""
        found: dict[str, str] = {}
        for path in self.headers:
            for one in self.definitions(path):
                if one.construct != "declaration":
                    found.setdefault(one.name, path)
        return found

    @cached_property
    def shared(self) -> dict[str, str]:
        """Function that other files see -> the source of ggml or its CPU backend that defines it."""
        found: dict[str, str] = {}
        for path in self.files:
            is_source = path.endswith((".c", ".cpp")) and is_library(path)
            source = self.source(path) if is_source else None
            for one in self.definitions(path) if source is not None else ():
                head = source.code[one.start : one.end].partition(b"(")[0].split() if source else []
                if one.construct == "function" and b"static" not in head and b"inline" not in head:
                    found.setdefault(one.name, path)
        return found

    def home(self, path: str, name: str) -> str | None:
        """The file in which code of ``path`` finds ``name`` defined: itself, or a header; None for none."""
        return path if self.defined(path, name) else self.in_headers.get(name)


WORD = re.compile(r"(?<![\w.])[A-Za-z_]\w*")


def words(source: Source, start: int, end: int) -> list[str]:
    """The identifiers in the code between ``start`` and ``end``, each once."""
    return list(dict.fromkeys(WORD.findall(source.code[start:end].decode("utf-8", "replace"))))
