"""Anchors: where in a C, C++, Python or CMake file an edit belongs.

An anchor is structure (an enum, a table entry, a case, a function), never a line number. It finds in
one file the sites that lack the edit and those that have it already, or says what it looked for and
what it found instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from patcher.engine.anchors import (
    cases,
    cmake,
    counted,
    declarations,
    definitions,
    enums,
    expressions,
    python,
)
from patcher.engine.anchors.focus import focused
from patcher.engine.anchors.kind import AnchorKind, Language
from patcher.engine.anchors.python_module import Module
from patcher.engine.anchors.site import AnchorError, Existing, Located, Place, Site, Splice, splice
from patcher.engine.anchors.source import Source
from patcher.engine.anchors.syntax import Syntax

__all__ = [
    "ANCHORS",
    "AnchorError",
    "AnchorKind",
    "Existing",
    "Located",
    "ParsedFile",
    "Place",
    "Site",
    "Source",
    "Splice",
    "splice",
]

_MODULES = (cases, enums, counted, declarations, definitions, expressions, cmake, python)

# kind in patches/*.toml -> all that is known of it, which stands beside its function
ANCHORS: Mapping[str, AnchorKind] = {
    kind.name: kind for module in _MODULES for kind in vars(module).values() if isinstance(kind, AnchorKind)
}


Parsed = Syntax | Module | Source


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
        if anchor.language is Language.TEXT:
            return anchor.locate(self.source, **parameters)
        if not self._is_whole:
            try:
                self._parsed = self._parsed or self._parse(anchor.language, focus=True)
                return anchor.locate(self._parsed, **parameters)
            except AnchorError:
                # look again, at all of the file, before giving up
                self._parsed, self._is_whole = self._parse(anchor.language, focus=False), True
        return anchor.locate(self._parsed, **parameters)

    def _parse(self, language: Language, *, focus: bool) -> Parsed:
        if language is Language.CMAKE:
            return self.source  # a list of calls: its own scan is enough
        if language is Language.PYTHON:
            asked = [word for name, values in self._anchors for word in ANCHORS[name].words(values)]
            return Module(self.source, asked if focus and asked else None)
        wants = [want for name, values in self._anchors for want in ANCHORS[name].bodies(values)]
        return Syntax(self.source, focused(self.source, wants) if focus else None)
