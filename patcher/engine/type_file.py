"""A type's file, and the sets of edits that it extends, as one document of plain tables.

What ships is ours and is trusted. A file of the user's own may come from anybody: its form is checked against
``patches/type.schema.json``, and what it says may neither leave its folder nor reach into git's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from patcher.base import toml
from patcher.base.errors import ShippedFileError, UsageError
from patcher.base.os_errors import way_out
from patcher.base.resources import resource_dir
from patcher.engine.quant_type import QuantType
from patcher.engine.tree import inside

SHIPPED = ("q8_a8",)

_ACTIVATIONS = {"q8_0": 32, "q8_1": 32, "q8_K": 256}  # upstream's types of activations, and their blocks

_LOWEST = 64  # upstream's own numbers grow from below, by a few each year

Table = dict[str, Any]


@dataclass
class TypeFile:
    """The document: the type, and every group, edit and waiver of its file and of the sets below it."""

    where: str  # what messages call it
    type: QuantType
    home: Path | None  # the folder of a user's own file; None for what ships
    known_good: tuple[str, ...] = ()
    upstream_ids: dict[str, dict[str, str]] = field(default_factory=dict)
    paths: dict[str, list[str]] = field(default_factory=dict)  # name -> candidates of one file
    groups: dict[str, Table] = field(default_factory=dict)
    edits: dict[str, Table] = field(default_factory=dict)
    waivers: list[Table] = field(default_factory=list)
    retired: list[Table] = field(default_factory=list)  # edits of earlier releases of this tool
    lifted: Table | None = None  # where 'type lift' took it from
    not_lifted: list[Table] = field(default_factory=list)


def shipped(name: str) -> TypeFile:
    """A type that ships. Raises :class:`PatcherError` where its file is malformed."""
    place = resource_dir("patches") / f"{name}.toml"
    where = f"patches/{place.name}"
    return _composed(parsed(place, where), where, None)


def own(place: Path) -> TypeFile:
    """A type of the user's own. Raises :class:`UsageError`, one line, for whatever is wrong with the file."""
    from patcher.engine import type_schema

    place = in_folder(place)
    if place.name in SHIPPED or not place.is_file():
        raise UsageError(
            f"--type {place}: looked for a type's file, found none",
            hint=f"name a .toml file, or {', '.join(SHIPPED)}, which ships",
        )
    where = str(place)
    table = parsed(place, where)
    type_schema.check(table, place)
    if "lifted" not in table:
        for fact in ("id", "ftype", "ggml_ftype"):
            type_schema.check_least(table["type"], fact, _LOWEST, place)
    document = _composed(table, where, place.resolve().parent)
    _check_numbers(document)
    _check_texts(table, where)
    for edit in document.edits.values():
        type_schema.check_anchor(edit, where)
        _check_paths(edit, where)
    return document


def in_folder(place: Path) -> Path:
    """The one .toml file in the folder ``place``, as 'type lift' writes it; ``place`` where it is no folder.

    Raises :class:`UsageError` for a folder with none, or several.
    """
    if not place.is_dir():
        return place
    found = sorted(place.glob("*.toml"))
    if len(found) != 1:
        names = ", ".join(one.name for one in found) or "none"
        raise UsageError(
            f"--type {place}: looked for one .toml file in the folder, found {names}",
            hint="name the file itself",
        )
    return found[0]


def parsed(place: Path, where: str) -> Table:
    """The TOML file as plain tables. Raises :class:`UsageError`; :class:`ShippedFileError` for ours."""
    ships = place.is_relative_to(resource_dir("patches"))
    try:
        text = place.read_text(encoding="utf-8")
        table: Table = _shipped_table(text) if ships else toml.loads(text)
    except (OSError, UnicodeDecodeError, toml.TOMLDecodeError, RecursionError) as why:
        if ships:
            raise ShippedFileError(f"{where}: {why}") from why
        hint = way_out(why, "correct the line that is named, and save the file as UTF-8")
        raise UsageError(f"{where}: {why}", hint=hint) from why
    return table


@lru_cache(maxsize=8)
def _shipped_table(text: str) -> Table:
    """What ships is parsed once, however many types extend it; nobody changes it."""
    table: Table = toml.loads(text)
    return table


def _composed(table: Table, where: str, home: Path | None) -> TypeFile:
    quant_type = QuantType.from_table(table.get("type", {}), where)
    document = TypeFile(where, quant_type, home)
    for layer, name in _layers(table, where):
        _lay(document, layer, name, own=home is not None and layer is table)
    order = _ordered(document)
    document.groups = {name: document.groups[name] for name in order}
    position = {name: number for number, name in enumerate(order)}
    for edit in document.edits.values():
        if edit["group"] not in position:
            raise UsageError(
                f"{where}: edit {edit['id']}: looked for its group {edit['group']}, found none of that name",
                hint=f"name one of {', '.join(position)}, or add a [[group]]",
            )
        if "template" not in edit:
            purpose = edit["purpose"]
            raise UsageError(
                f"{where}: [templates]: looked for a text of {edit['id']} ({purpose}), found none",
                hint="name a file of your own there: this text is every type's own;"
                " docs/how-to/own-type.md shows one",
            )
    ranked = sorted(document.edits.values(), key=lambda edit: position[edit["group"]])
    document.edits = {edit["id"]: edit for edit in ranked}
    return document


def _layers(table: Table, where: str) -> Iterator[tuple[Table, str]]:
    """The sets that the file extends, the lowest first, then the file itself."""
    below = table.get("extends")
    if below is not None:
        place = resource_dir("patches") / "sets" / f"{below}.toml"
        yield from _layers(parsed(place, f"patches/sets/{place.name}"), f"patches/sets/{place.name}")
    yield table, where


def _lay(document: TypeFile, layer: Table, where: str, *, own: bool) -> None:
    """Put one layer over those below it: the same id replaces, in place."""
    facts = document.type.facts
    document.known_good = tuple(layer.get("known_good", document.known_good))
    for fact, taken in layer.get("upstream_ids", {}).items():
        document.upstream_ids.setdefault(fact, {}).update(taken)
    document.paths.update(layer.get("paths", {}))
    for name in layer.get("without", ()):
        gone = [edit for edit in document.edits.values() if name in (edit["id"], edit["group"])]
        if not gone:
            raise UsageError(
                f"{where}: without: looked for the edit or group {name} in what it extends, found none",
                hint="'q8a8-patch status TREE' lists their names",
            )
        for edit in gone:
            del document.edits[edit["id"]]
    for group in layer.get("group", ()):
        before = document.groups.get(group["id"], {})
        after = {"after": before["after"]} if "after" in before else {}
        document.groups[group["id"]] = after | _filled(group, facts, where)
    seen: set[str] = set()
    for edit in layer.get("edit", ()):
        if edit.get("id") in seen:
            raise UsageError(
                f"{where}: looked for an id of each edit, found {edit['id']} twice",
                hint="give one of the two another id",
            )
        seen.add(edit["id"])
        filled = _filled(edit, facts, where) | {"own": own}
        document.edits[edit["id"]] = filled | {"files": _candidates(filled, document.paths, where)}
    for name, template in layer.get("templates", {}).items():
        if name not in document.edits:
            raise UsageError(
                f"{where}: [templates]: looked for the edit {name} in what it extends, found none",
                hint="'q8a8-patch status TREE' lists their names",
            )
        document.edits[name] = document.edits[name] | {"template": template, "own": own}
    document.waivers += [_filled(waiver, facts, where) for waiver in layer.get("waiver", ())]
    document.retired += [_filled(one, facts, where) for one in layer.get("retired", ())]
    document.lifted = layer.get("lifted", document.lifted)
    document.not_lifted += layer.get("not_lifted", ())


def _candidates(edit: Table, paths: Mapping[str, list[str]], where: str) -> list[str]:
    """The edit's ``files``: as they are written, or by a name of [paths]."""
    files: list[str] | str = edit.get("files", [])
    if not isinstance(files, str):
        return files
    if files not in paths:
        raise UsageError(
            f"{where}: edit {edit.get('id')}: files: looked for {files} in [paths], found none",
            hint=f"name one of {', '.join(paths)}, or write a list of paths",
        )
    return list(paths[files])


def _ordered(document: TypeFile) -> list[str]:
    """The groups in the order of an export: as they are written, or ``after`` the one named."""
    order: list[str] = []
    for name, group in document.groups.items():
        behind = group.pop("after", None)
        if behind is not None and behind not in order:
            raise UsageError(
                f"{document.where}: group {name}: after: looked for {behind} among the groups before it,"
                f" found none",
                hint="write that group first, or name another",
            )
        order.insert(len(order) if behind is None else order.index(behind) + 1, name)
    return order


_FACT = re.compile(r"\$\{(\w+)\}")


def _filled(value: Any, facts: Mapping[str, str | int], where: str, *, in_anchor: bool = False) -> Any:
    """``value`` with every ``${fact}`` in it filled in.

    A parameter of an anchor that is nothing but a fact becomes that: ``value = "${id}"`` is a number.
    """
    if isinstance(value, dict):
        return {
            key: _filled(item, facts, where, in_anchor=in_anchor or key == "anchor")
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_filled(item, facts, where) for item in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    unknown = [name for name in _FACT.findall(value) if name not in facts]
    if unknown:
        raise UsageError(
            f"{where}: looked for the fact ${{{unknown[0]}}} of '{value}', found none of that name",
            hint=f"take one of {', '.join(facts)}",
        )
    alone = _FACT.fullmatch(value)
    return facts[alone[1]] if alone and in_anchor else _FACT.sub(lambda found: str(facts[found[1]]), value)


def _check_numbers(document: TypeFile) -> None:
    """Refuse a name or a number that is upstream's or another type's: files in the wild carry them."""
    quant_type, where = document.type, document.where
    for name in SHIPPED:
        other = QuantType.from_table(parsed(resource_dir("patches") / f"{name}.toml", name)["type"], name)
        for fact in ("name", "upper", "id", "ftype", "ggml_ftype"):
            found = getattr(quant_type, fact)
            if found == getattr(other, fact):
                raise UsageError(
                    f"{where}: type.{fact}: found {found}, which is {other.upper}'s",
                    hint="take another that no fork uses; numbers go up to 511",
                )
    values = _ACTIVATIONS[quant_type.activations]
    if quant_type.block_size % values:
        allowed = f"a multiple of {values}, the block of its activations ({quant_type.activations})"
        raise UsageError(f"{where}: type.block_size: found {quant_type.block_size}", hint=f"take {allowed}")
    for fact, taken in document.upstream_ids.items():
        found = getattr(quant_type, fact)
        mine = (quant_type.upper, quant_type.ftype_upper) if document.lifted is not None else ()
        if str(found) in taken and taken[str(found)] not in mine:
            raise UsageError(
                f"{where}: type.{fact}: found {found}, which is upstream's {taken[str(found)]}",
                hint="take another that no fork uses; numbers go up to 511",
            )


def _check_texts(value: Any, where: str, key: str = "") -> None:
    """Refuse what a terminal would obey: these texts are shown, and written into source files."""
    if isinstance(value, dict):
        for name, item in value.items():
            _check_texts(name, where, "a key")
            _check_texts(item, where, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check_texts(item, where, f"{key}[{number}]")
    elif isinstance(value, str) and any(not char.isprintable() and char not in "\n\t" for char in value):
        raise UsageError(
            f"{where}: {key}: looked for printable text, found a control character",
            hint="take it out; 'cat -A FILE' shows it",
        )


_FROM_ROOT = "write the path of a source file from the tree's root, with '/' and without '..'"


def _check_paths(edit: Table, where: str) -> None:
    """Refuse files outside of the tree, and those of git: its hooks and its configuration are run."""
    beside = edit["anchor"].get("beside", ()) if edit["anchor"].get("kind") == "new-file" else ()
    for path in (*edit["files"], *([beside] if isinstance(beside, str) else beside)):
        parts = [part.rstrip(". ").lower() for part in PurePosixPath(path).parts]
        if not inside(path) or "\\" in path or ":" in path:
            raise UsageError(
                f"{where}: edit {edit['id']}: looked for a path in the tree, found {path}", hint=_FROM_ROOT
            )
        if any(part == ".git" or part.startswith("git~") for part in parts):
            raise UsageError(
                f"{where}: edit {edit['id']}: looked for a source file, found {path}, which is git's own",
                hint=_FROM_ROOT,
            )
