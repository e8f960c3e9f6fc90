"""What was found of a type as one document: a type's file, its templates, what isn't in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from patcher.engine.patchset import PatchSet
from patcher.engine.plan import Plan, State
from patcher.lift import places, texts, writing
from patcher.lift.additions import Addition
from patcher.lift.new_sources import NewSource
from patcher.lift.places import SetPlaces
from patcher.lift.remainder import Left
from patcher.lift.texts import Text, Texts
from patcher.lift.tree_index import TreeIndex
from patcher.lift.twins import Twin
from patcher.lift.type_facts import TypeFacts

OWN = ("block", "quantize-row-ref", "dequantize-row", "cpu-vec-dot", "py-quants")
_GROUPS = (
    (re.compile(r"ggml/src/ggml-cpu/"), "ggml-cpu"),
    (re.compile(r"ggml/"), "ggml"),
    (re.compile(r"(gguf-py/tests|tests)/"), "tests"),
    (re.compile(r"(gguf-py|conversion)/|convert_"), "gguf-py"),
)


@dataclass(frozen=True)
class Origin:
    """Where a type is lifted from: what people call the two trees, and the commits that they are."""

    tree: str
    base: str
    commit: str | None = None
    base_commit: str | None = None
    license: str | None = None

    def table(self) -> dict[str, str]:
        """The [lifted] table."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass
class Lift:
    """A type that was lifted: its facts, the edits that carry it, what isn't carried."""

    facts: TypeFacts
    origin: Origin
    table: dict[str, Any]
    templates: dict[str, str]  # path in the folder -> text
    left: list[Left]
    from_set: list[str]  # edits whose text the set has, the same as the tree's
    own: list[str]  # edits with the tree's text
    absent: dict[str, str]  # edits of the set that the tree doesn't have, and why
    plan: Plan | None = None
    place: Path | None = None
    dropped: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "type": self.facts.document(),
            "lifted": self.origin.table(),
            "file": str(self.place) if self.place is not None else None,
            "from_set": self.from_set,
            "own": self.own,
            "absent": [{"edit": name, "reason": reason} for name, reason in self.absent.items()],
            "not_lifted": [one.document() for one in self.left],
            "placed": sum(one.state in (State.MISSING, State.PRESENT) for one in self.plan.edits)
            if self.plan
            else 0,
        }


def type_table(facts: TypeFacts) -> dict[str, Any]:
    table: dict[str, Any] = {
        "name": facts.name,
        "upper": facts.upper,
        "description": facts.description,
        "id": facts.id,
        "ftype": facts.ftype if facts.ftype is not None else facts.id,
        "ggml_ftype": facts.ggml_ftype if facts.ggml_ftype is not None else facts.id,
        "block_size": facts.block_size,
        "type_size": facts.type_size,
        "sibling": facts.sibling,
        "activations": facts.activations,
    }
    return table | ({"ftype_upper": facts.ftype_upper} if facts.ftype_upper != facts.upper else {})


def _group(path: str) -> str:
    return next((name for pattern, name in _GROUPS if pattern.match(path)), "llama")


def made(
    tree: TreeIndex,
    facts: TypeFacts,
    origin: Origin,
    draft: PatchSet,
    found: SetPlaces,
    needed: Texts,
    sources: list[NewSource],
    python: list[Twin],
    added: list[Addition],
) -> Lift:
    """The type's file as a table, and its templates."""
    edits: dict[str, dict[str, Any]] = {}
    named: dict[str, str] = {}
    templates: dict[str, str] = {}
    without = list(found.absent)
    by_name = {(place.path, str(place.edit.anchor.get("ours"))): place for place in found.there}
    known = {edit.id for edit in draft.edits}

    def put(path: str, name: str, text: str) -> str:
        place = f"{path}/{name}{writing.extension(path)}"
        templates[place] = text
        return place

    fallbacks = {
        str(one.anchor["ours"]): one.anchor for one in added if one.anchor["kind"] == "branch-define"
    }
    for text in needed.carried:
        place = by_name.get((text.path, text.name))
        template = text.template
        if text.name in fallbacks and text.construct == "function":
            template += texts.forwarded(text.name, text.template, fallbacks[text.name]["apart"])
        if place is not None and place.edit.kind == "function":
            name = place.edit.id
            without.append(name)
        else:
            name = writing.unique({*known, *edits}, writing.slug(_called(text)))
        edits[name] = _text_edit(tree, text, place, name) | {"template": put(text.path, name, template)}
    for source in sources:
        edits |= _source_edits(tree, source, {*known, *edits}, put)
    for place in found.there:
        name = place.edit.id
        if place.template is not None:
            named[name] = put(place.path, name, place.template)
        elif place.edit.kind == "item" or (name in OWN and name not in edits and name not in found.absent):
            found.absent[name] = "its text couldn't be told from the tree"
            without.append(name)
        if place.only and place.template is None:
            edits[name] = _narrowed(place)
    for twin in python:
        name = writing.unique({*known, *edits}, writing.slug(f"py-{twin.name}"))
        edits[name] = {
            "id": name, "group": _group(twin.path), "purpose": f"{twin.name}, which {twin.needed_by} names.",
            "files": list(tree.candidates(twin.path)),
            "anchor": {"kind": "py-definition", "name": twin.behind, "ours": twin.name},
            "template": put(twin.path, name, twin.template),
            "unless_missing": "a release that has this elsewhere",
        } | ({"when": twin.when} if twin.when else {})  # fmt: skip
    for one in added:
        name = writing.unique({*known, *edits}, one.id)
        edits[name] = {
            "id": name, "group": _group(one.path), "purpose": one.purpose,
            "files": list(tree.candidates(one.path)),
            "anchor": dict(one.anchor), "template": put(one.path, name, one.template),
            "unless_missing": "a release that doesn't have this file yet",
        } | ({"when": one.when} if one.when else {})  # fmt: skip
    table: dict[str, Any] = {
        "extends": "own-layout",
        "known_good": [origin.base],
        "without": list(dict.fromkeys(without)),
        "lifted": origin.table(),
        "type": type_table(facts),
        "templates": named,
        "edit": list(edits.values()),
    }
    same_as_set = [
        place.edit.id for place in found.there if place.edit.id not in named and place.edit.id not in edits
    ]
    same_as_set = [name for name in same_as_set if name not in without]
    absent = {name: why for name, why in found.absent.items() if name not in edits}
    return Lift(facts, origin, table, templates, [], same_as_set, [*named, *edits], absent)


def _source_edits(
    tree: TreeIndex, source: NewSource, taken: Iterable[str], put: Callable[[str, str, str], str]
) -> dict[str, dict[str, Any]]:
    """A new file, and the lists of CMake that name it."""
    called = PurePosixPath(source.place).name
    name = writing.unique(taken, writing.slug(called))
    needed = f"what the type is defined by lies in {called}"
    made: dict[str, dict[str, Any]] = {
        name: {
            "id": name, "group": _group(source.place), "purpose": f"What the type needs of {source.path}.",
            "required": needed, "files": [source.place],
            "anchor": {"kind": "new-file", "beside": list(tree.candidates(source.beside))},
            "template": put(source.path, name, source.template),
        }
    }  # fmt: skip
    for one in source.listed:
        name = writing.unique((*taken, *made), writing.slug(f"{called}-{one.variable}"))
        made[name] = {
            "id": name, "group": _group(source.place), "purpose": f"It is compiled into {one.variable}.",
            "required": needed, "files": list(tree.candidates(one.path)),
            "anchor": {
                "kind": "cmake-item", "variable": one.variable, "beside": [one.beside], "ours": one.ours
            },
            "template": put(one.path, name, f"{one.ours}\n"),
        }  # fmt: skip
    return made


def _called(text: Text) -> str:
    """An id that says which of several files the definition is in."""
    parts = PurePosixPath(text.path).parts
    where = parts[parts.index("arch") + 1] + "-" if "arch" in parts else ""
    return f"{where}{text.name}"


def _text_edit(tree: TreeIndex, text: Text, place: places.SetPlace | None, name: str) -> dict[str, Any]:
    said = (
        f"{text.name}, which {text.needed_by} needs."
        if text.needed_by
        else f"{text.name}, as it is in the tree."
    )
    anchor: dict[str, Any] = {"kind": "definition", "names": list(text.behind), "ours": text.name}
    if text.within:
        anchor["within"] = text.within
    edit: dict[str, Any] = {
        "id": name,
        "group": _group(text.path),
        "purpose": said,
        "files": list(tree.candidates(text.path)),
    }
    if place is not None:
        edit |= {"purpose": place.edit.purpose}
        names = [*text.behind, *(one for one in place.edit.anchor["names"] if one not in text.behind)]
        anchor = {"kind": "definition", "names": names, "ours": text.name}
        edit |= {"required": place.edit.required} if place.edit.required else {}
    edit.setdefault("required", f"{text.needed_by or 'the type'} doesn't compile without it")
    if "/arch/" in text.path:
        edit["unless_missing"] = "a release that has no such architecture's file: the plain text is used"
    return edit | {"anchor": anchor}


def _narrowed(place: places.SetPlace) -> dict[str, Any]:
    """The set's edit for the functions alone in which the tree does what the sibling does."""
    edit = place.edit
    return {
        "id": edit.id, "group": edit.group, "purpose": edit.purpose, "files": list(edit.files),
        "anchor": {"kind": edit.kind, **edit.anchor, "owners": [], "only": list(place.only)},
        "template": edit.template,
    }  # fmt: skip
