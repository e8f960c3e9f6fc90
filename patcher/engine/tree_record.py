"""``.q8a8-patch.toml``: what was decided for a tree and what was written there, committed with it.

The journal knows how to take an apply back on this machine; this file is for everybody who has the tree:
the next ``apply``, ``status``, ``guard``, ``drift`` and ``audit`` need no flags. Its form, from the top::

    # words, and the waivers of this tree, which people write
    [[waiver]]
    file = "ggml/src/ggml-cpu/mine.cpp"
    reason = "..."

    # a line that begins with MARK; what is below is the tool's
    [q8a8-patch]
    format = 1

    [q8_a8]                      # one table for each type
    tool = "0.1.0"               # the release that wrote it last
    only = []                    # edits and groups that were asked for; none: all
    without = ["calibration"]
    fixes = []
    keep = ["cpu-type-traits"]   # theirs stays
    replace = ["quantize-row"]   # ours takes its place
    numbers = { id = 39 }        # numbers of the tree's own, with --adopt-id

    [q8_a8.wrote]                # edit -> the hash of each text that we put there, comments and space aside
    quantize-row = ["9f2c4e1a0b7d6c53"]

The tool never changes what is above the mark.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from patcher.base.errors import UsageError
from patcher.base.toml import TOMLDecodeError, loads
from patcher.engine.tree import Tree

PLACE = ".q8a8-patch.toml"
FORMAT = 1
TOOL = "q8a8-patch"  # the table that says how the rest is to be read; no type can have that name
MARK = "# ---- below is q8a8-patch's own"
_HEAD = """\
# What q8a8-patch has done to this tree, and what was decided for it. Commit it with the tree.
# Sites of the audit that need nothing here go above the line, as
#   [[waiver]]
#   file = "src/mine.cpp"
#   reason = "why"
"""
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Choices:
    """What somebody has decided about a type in one tree. Names are of edits or groups."""

    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()  # of what is there, written differently: theirs stays
    replace: tuple[str, ...] = ()  # ours takes its place
    numbers: Mapping[str, int] = field(default_factory=dict)  # the tree's own: id, ftype, ggml_ftype

    def merged(
        self,
        *,
        only: tuple[str, ...] = (),
        without: tuple[str, ...] = (),
        everything: bool = False,
        fixes: tuple[str, ...] = (),
        keep: tuple[str, ...] = (),
        replaced: tuple[str, ...] = (),
    ) -> Choices:
        """These, with what a command line says over them: a selection takes the old one's place."""
        selects = bool(only or without or everything)
        left_out = without if selects else self.without
        return replace(
            self,
            only=only if selects else self.only,
            without=tuple(name for name in left_out if name not in fixes),
            fixes=tuple(name for name in _union(self.fixes, fixes) if name not in without),
            keep=tuple(name for name in _union(self.keep, keep) if name not in replaced),
            replace=tuple(name for name in _union(self.replace, replaced) if name not in keep),
        )


def _union(one: Iterable[str], other: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one, *other)))


@dataclass(frozen=True)
class TypeRecord:
    """What the tree's file says of one type."""

    tool: str = ""
    choices: Choices = field(default_factory=Choices)
    wrote: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # edit -> hashes (:func:`text_hash`)


@dataclass(frozen=True)
class TreeRecord:
    """The whole file. ``head`` is the people's part, to the byte."""

    head: str = ""
    types: Mapping[str, TypeRecord] = field(default_factory=dict)
    waivers: tuple[Mapping[str, str], ...] = ()

    def of(self, name: str) -> TypeRecord:
        """The part of the type ``name``; an empty one where there is none."""
        return self.types.get(name, TypeRecord())

    def with_type(self, name: str, part: TypeRecord | None) -> TreeRecord:
        """The file with ``part`` for the type ``name``; without that type where it is None."""
        types = {other: one for other, one in self.types.items() if other != name}
        return replace(self, types=types if part is None else {**types, name: part})

    def text(self) -> bytes | None:
        """The file; None where there is nothing to say."""
        if not self.types:
            return self.head.encode() if self.waivers else None
        lines = [self.head.rstrip("\n") or _HEAD.rstrip("\n"), "", MARK, f"[{TOOL}]", f"format = {FORMAT}"]
        for name, one in sorted(self.types.items()):
            lines += ["", f"[{_key(name)}]", f"tool = {json.dumps(one.tool)}"]
            for key in ("only", "without", "fixes", "keep", "replace"):
                chosen = getattr(one.choices, key)
                lines += [f"{key} = {json.dumps(list(chosen))}"] if chosen else []
            if one.choices.numbers:
                pairs = ", ".join(
                    f"{fact} = {number}" for fact, number in sorted(one.choices.numbers.items())
                )
                lines.append(f"numbers = {{ {pairs} }}")
            if one.wrote:
                lines += ["", f"[{_key(name)}.wrote]"]
                lines += [
                    f"{_key(edit)} = {json.dumps(list(made))}" for edit, made in sorted(one.wrote.items())
                ]
        return ("\n".join(lines) + "\n").encode()


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name)


def text_hash(tokens: str) -> str:
    """How a text of ours is recognised later: by its tokens, so that comments and space don't count."""
    return hashlib.sha256(tokens.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class RecordError(UsageError):
    """What a tree says of itself can't be understood."""

    remedy = (
        "put it back as it was written (git checkout -- .q8a8-patch.toml), or correct it as"
        " docs/reference/tree-record.md says"
    )


def read(tree: Tree) -> TreeRecord:
    """What ``tree`` says of itself; an empty record where it says nothing.

    Raises :class:`UsageError` where the file is there and malformed, or of a later form than this one.
    """
    data = tree.read(PLACE)
    if data is None:
        return TreeRecord()
    where = f"{tree.name}: {PLACE}"
    try:
        text = data.decode("utf-8").replace("\r\n", "\n")
        document = loads(text)
    except (UnicodeDecodeError, TOMLDecodeError, RecursionError) as why:
        hint = "mend it, or take back your last change to it with git"
        raise UsageError(f"{where}: looked for TOML, found none ({why})", hint=hint) from why
    head = text[: text.index(MARK)] if MARK in text else text
    waivers = document.pop("waiver", [])
    about = document.pop(TOOL, {})
    said = about.get("format", FORMAT) if isinstance(about, dict) else None
    if said != FORMAT:
        raise UsageError(f"{where}: written by a later q8a8-patch (format {said})", hint="update q8a8-patch")
    if not _is_list_of(waivers, dict) or any(
        not _is_text(value) for one in waivers for value in one.values()
    ):
        raise RecordError(f"{where}: looked for waivers as [[waiver]] tables of texts, found something else")
    types = {name: _type_record(table, f"{where}: [{name}]") for name, table in document.items()}
    return TreeRecord(head, types, tuple(waivers))


def _type_record(table: Any, where: str) -> TypeRecord:
    known = {"tool", "only", "without", "fixes", "keep", "replace", "numbers", "wrote"}
    if not isinstance(table, dict) or set(table) - known:
        strange = sorted(set(table) - known)[0] if isinstance(table, dict) else "no table"
        raise RecordError(f"{where}: found {strange}; allowed: {', '.join(sorted(known))}")
    lists = {key: table.get(key, []) for key in ("only", "without", "fixes", "keep", "replace")}
    numbers, wrote = table.get("numbers", {}), table.get("wrote", {})
    for key, value in lists.items():
        if not _is_list_of(value, str):
            raise RecordError(f"{where}: {key}: looked for a list of names, found something else")
    facts = {"id", "ftype", "ggml_ftype"}
    if (
        not isinstance(numbers, dict)
        or set(numbers) - facts
        or any(type(one) is not int for one in numbers.values())
    ):
        raise RecordError(f"{where}: numbers: looked for whole numbers of {', '.join(sorted(facts))}")
    if not isinstance(wrote, dict) or not all(_is_list_of(made, str) for made in wrote.values()):
        raise RecordError(f"{where}: wrote: looked for lists of hashes, found something else")
    choices = Choices(**{key: tuple(value) for key, value in lists.items()}, numbers=numbers)
    return TypeRecord(
        str(table.get("tool", "")), choices, {edit: tuple(made) for edit, made in wrote.items()}
    )


def _is_list_of(value: Any, element: type) -> bool:
    return isinstance(value, list) and all(isinstance(one, element) for one in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
