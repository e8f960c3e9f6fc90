"""A type out of a fork or a release as a type's file of its own: what is in the tree and wasn't in its base.

Everything that names the type in what the tree has over its base is either carried, as an edit that is found
by structure, or listed with its lines and the reason why it isn't.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from patcher.base.errors import ConflictError, UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.base.resources import resource_dir
from patcher.engine.patchset import PatchSet, load
from patcher.engine.plan import Plan, State
from patcher.engine.planning import make_plan
from patcher.engine.tree import ListedTree
from patcher.engine.type_file import parsed
from patcher.lift import facts, places, remainder, texts, twins, writing
from patcher.lift.facts import Facts
from patcher.lift.places import Places
from patcher.lift.remainder import Addition, Left
from patcher.lift.texts import Text, Texts
from patcher.lift.tree_index import TreeIndex
from patcher.lift.twins import Twin

__all__ = ["Facts", "Lift", "Origin", "lift", "types"]

_STUB = "case-label.j2"  # what the draft's texts are before the tree's are known
_OWN = ("block", "quantize-row-ref", "dequantize-row", "cpu-vec-dot", "py-quants")
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

    facts: Facts
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


def types(tree: ListedTree, base: ListedTree) -> list[Facts]:
    """The types that ``tree`` has and ``base`` hasn't, by number. Raises :class:`UsageError` for no ggml tree."""
    ours, theirs = TreeIndex(tree), TreeIndex(base)
    new = facts.new_types(ours, theirs)
    return [
        facts.read(ours, name.removeprefix("GGML_TYPE_")) for name in sorted(new, key=lambda one: new[one])
    ]


def _kind(tree: TreeIndex, base: TreeIndex, wanted: str) -> Facts:
    """The one type called ``wanted``: MXFP4, mxfp4 or GGML_TYPE_MXFP4."""
    new = facts.new_types(tree, base)
    upper = re.sub(r"^GGML_TYPE_", "", wanted.upper().replace("-", "_"))
    named = {name.removeprefix("GGML_TYPE_").upper(): name.removeprefix("GGML_TYPE_") for name in new}
    if upper not in named:
        there = facts.enum(tree, "ggml/include/ggml.h", "ggml_type")
        known = f"GGML_TYPE_{upper}" in there
        has = f"it has {', '.join(named.values())}" if named else "it has none that its base hasn't"
        raise UsageError(
            f"{tree.name}: looked for a type {wanted} that {base.name} hasn't, found"
            f" {'one that both have' if known else 'none'}; {has}",
            hint="'type lift TREE --base BASE' lists what there is",
        )
    return facts.read(tree, named[upper])


def lift(
    tree: ListedTree, base: ListedTree, wanted: str, origin: Origin, folder: Path, reporter: Reporter = SILENT
) -> Lift:
    """Lift the type ``wanted`` and write it into ``folder``, which has to be new or empty.

    Raises :class:`UsageError` for a type that isn't new in ``tree``, :class:`ConflictError` where a fact can't
    be told or BASE has no place for what the type can't do without.
    """
    writing.require_free(folder)
    paths = parsed(resource_dir("patches") / "sets" / "standard.toml", "patches/sets/standard.toml")["paths"]
    ours, theirs = TreeIndex(tree, paths.values()), TreeIndex(base, paths.values())
    kind = _kind(ours, theirs, wanted)
    with reporter.step("Lifting", total=4) as step:
        step.update(done=0, detail="places")
        draft = _draft(kind, origin)
        found = places.of_set(ours, draft)
        step.update(done=1, detail="texts")
        needed = _texts(ours, theirs, kind, draft, found)
        step.update(done=2, detail="what remains")
        word = _word(ours, kind)
        accounted = _accounted(found, needed)
        python = twins.of_places(ours, theirs, found.there)
        for twin in python:
            accounted.setdefault(twin.path, []).append(twin.span)
        rest = remainder.of_tree(ours, theirs, kind, word, accounted)
        step.update(done=3, detail="the plan")
        made = _made(ours, kind, origin, draft, found, needed, python, rest.added)
        made.left += [*rest.left, *_other(ours, needed)]
        return _proved(made, base, folder)


def _word(tree: TreeIndex, kind: Facts) -> re.Pattern[str]:
    """The names that are the type's and not those of a type with a longer name."""
    there = [name.removeprefix("GGML_TYPE_") for name in facts.enum(tree, "ggml/include/ggml.h", "ggml_type")]
    longer = tuple(name for name in there if name.startswith(kind.upper) and name != kind.upper)
    return facts.name_pattern(kind.name, kind.upper, longer + tuple(name.lower() for name in longer))


def _type_table(kind: Facts) -> dict[str, Any]:
    table: dict[str, Any] = {
        "name": kind.name,
        "upper": kind.upper,
        "description": kind.description,
        "id": kind.id,
        "ftype": kind.ftype if kind.ftype is not None else kind.id,
        "ggml_ftype": kind.ggml_ftype if kind.ggml_ftype is not None else kind.id,
        "block_size": kind.block_size,
        "type_size": kind.type_size,
        "sibling": kind.sibling,
        "activations": kind.activations,
    }
    return table | ({"ftype_upper": kind.ftype_upper} if kind.ftype_upper != kind.upper else {})


def _draft(kind: Facts, origin: Origin) -> PatchSet:
    """The set's edits for the type's facts, with no text of its own yet: what is looked for in the tree."""
    table = {
        "extends": "own-layout",
        "lifted": origin.table(),
        "type": _type_table(kind),
        "templates": dict.fromkeys(_OWN, _STUB),
    }
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "draft.toml"
        place.write_text(writing.toml(table), encoding="utf-8")
        patchset = load(place)
    # the set's own templates are ours: rendered without a sandbox, they need no folder
    return replace(patchset, home=None, edits=tuple(replace(edit, own=False) for edit in patchset.edits))


def _texts(tree: TreeIndex, base: TreeIndex, kind: Facts, draft: PatchSet, found: Places) -> Texts:
    """The closure, from the type's definitions and from the texts of its places."""
    covered: set[tuple[str, str]] = set()
    also: list[tuple[str, str]] = []
    for place in found.there:
        source = tree.source(place.path)
        if place.edit.kind == "item" and source is not None:
            for one in tree.definitions(place.path):
                if any(start <= one.start < end for start, end in place.spans):
                    covered.add((place.path, one.name))
        if place.edit.kind == "function":
            name = str(place.edit.anchor["ours"])
            if place.edit.id not in _OWN and _is_the_sets(tree, draft, place):
                covered.add((place.path, name))
        elif place.template is not None and not place.path.endswith(".py"):
            also.append((place.path, place.template))
    return texts.closure(tree, base, kind, also, covered)


def _is_the_sets(tree: TreeIndex, draft: PatchSet, place: places.Place) -> bool:
    from patcher.engine.comparison import part_of, same, tokens

    name = str(place.edit.anchor["ours"])
    source, there = tree.source(place.path), tree.defined(place.path, name)
    if source is None or len(there) != 1:
        return False
    ours = part_of(place.edit, draft.render(place.edit, tree.tree, {}))
    return same(ours, tokens(source.data[there[0].start : there[0].end]))


def _accounted(found: Places, needed: Texts) -> dict[str, list[tuple[int, int]]]:
    spans: dict[str, list[tuple[int, int]]] = {}
    for place in found.there:
        spans.setdefault(place.path, []).extend(place.spans)
    for text in needed.carried:
        spans.setdefault(text.path, []).extend(text.spans)
    return spans


def _other(tree: TreeIndex, needed: Texts) -> list[Left]:
    """What the texts rest on and BASE has in another form."""
    out = []
    for (path, name), by in needed.changed.items():
        source, there = tree.source(path), tree.defined(path, name)
        line = str(source.line_number(there[0].start)) if source is not None and there else "1"
        out.append(Left(path, line, name, f"{by} calls it, and BASE has it in another form, which stays"))
    return out


def _group(path: str) -> str:
    return next((name for pattern, name in _GROUPS if pattern.match(path)), "llama")


def _made(
    tree: TreeIndex,
    kind: Facts,
    origin: Origin,
    draft: PatchSet,
    found: Places,
    needed: Texts,
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
        if text.name in fallbacks and text.kind == "function":
            behind = texts.forwarded(text.name, text.template, fallbacks[text.name]["apart"])
            text = replace(text, template=text.template + behind)
        if place is not None and place.edit.kind == "function":
            name = place.edit.id
            without.append(name)
        else:
            name = writing.unique({*known, *edits}, remainder.slug(_called(text)))
        edits[name] = _text_edit(tree, text, name, place, put(text.path, name, text.template))
    for place in found.there:
        name = place.edit.id
        if place.template is not None:
            named[name] = put(place.path, name, place.template)
        elif place.edit.kind == "item" or (name in _OWN and name not in edits and name not in found.absent):
            found.absent[name] = "its text couldn't be told from the tree"
            without.append(name)
        if place.only and place.template is None:
            edits[name] = _narrowed(place)
    for twin in python:
        name = writing.unique({*known, *edits}, remainder.slug(f"py-{twin.name}"))
        edits[name] = {
            "id": name, "group": _group(twin.path), "purpose": f"{twin.name}, which {twin.needed_by} names.",
            "files": list(tree.candidates(twin.path)),
            "anchor": {"kind": "py-definition", "name": twin.behind, "ours": twin.name},
            "template": put(twin.path, name, twin.template), "unless_missing": "a release that has this elsewhere",
        }  # fmt: skip
    for one in added:
        name = writing.unique({*known, *edits}, one.id)
        edits[name] = {
            "id": name, "group": _group(one.path), "purpose": one.purpose, "files": list(tree.candidates(one.path)),
            "anchor": dict(one.anchor), "template": put(one.path, name, one.template),
            "unless_missing": "a release that doesn't have this file yet",
        }  # fmt: skip
    table: dict[str, Any] = {
        "extends": "own-layout",
        "known_good": [origin.base],
        "without": list(dict.fromkeys(without)),
        "lifted": origin.table(),
        "type": _type_table(kind),
        "templates": named,
        "edit": list(edits.values()),
    }
    same_as_set = [
        place.edit.id for place in found.there if place.edit.id not in named and place.edit.id not in edits
    ]
    same_as_set = [name for name in same_as_set if name not in without]
    absent = {name: why for name, why in found.absent.items() if name not in edits}
    return Lift(kind, origin, table, templates, [], same_as_set, [*named, *edits], absent)


def _called(text: Text) -> str:
    """An id that says which of several files the definition is in."""
    parts = PurePosixPath(text.path).parts
    where = parts[parts.index("arch") + 1] + "-" if "arch" in parts else ""
    return f"{where}{text.name}"


def _text_edit(
    tree: TreeIndex, text: Text, name: str, place: places.Place | None, template: str
) -> dict[str, Any]:
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
    if "/arch/" in text.path:
        edit["unless_missing"] = "a release that has no such architecture's file: the plain text is used"
    return edit | {"anchor": anchor, "template": template}


def _narrowed(place: places.Place) -> dict[str, Any]:
    """The set's edit for the functions alone in which the tree does what the sibling does."""
    edit = place.edit
    return {
        "id": edit.id, "group": edit.group, "purpose": edit.purpose, "files": list(edit.files),
        "anchor": {"kind": edit.kind, **{**edit.anchor, "owners": [], "only": list(place.only)}}, "template": edit.template,
    }  # fmt: skip


def _proved(made: Lift, base: ListedTree, folder: Path) -> Lift:
    """Write it, plan it on BASE, and take away what BASE has no place for; what can't be taken away is refused."""
    for _ in range(3):
        with tempfile.TemporaryDirectory() as scratch:
            trial = Path(scratch) / "type"
            writing.write(trial, made.facts.name, "", _with_left(made), made.templates)
            plan = make_plan(base, load(trial))
        bad = [one for one in plan.edits if one.state in (State.CONFLICT, State.UNPLACED)]
        if not bad:
            break
        for one in bad:
            _drop(made, one.edit.id, one.file, one.detail)
    needed = [one for one in plan.conflicts]
    if needed:
        details = tuple(f"{one.edit.id}: {one.file}: {one.detail}" for one in needed)
        raise ConflictError(
            f"{made.origin.base}: {made.facts.upper} has no place here for {len(needed)} edits",
            details=details,
        )
    head = (
        f"# {made.facts.upper}, lifted from {made.origin.tree} (over {made.origin.base}) by 'q8a8-patch type lift'.\n"
        f"#   q8a8-patch apply ./llama.cpp --type {folder.name}\n\n"
    )
    made.place = writing.write(folder, made.facts.name, head, _with_left(made), made.templates)
    made.plan = make_plan(base, load(made.place))
    return made


def _drop(made: Lift, name: str, file: str, why: str) -> None:
    """Take an edit out: it is listed as not lifted."""
    table = made.table
    table["edit"] = [edit for edit in table["edit"] if edit["id"] != name]
    table["templates"].pop(name, None)
    if name not in made.own or name in made.from_set or name not in table["without"]:
        table["without"] = list(dict.fromkeys([*table["without"], name]))
    made.own = [one for one in made.own if one != name]
    made.from_set = [one for one in made.from_set if one != name]
    made.dropped[name] = why
    made.left.append(Left(file, "1", name, f"BASE has no place for it: {why}"[:300]))


def _with_left(made: Lift) -> Mapping[str, Any]:
    """The table with what isn't lifted, and the waivers that say so to audit."""
    table = dict(made.table)
    from patcher.engine import type_file

    known = set()
    for layer in ("standard", "own-layout"):
        whole = type_file.parsed(resource_dir("patches") / "sets" / f"{layer}.toml", layer)
        known |= {edit["id"] for edit in whole["edit"]}
    table["without"] = [name for name in table["without"] if name in known]
    if not table["without"]:
        del table["without"]
    left = {one.file: one for one in made.left}
    waivers = [
        {"file": name, "reason": f"not lifted: {one.reason}"[:300]}
        for name, one in left.items()
        if "BASE has" not in one.reason
    ]
    listed = [one.document() for one in made.left]
    table["not_lifted"] = [one | {key: one[key][:300] for key in ("what", "reason")} for one in listed]
    table["waiver"] = waivers
    return {key: value for key, value in table.items() if value != []}
