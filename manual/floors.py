"""The page of the package's floors: what each is, and which of the others it imports."""

from __future__ import annotations

import ast
from pathlib import Path

import grimp

from patcher.base import toml

PACKAGE = Path(__file__).parents[1] / "patcher"

_HEAD = """# The floors of the package

From the top. A floor imports what is below it, and nothing above: `lint-imports` holds it to that, and a
test of the quick tier runs it. A new module goes to the floor of its noun; a new floor gets its place in
`pyproject.toml`.

| floor | what it is | modules | imports |
|---|---|---|---|
"""

_BEFORE = """
## What it was before

Until November 2026 `patcher/` had 29 modules side by side, `evaluate/` 40 more. One import led up
(`model/refine.py` to `evaluate/drafts.py`), `quantize` entered through `evaluate`, `verify-symbols --fix`
loaded all of Q8_A8 to note one line, and what one kind of anchor is stood in nine places; now it stands in
one object and its test ([Anchors](anchors.md)).
"""


def floors_page() -> str:
    """The page; the order is that of the contract in ``pyproject.toml``, the top floor first."""
    settings = toml.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    order = [name.strip(" ()") for layer in contract["layers"] for name in layer.split("|")]
    graph = grimp.build_graph("patcher", cache_dir=None)
    rows = []
    for floor in (name for name in order if (PACKAGE / name).is_dir()):
        inside = [module for module in graph.modules if _floor(module) == floor]
        used = {_floor(one) for module in inside for one in graph.find_modules_directly_imported_by(module)}
        files = list((PACKAGE / floor).rglob("*.py"))
        below = ", ".join(f"`{name}`" for name in order if name in used and name != floor)
        rows.append(f"| `{floor}` | {_said(floor)} | {len(files)} | {below or 'none'} |\n")
    return _HEAD + "".join(rows) + _BEFORE


def _floor(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _said(floor: str) -> str:
    """The first sentence of the floor's own docstring."""
    text = ast.get_docstring(ast.parse((PACKAGE / floor / "__init__.py").read_text(encoding="utf-8"))) or ""
    first = " ".join(text.split("\n\n")[0].split())
    return first.replace("|", "\\|").rstrip(".")
