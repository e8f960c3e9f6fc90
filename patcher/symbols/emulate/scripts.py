"""Version scripts and dynamic lists: which symbols they make local, export, or miss."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from patcher.symbols.demangle import demangle

_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)|#[^\n]*", re.S)
_TOKEN = re.compile(r'"[^"]*"|[{};]|[^\s{};"]+')
_WILD = frozenset("*?[")


@dataclass(frozen=True)
class Pattern:
    """One entry. ``cpp`` is matched against names as C++ has them; ``literal`` as it stands."""

    text: str
    cpp: bool
    literal: bool

    def matches(self, name: str) -> bool:
        there = _demangled(name) if self.cpp else name
        return there == self.text if self.literal else fnmatchcase(there, self.text)


@cache
def _demangled(name: str) -> str:
    return demangle(name)


@dataclass
class VersionScript:
    """All nodes together, as far as it matters what is exported."""

    exported: list[Pattern] = field(default_factory=list)
    local: list[Pattern] = field(default_factory=list)
    versions: bool = False  # its nodes have names

    def is_local(self, name: str) -> bool:
        """Whether it takes ``name`` out of what is exported.

        A literal entry goes before one with wildcards, that before a bare ``*``, and ``global`` before
        ``local`` among equals.
        """
        for sort in (_is_literal, _is_wild, _is_all):
            for patterns, local in ((self.exported, False), (self.local, True)):
                if any(pattern.matches(name) for pattern in patterns if sort(pattern)):
                    return local
        return False

    def lists(self, name: str) -> bool:
        """Whether ``name`` is exported by an entry of its own or a pattern."""
        return any(pattern.matches(name) for pattern in self.exported)

    def unmatched(self, defined: Iterable[str]) -> list[str]:
        """The literal entries that none of ``defined`` matches."""
        names = set(defined)
        names |= {_demangled(name) for name in names} if any(one.cpp for one in self._all()) else set()
        return [one.text for one in self._all() if one.literal and one.text not in names]

    def _all(self) -> list[Pattern]:
        return [*self.exported, *self.local]


def _is_literal(pattern: Pattern) -> bool:
    return pattern.literal


def _is_wild(pattern: Pattern) -> bool:
    return not pattern.literal and pattern.text != "*"


def _is_all(pattern: Pattern) -> bool:
    return not pattern.literal and pattern.text == "*"


def read_script(path: Path, *, demangled: bool = True) -> VersionScript:
    """A version script or dynamic list; an empty one where the file can't be read.

    Unless ``demangled``, entries of C++ are held against names as they stand in the object.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return VersionScript()
    script = parse_script(text)
    if demangled:
        return script
    return VersionScript(_as_they_are(script.exported), _as_they_are(script.local), script.versions)


def _as_they_are(patterns: list[Pattern]) -> list[Pattern]:
    return [replace(one, cpp=False) for one in patterns]


def parse_script(text: str) -> VersionScript:
    """``NAME { global: a; extern "C++" { b::*; }; local: *; } OTHER;`` and the like."""
    script = VersionScript()
    part, words = "global", list[str]()
    languages: list[bool] = []  # of the braces that are open: whether names are C++'s
    for word in _TOKEN.findall(_COMMENT.sub(" ", text)):
        if word == "{":
            if not languages:
                part = "global"
                script.versions = script.versions or bool(words)
            languages.append("extern" in words and words[-1] == '"C++"')
            words = []
        elif word == "}":
            _entry(script, part, languages, words)
            languages = languages[:-1]
            words = []
        elif word == ";":
            _entry(script, part, languages, words)
            words = []
        else:
            label, colon, rest = word.partition(":")
            if colon and label in ("global", "local") and not rest.startswith(":"):
                part, words = label, [rest] if rest else []
            elif word == ":" and words and words[-1] in ("global", "local"):
                part, words = words[-1], []
            else:
                words.append(word)
    return script


def _entry(script: VersionScript, part: str, languages: list[bool], words: list[str]) -> None:
    if len(words) != 1 or not languages:
        return  # behind a node's end: what it inherits from
    text = words[0].strip('"')
    quoted = words[0] != text
    pattern = Pattern(text, languages[-1], quoted or not _WILD & set(text))
    (script.exported if part == "global" else script.local).append(pattern)
