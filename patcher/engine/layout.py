"""How a tree is laid out: llama.cpp's own, a project that carries ggml without llama, ggml's own repository.

What is llama's isn't needed where there is no llama; and ggml's own repository has no folder ``ggml/``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from patcher.base.errors import ConflictError, UsageError
from patcher.engine.patchset import NEW_FILE, Edit, PatchSet
from patcher.engine.tree import Tree

HEADER, LLAMA = "ggml/include/ggml.h", "include/llama.h"
_FOLDER = "ggml/"
# beside the header, what tells ggml's own repository from a project that merely has such a header
_OWN = ("include/ggml.h", "src/ggml-common.h", "include/ggml-backend.h")
_LLAMAS = (LLAMA, "src/llama-model-loader.cpp", "src/llama.cpp")  # one of them says that llama is there
_CPU = "src/ggml-cpu/ggml-cpu.c"
DEPTH = 4  # folders below the top of a project that are looked at
_NEVER = {".git", "node_modules", "build", "__pycache__"}


def is_llama(has: Callable[[str], bool]) -> bool:
    """Whether a tree in which ``has`` says what is there is llama.cpp's."""
    return has(HEADER) and has(LLAMA)


def carries_ggml(has: Callable[[str], bool]) -> bool:
    """Whether it has ggml at all: in its folder, or as ggml's own repository."""
    return has(HEADER) or all(has(path) for path in _OWN)


def fitted(patchset: PatchSet, tree: Tree) -> PatchSet:
    """The patch set for the layout of ``tree``: what is llama's is not needed where there is none."""

    def has(path: str) -> bool:
        return tree.read(path) is not None

    if patchset.fitted or any(has(path) for path in _LLAMAS) or not carries_ggml(has):
        return patchset
    strip = "" if has(HEADER) else _FOLDER
    edits = tuple(_fitted(edit, strip) for edit in patchset.edits)
    return replace(patchset, edits=edits, strip=strip, fitted=True)


_REASON = "this tree has ggml without llama (no include/llama.h)"


def _fitted(edit: Edit, strip: str) -> Edit:
    if not edit.files[0].startswith(_FOLDER):
        if edit.group != "tests":
            return replace(edit, unneeded=_REASON)
        return replace(edit, unless_missing=edit.unless_missing or _REASON)
    anchor: dict[str, Any] = dict(edit.anchor)
    if edit.kind == NEW_FILE:
        anchor["beside"] = [path.removeprefix(strip) for path in edit.besides]
    return replace(edit, files=tuple(path.removeprefix(strip) for path in edit.files), anchor=anchor)


def require_tree(tree: Tree) -> None:
    """Raise :class:`UsageError` where ``tree`` carries no ggml, naming a folder below it that does, and
    :class:`ConflictError` where its CPU backend is from before it had a folder of its own."""

    def has(path: str) -> bool:
        return tree.read(path) is not None

    if not carries_ggml(has):
        root = getattr(tree, "root", None)
        below = found_below(root) if isinstance(root, Path) else []
        names = " or ".join(str(place) for place in below[:3])
        raise UsageError(
            f"{tree.name}: looked for {HEADER} and {LLAMA}, found none",
            hint=f"there is one in {names}: name that folder"
            if names
            else "name the top folder of a llama.cpp checkout, vendored or not",
        )
    if not has(_FOLDER + _CPU) and not has(_CPU):
        raise ConflictError(
            f"{tree.name}: looked for {_FOLDER}{_CPU}, found none: the tree is from before November"
            " 2024, or a fork of such a one",
            hint="merge a later release first; b4980 (March 2025) is the oldest that is known to work",
        )


def found_below(folder: Path) -> list[Path]:
    """The llama.cpp trees at most :data:`DEPTH` folders below ``folder``; where there is none, those with
    ggml alone."""
    llama: list[Path] = []
    ggml: list[Path] = []
    for place, folders, _ in os.walk(folder, followlinks=False):
        here = Path(place)

        def has(path: str, here: Path = here) -> bool:
            return (here / path).is_file()

        if carries_ggml(has):
            (llama if is_llama(has) else ggml).append(here)
            folders[:] = []
            continue
        deep = len(here.relative_to(folder).parts) >= DEPTH
        folders[:] = [] if deep else sorted(set(folders) - _NEVER)
    return llama or ggml
