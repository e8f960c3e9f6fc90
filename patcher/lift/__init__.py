"""A type out of a fork or a release as a type's file of its own: what is in the tree and wasn't in its base.

Everything that names the type in what the tree has over its base is either carried, as an edit that is found
by structure, or listed with its lines and the reason why it isn't.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from patcher.base.errors import ConflictError, UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.base.resources import resource_dir
from patcher.engine.patchset import PatchSet, load
from patcher.engine.plan import State
from patcher.engine.planning import make_plan
from patcher.engine.tree import ListedTree
from patcher.engine.type_file import parsed
from patcher.lift import (
    assembly,
    binding,
    enumerators,
    new_sources,
    places,
    remainder,
    texts,
    twins,
    type_facts,
    writing,
)
from patcher.lift.assembly import OWN, Lift, Origin, type_table
from patcher.lift.places import SetPlaces
from patcher.lift.remainder import Left
from patcher.lift.texts import Texts
from patcher.lift.tree_index import TreeIndex
from patcher.lift.type_facts import TypeFacts

__all__ = ["Lift", "Origin", "TypeFacts", "license_of", "lift", "types"]

_STUB = "case-label.j2"  # what the draft's texts are before the tree's are known


def types(tree: ListedTree, base: ListedTree, unread: dict[str, str] | None = None) -> list[TypeFacts]:
    """The types that ``tree`` has and ``base`` hasn't, by number.

    One whose facts can't be told goes into ``unread``, with the reason.
    Raises :class:`UsageError` for a tree without ggml, :class:`ConflictError` for such a type where
    ``unread`` isn't given.
    """
    ours, theirs = TreeIndex(tree), TreeIndex(base)
    new = type_facts.new_types(ours, theirs)
    found = []
    for name in sorted(new, key=lambda one: new[one]):
        upper = name.removeprefix("GGML_TYPE_")
        try:
            found.append(type_facts.read(ours, upper))
        except ConflictError as why:
            if unread is None:
                raise
            unread[upper] = why.message
    return found


def _chosen(tree: TreeIndex, base: TreeIndex, wanted: str) -> TypeFacts:
    """The one type called ``wanted``: MXFP4, mxfp4 or GGML_TYPE_MXFP4."""
    new = type_facts.new_types(tree, base)
    upper = re.sub(r"^GGML_TYPE_", "", wanted.upper().replace("-", "_"))
    named = {name.removeprefix("GGML_TYPE_").upper(): name.removeprefix("GGML_TYPE_") for name in new}
    if upper not in named:
        there = type_facts.enum(tree, "ggml/include/ggml.h", "ggml_type")
        known = f"GGML_TYPE_{upper}" in there
        has = f"it has {', '.join(named.values())}" if named else "it has none that its base hasn't"
        raise UsageError(
            f"{tree.name}: looked for a type {wanted} that {base.name} hasn't, found"
            f" {'one that both have' if known else 'none'}; {has}",
            hint="'type lift TREE --base BASE' lists what there is",
        )
    return type_facts.read(tree, named[upper])


def lift(
    tree: ListedTree, base: ListedTree, wanted: str, origin: Origin, folder: Path, reporter: Reporter = SILENT
) -> Lift:
    """Lift the type ``wanted`` and write it into ``folder``, which has to be new or empty.

    Raises :class:`UsageError` for a type that isn't new in ``tree``, :class:`ConflictError` where a fact
    can't be told or BASE has no place for what the type can't do without.
    """
    writing.require_free(folder)
    paths = parsed(resource_dir("patches") / "sets" / "standard.toml", "patches/sets/standard.toml")["paths"]
    ours, theirs = TreeIndex(tree, paths.values()), TreeIndex(base, paths.values())
    facts = _chosen(ours, theirs, wanted)
    with reporter.step("Lifting", total=4) as step:
        step.update(done=0, detail="places")
        draft = _draft(facts, origin)
        found = places.of_set(ours, draft)
        step.update(done=1, detail="texts")
        needed = _texts(ours, theirs, facts, draft, found)
        binding.require_bound(ours, facts, found, needed)
        sources = new_sources.gathered(ours, theirs, facts, needed)
        headers = [one.path for one in sources if one.path.endswith(".h")]
        apart = new_sources.with_includes(ours, theirs, facts, needed, headers)
        step.update(done=2, detail="what remains")
        word = _word(ours, facts)
        accounted = _accounted(found, needed)
        python = twins.of_places(ours, theirs, found.there)
        for twin in python:
            accounted.setdefault(twin.path, []).append(twin.span)
        for source in sources:
            accounted.setdefault(source.path, []).extend(source.spans)
            for one in source.listed:
                accounted.setdefault(one.path, []).append(one.span)
        members = list(enumerators.of_tree(ours, theirs, word, accounted))
        for addition, span in members:
            if span is not None:
                accounted.setdefault(addition.path, []).append(span)
        rest = remainder.of_tree(ours, theirs, facts, word, accounted)
        step.update(done=3, detail="the plan")
        added = [*(addition for addition, _ in members), *rest.added]
        made = assembly.made(ours, facts, origin, draft, found, needed, sources, python, added)
        binding.require_linked(ours, theirs, facts, found, made.templates)
        made.left += [*rest.left, *_other(ours, needed)]
        made.left += [
            Left(
                path,
                "1",
                header,
                "the tree includes it here for the type, and no text is put here that could",
            )
            for path, header in apart
        ]
        return _proved(made, base, folder)


def license_of(tree: ListedTree) -> str | None:
    """The first line of the tree's license, and its first line of copyright; None where it has none."""
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md", "COPYING"):
        data = tree.read(name)
        if data is not None:
            lines = [" ".join(line.split()) for line in data.decode("utf-8", "replace").split("\n")]
            said = [line for line in lines if line]
            holder = next((line for line in said if line.lower().startswith("copyright")), "")
            return "; ".join(part for part in (said[0] if said else name, holder) if part)[:300]
    return None


def _word(tree: TreeIndex, facts: TypeFacts) -> re.Pattern[str]:
    """The names that are the type's and not those of a type with a longer name."""
    there = [
        name.removeprefix("GGML_TYPE_") for name in type_facts.enum(tree, "ggml/include/ggml.h", "ggml_type")
    ]
    longer = tuple(name for name in there if name.startswith(facts.upper) and name != facts.upper)
    return type_facts.name_pattern(facts.name, facts.upper, longer + tuple(name.lower() for name in longer))


def _draft(facts: TypeFacts, origin: Origin) -> PatchSet:
    """The set's edits for the type's facts, with no text of its own yet: what is looked for in the tree."""
    table = {
        "extends": "own-layout",
        "lifted": origin.table(),
        "type": type_table(facts),
        "templates": dict.fromkeys(OWN, _STUB),
    }
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "draft.toml"
        place.write_text(writing.toml(table), encoding="utf-8")
        patchset = load(place)
    # the set's own templates are ours: rendered without a sandbox, they need no folder
    return replace(patchset, home=None, edits=tuple(replace(edit, own=False) for edit in patchset.edits))


def _texts(tree: TreeIndex, base: TreeIndex, facts: TypeFacts, draft: PatchSet, found: SetPlaces) -> Texts:
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
            if place.edit.id not in OWN and _is_the_sets(tree, draft, place):
                covered.add((place.path, name))
        elif place.template is not None and not place.path.endswith(".py"):
            also.append((place.path, place.template))
    return texts.closure(tree, base, facts, also, covered)


def _is_the_sets(tree: TreeIndex, draft: PatchSet, place: places.SetPlace) -> bool:
    from patcher.engine.comparison import part_of, same, tokens

    name = str(place.edit.anchor["ours"])
    source, there = tree.source(place.path), tree.defined(place.path, name)
    if source is None or len(there) != 1:
        return False
    ours = part_of(place.edit, draft.render(place.edit, tree.tree, {}))
    return same(ours, tokens(source.data[there[0].start : there[0].end]))


def _accounted(found: SetPlaces, needed: Texts) -> dict[str, list[tuple[int, int]]]:
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


def _proved(made: Lift, base: ListedTree, folder: Path) -> Lift:
    """Write it, plan it on BASE, take away what BASE has no place for; refuse what can't be taken away."""
    plan, bad = None, []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as scratch:
            trial = Path(scratch) / "type"
            writing.write(trial, made.facts.name, "", _with_left(made), made.templates)
            plan = make_plan(base, load(trial))
        bad = [one for one in plan.edits if one.state in (State.CONFLICT, State.UNPLACED)]
        if not bad or any(one.edit.required for one in bad):
            break
        for one in bad:
            _drop(made, one.edit.id, one.file, one.detail)
    needed = [one for one in bad if one.edit.required]
    if plan is None or needed:
        details = tuple(f"{one.edit.id}: {one.file}: {one.detail}" for one in needed)
        raise ConflictError(
            f"{made.origin.base}: {made.facts.upper} has no place here for {len(needed)} edits",
            details=details,
            hint="name a --base of a release nearer to TREE's, or write these edits by hand:"
            " docs/how-to/own-type.md",
        )
    head = (
        f"# {made.facts.upper}, lifted from {made.origin.tree} (over {made.origin.base})"
        " by 'q8a8-patch type lift'.\n"
        f"#   q8a8-patch apply ./llama.cpp --type {folder.name}\n\n"
    )
    made.place = writing.write(folder, made.facts.name, head, _with_left(made), made.templates)
    made.plan = plan
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
