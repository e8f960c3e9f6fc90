"""The form of a type's file: one line that names file, key, what was found and what is allowed."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from patcher.base.errors import UsageError
from patcher.base.resources import resource_dir


def schema() -> dict[str, Any]:
    """The JSON schema of a type's file (draft 7)."""
    loaded: dict[str, Any] = json.loads(text())
    return loaded


def text() -> str:
    """The schema as it ships."""
    return (resource_dir("patches") / "type.schema.json").read_text(encoding="utf-8")


def check(table: Mapping[str, Any], place: Path) -> None:
    """Raise :class:`UsageError` for the first thing in ``table`` that the schema doesn't allow."""
    import fastjsonschema  # here: who has no type of their own never needs it

    try:
        _validator()(table)
    except fastjsonschema.JsonSchemaValueException as why:
        keys = [part for part in why.path[1:] if part]
        raise UsageError(
            _said(why, keys, place),
            hint="'q8a8-patch type show --schema' prints all that such a file may hold",
        ) from why


def check_least(table: Mapping[str, Any], fact: str, least: int, place: Path) -> None:
    """Raise :class:`UsageError` for a number of [type] below ``least``, where it is given."""
    if table.get(fact, least) < least:
        line = _line(place.read_text(encoding="utf-8"), ["type", fact])
        raise UsageError(
            f"{place}:{line}: type.{fact}: found {table[fact]}", hint=f"take a number from {least} to 511"
        )


@cache
def _validator() -> Callable[[Mapping[str, Any]], object]:
    import fastjsonschema

    made: Callable[[Mapping[str, Any]], object] = fastjsonschema.compile(schema(), use_default=False)
    return made


def _said(why: Any, keys: list[str], place: Path) -> str:
    definition = why.definition if isinstance(why.definition, dict) else {}
    found = f"found {_shown(why.value)}"
    match why.rule:
        case "required":
            lacking = [name for name in definition["required"] if name not in why.value]
            found, allowed = f"lacks {', '.join(lacking)}", "it has to be there"
        case "additionalProperties":
            strange = sorted(set(why.value) - set(definition.get("properties", ())))
            keys, found = [*keys, strange[0]], "found a key that isn't known"
            allowed = ", ".join(definition.get("properties", ()))
        case "minimum" | "maximum":
            allowed = f"{definition['minimum']} to {definition['maximum']}"
        case "enum":
            allowed = ", ".join(map(str, definition["enum"]))
        case "type":
            types = definition["type"]
            allowed = types if isinstance(types, str) else " or ".join(types)
        case _:
            allowed = definition.get("x-allowed") or f"{why.rule} {_shown(why.rule_definition)}"
    line = _line(place.read_text(encoding="utf-8"), keys)
    name = re.sub(r"\.(\d+)", r"[\1]", ".".join(keys))
    where = f"{place}:{line}" if line else str(place)
    return f"{where}: {name + ': ' if name else ''}{found}; allowed: {allowed}"


def _shown(value: object) -> str:
    shown = json.dumps(value, ensure_ascii=True, default=str)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _line(text: str, keys: list[str]) -> int | None:
    """Where ``keys`` stand in a TOML text, as far as it is written with headers; counted from 1."""
    start, pattern = 0, ""
    rest = list(keys)
    if rest and re.search(rf"(?m)^[ \t]*\[\[?\s*{re.escape(rest[0])}\s*\]", text):
        heads = list(re.finditer(rf"(?m)^[ \t]*\[\[?\s*{re.escape(rest.pop(0))}\s*\]", text))
        number = int(rest.pop(0)) if rest and rest[0].isdigit() else 0
        if number >= len(heads):
            return None
        start = heads[number].end()
    if rest:
        pattern = rf"(?m)^[ \t]*[\"']?{re.escape(rest[0])}[\"']?\s*="
        found = re.compile(pattern).search(text, start)
        if found is None:
            return text.count("\n", 0, start) + 1 if start else None
        start = found.end()
    return text.count("\n", 0, start) + 1 if start else None


def check_anchor(edit: Mapping[str, Any], where: str) -> None:
    """Raise :class:`UsageError` for a parameter that the anchor lacks or doesn't know, or a bad pattern."""
    from patcher.engine.anchors import ANCHORS

    anchor = dict(edit["anchor"])
    kind = anchor.pop("kind", None)
    name = f"{where}: edit {edit['id']}"
    if kind == "new-file":
        beside = anchor.get("beside")
        places = [beside] if isinstance(beside, str) else beside
        if set(anchor) != {"beside"} or not isinstance(places, list) or len(places) != len(edit["files"]):
            raise UsageError(
                f"{name}: anchor new-file: looked for beside with one neighbour for each of files, found"
                f" another",
                hint='write as many paths as files has, such as beside = ["ggml/src/ggml-quants.c"]',
            )
    elif kind in ANCHORS:
        _check_parameters(name, kind, anchor)
    else:
        raise UsageError(
            f"{name}: anchor.kind: looked for a kind of anchor, found {_shown(kind)}",
            hint=f"take one of {', '.join((*ANCHORS, 'new-file'))}; docs/how-to/own-type.md says what"
            f" each does",
        )
    patterns = {key: edit.get(key) for key in ("when", "compare")}
    patterns |= {
        f"anchor.{key}": anchor.get(key) for key in (ANCHORS[kind].patterns if kind in ANCHORS else ())
    }
    for key, pattern in patterns.items():
        if pattern is None:
            continue
        try:
            re.compile(pattern)
        except (re.error, TypeError) as why:
            raise UsageError(
                f"{name}: {key}: looked for a pattern, found {_shown(pattern)} ({why})",
                hint="write a regular expression as Python has them; in TOML between single quotes",
            ) from why


# annotations of the anchors' parameters -> what a file may give them
_PARAMETERS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str,),
    "int": (int,),
    "bool": (bool,),
    "Iterable[str]": (list,),
    "list[str]": (list,),
    "str | Iterable[str]": (str, list),
}
_CALLED = {str: "a string", int: "a number", bool: "true or false", list: "a list of strings"}


def _check_parameters(name: str, kind: str, anchor: Mapping[str, Any]) -> None:
    from patcher.engine.anchors import ANCHORS

    signature = inspect.signature(ANCHORS[kind].locate)
    try:
        signature.bind(None, **anchor)
    except TypeError as why:
        known = ", ".join(list(signature.parameters)[1:])
        raise UsageError(f"{name}: anchor {kind}: {why}", hint=f"its parameters are {known}") from why
    for key, value in anchor.items():
        allowed = _PARAMETERS[str(signature.parameters[key].annotation)]
        if type(value) not in allowed:
            wanted = " or ".join(_CALLED[one] for one in allowed)
            raise UsageError(f"{name}: anchor.{key}: found {_shown(value)}", hint=f"write {wanted}")
