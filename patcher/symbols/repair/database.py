"""``compile_commands.json``: which source each object file came from, and how."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patcher.base.errors import UsageError

NAME = "compile_commands.json"


@dataclass(frozen=True)
class Compilation:
    """One entry. Paths are absolute."""

    source: Path
    folder: Path
    arguments: tuple[str, ...]
    object: Path


def find_database(start: Path) -> Path | None:
    """The nearest ``compile_commands.json`` at or above ``start``."""
    real = start.resolve()
    return next((folder / NAME for folder in (real, *real.parents) if (folder / NAME).is_file()), None)


def read_database(path: Path) -> list[Compilation]:
    """Its entries that write an object. Raises :class:`UsageError` where it is malformed."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        entries = [_entry(item) for item in document]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as why:
        raise UsageError(
            f"{path}: looked for compile commands, found none that can be read ({why!r})",
            hint="configure the build again with -DCMAKE_EXPORT_COMPILE_COMMANDS=ON, which writes it anew",
        ) from why
    return [entry for entry in entries if entry is not None]


def _entry(item: dict[str, Any]) -> Compilation | None:
    folder = Path(item["directory"])
    words = [str(word) for word in item["arguments"]] if "arguments" in item else shlex.split(item["command"])
    out = item.get("output") or (words[words.index("-o") + 1] if "-o" in words[:-1] else None)
    if out is None:
        return None
    source = Path(os.path.normpath(folder / item["file"]))
    return Compilation(source, folder, tuple(words), Path(os.path.normpath(folder / out)))
