"""The kinds of anchors in the schema of a type's file, which editors read as it is."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from patcher.engine.anchors import ANCHORS
from patcher.engine.patchset import NEW_FILE

PLACE = Path(__file__).parents[1] / "patches" / "type.schema.json"
_ROW = re.compile(r'(?P<head>"kind": \{\n(?P<indent> +)"enum": \[\n)(?P<names>[^\]]*)(?=\n +\])')


def renewed(text: str, kinds: list[str]) -> str:
    """The schema ``text`` with ``kinds`` as all that an anchor's kind may be; what it has keeps its order."""
    found = _ROW.search(text)
    if found is None:
        raise LookupError(f"{PLACE.name}: looked for the enum of anchor.kind, found none")
    there = re.findall(r'"([^"]+)"', found["names"])
    if set(there) == set(kinds):
        return text
    names = [name for name in (*there, *kinds) if name in kinds]
    row = ", ".join(f'"{name}"' for name in sorted(dict.fromkeys(names), key=lambda name: name == NEW_FILE))
    indent = found["indent"] + "  "
    lines = textwrap.wrap(row, 110, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return text[: found.start("names")] + "\n".join(lines) + text[found.end() :]


def stale() -> dict[Path, str]:
    """The schema as it should be, where it lacks a kind or has one too many."""
    text = PLACE.read_text(encoding="utf-8")
    made = renewed(text, [*ANCHORS, NEW_FILE])
    return {PLACE: made} if made != text else {}
