"""What a merge can lose: a named or countable piece of a file, with the owner that it stands in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

# Pieces that are there once with a place of their own; the others are lines of a function's body.
STRICT = frozenset(
    {
        "enumerator",
        "case",
        "entry",
        "field",
        "declaration",
        "definition",
        "include",
        "macro",
        "source",
        "option",
    }
)
# Of these a second one beside the first is never meant.
ONCE = frozenset({"enumerator", "case", "entry", "field", "definition", "include", "source", "option"})

BRACES = frozenset(
    [
        ".c",
        ".cc",
        ".cpp",
        ".cxx",
        ".h",
        ".hh",
        ".hpp",
        ".hxx",
        ".cu",
        ".cuh",
        ".m",
        ".mm",
        ".metal",
        ".inc",
        ".inl",
        ".ipp",
        ".comp",
        ".glsl",
        ".wgsl",
        ".cl",
    ]
)


class Key(NamedTuple):
    """Equal keys are one item: its owners from the outermost on, its construct, its text in words."""

    owner: tuple[str, ...]
    construct: str
    text: str


@dataclass(frozen=True)
class Item:
    """One item of one version of a file. ``line`` counts from 1; ``value`` is an enumerator's number as
    written.

    ``under`` are the innermost conditions around it, one of each sort, empty where there is none; ``opens``
    is the one that it opens.
    """

    key: Key
    line: int
    value: str | None = None
    under: tuple[str, ...] = ()
    opens: str = ""


@dataclass
class Reading:
    """One version of a file, read: its items in their order."""

    items: list[Item] = field(default_factory=list)
    is_code: bool = True  # False: no grammar could read it, the items are its lines


def language(path: str) -> str | None:
    """``c``, ``python`` or ``cmake``; None for a file that is only compared as a whole."""
    pure = PurePosixPath(path)
    if pure.suffix in BRACES:
        return "c"
    if pure.suffix in (".py", ".pyi"):
        return "python"
    return "cmake" if pure.name == "CMakeLists.txt" or pure.suffix == ".cmake" else None


def by_lines(text: str, comment: str = "#") -> Reading:
    """A file that its language's reader refuses: every line that says something is an item.

    What begins with ``comment`` says nothing, unless that is empty.
    """
    made = Reading(is_code=False)
    for number, line in enumerate(text.splitlines(), 1):
        squeezed = " ".join(line.split())
        if re.search(r"\w", squeezed) and not (comment and squeezed.startswith(comment)):
            made.items.append(Item(Key((), "line", squeezed), number))
    return made
