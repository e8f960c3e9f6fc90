"""The folder that a lifted type is: its file, and a template for each text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from patcher.base.errors import UsageError
from patcher.base.files import write_whole


def toml(table: Mapping[str, Any]) -> str:
    """A document of plain tables as TOML: keys, then tables, then arrays of tables."""
    lines: list[str] = []
    for key, value in table.items():
        if not _is_tables(value) and not isinstance(value, Mapping):
            lines.append(f"{key} = {_value(value)}")
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{key}]", *(f"{name} = {_value(one)}" for name, one in value.items())]
    for key, value in table.items():
        for one in value if _is_tables(value) else ():
            lines += ["", f"[[{key}]]", *(f"{name} = {_value(item)}" for name, item in one.items())]
    return "\n".join(lines).lstrip("\n") + "\n"


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_value(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def write(folder: Path, name: str, head: str, table: Mapping[str, Any], templates: Mapping[str, str]) -> Path:
    """Write the type's file and its templates; the file's place.

    Raises :class:`UsageError` where the folder is there and isn't empty: nothing is overwritten.
    """
    require_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in templates.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, text.encode("utf-8", "surrogateescape"))
    place = folder / f"{name}.toml"
    write_whole(place, head + toml(table))
    return place


def require_free(folder: Path) -> None:
    """Refuse a folder that holds anything."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(
            f"{folder}: looked for a new or empty folder, found one that is in use", hint="name another one"
        )


def extension(path: str) -> str:
    """The ending of a template of a text out of ``path``, so that an editor knows the language."""
    return Path(path).suffix or ".txt"


def slug(text: str) -> str:
    """An id that a type's file takes."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-")[:60]


def unique(names: Iterable[str], wanted: str) -> str:
    """``wanted``, with a number where ``names`` have it."""
    taken = set(names)
    number, made = 2, wanted
    while made in taken:
        made, number = f"{wanted[:56]}-{number}", number + 1
    return made
