"""Anchors: where in a C, C++, Python or CMake file an edit belongs.

An anchor is structure (an enum, a table entry, a case, a function), never a line number. It finds in
one file the sites that lack the edit and those that have it already, or says what it looked for and
what it found instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from patcher.engine.anchors import cases, cmake, declarations, enums, expressions, python
from patcher.engine.anchors.focus import focused, wanted, words
from patcher.engine.anchors.site import AnchorError, Existing, Located, Place, Site, Splice, splice
from patcher.engine.anchors.source import Source
from patcher.engine.anchors.syntax import Syntax

__all__ = [
    "ANCHORS",
    "AnchorError",
    "Existing",
    "Located",
    "ParsedFile",
    "Place",
    "Site",
    "Source",
    "Splice",
    "splice",
]

# kind in patches/*.toml -> the function that locates it; its keyword arguments are the table's other keys
ANCHORS: Mapping[str, Callable[..., Located]] = {
    "case": cases.case,
    "macro-case": cases.macro_case,
    "enumerator": enums.enumerator,
    "enum-count": enums.enum_count,
    "function": declarations.function,
    "declaration": declarations.declaration,
    "item": declarations.item,
    "table": declarations.table,
    "instantiation": declarations.instantiation,
    "comparison": expressions.comparison,
    "element": expressions.element,
    "statement": expressions.statement,
    "cmake-item": cmake.cmake_item,
    "cmake-call": cmake.cmake_call,
    "py-member": python.py_member,
    "py-entry": python.py_entry,
    "py-definition": python.py_definition,
    "py-branch": python.py_branch,
    "py-string": python.py_string,
    "py-prose": python.py_prose,
}


Parsed = Syntax | python.Module | Source


class ParsedFile:
    """A file of the tree that is parsed at most once, however many edits look at it.

    ``anchors`` are all that will be asked for, as (kind, parameters): only what they concern is parsed.
    """

    def __init__(self, source: Source, anchors: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        self.source = source
        self._anchors = tuple(anchors)
        self._parsed: Parsed | None = None
        self._is_whole = False

    def locate(self, kind: str, parameters: Mapping[str, Any]) -> Located:
        """Resolve the anchor ``kind``. Raises :class:`AnchorError`."""
        anchor = ANCHORS[kind]
        if not self._is_whole:
            try:
                self._parsed = self._parsed or self._parse(kind, focus=True)
                return anchor(self._parsed, **parameters)
            except AnchorError:
                # look again, at all of the file, before giving up
                self._parsed, self._is_whole = self._parse(kind, focus=False), True
        return anchor(self._parsed, **parameters)

    def _parse(self, kind: str, *, focus: bool) -> Parsed:
        if kind.startswith("cmake-"):
            return self.source  # a list of calls: its own scan is enough
        if kind.startswith("py-"):
            asked = [word for name, values in self._anchors for word in words(name, values)]
            return python.Module(self.source, asked if focus and asked else None)
        wants = [want for name, values in self._anchors for want in wanted(name, values)]
        return Syntax(self.source, focused(self.source, wants) if focus else None)
