"""All that is known of one kind of anchor, as one object that stands beside its function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from patcher.engine.anchors.focus import Wanted
from patcher.engine.anchors.site import Located

Parameters = Mapping[str, Any]


class Language(Enum):
    """How a file is parsed for the anchor."""

    C = "C, C++"
    PYTHON = "Python"
    CMAKE = "CMake"
    TEXT = "C, C++ by their braces"


def _nothing(_: Parameters) -> tuple[()]:
    return ()


@dataclass(frozen=True)
class AnchorKind:
    """One kind of anchor: ``kind`` in patches/*.toml, whose other keys are ``locate``'s keyword arguments.

    Everything else that has to be known of a kind is derived from these: what is parsed, how a type's
    file is checked, which edits carry a number, the reference page, how a test takes an anchor away.
    """

    name: str
    locate: Callable[..., Located]
    language: Language
    hangs_on: Callable[[Parameters], str]  # a pattern of the text without which the anchor is missing
    example: str  # of its parameters in the anchor table of an edit, as TOML
    bodies: Callable[[Parameters], Iterable[Wanted]] = _nothing  # C: the bodies that it looks into
    words: Callable[[Parameters], Iterable[str]] = _nothing  # Python: what its sections mention
    patterns: tuple[str, ...] = ()  # the parameters that are regular expressions
    shows: str = ""  # the parameter that says where, on pages
    enum: str = ""  # the parameter that names an enum whose numbers are the type's
    is_member: bool = False  # it puts the type's own number into that enum
    is_whole: bool = False  # the template is all that stands at its site

    @property
    def explains(self) -> str:
        """What it finds, as its function's docstring says it."""
        return inspect.getdoc(self.locate) or ""

    def where(self, parameters: Parameters) -> str:
        """The anchor in a few words: its kind, and what it hangs on."""
        said = parameters.get(self.shows, "")
        said = said if isinstance(said, str) else ", ".join(said)
        return f"{self.name} `{said}`" if said else self.name
