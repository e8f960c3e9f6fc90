"""How a tree is laid out: llama.cpp's own, a project that carries ggml without llama, ggml's own repository.

What is llama's isn't needed where there is no llama; and ggml's own repository has no folder ``ggml/``.
"""

from __future__ import annotations

import os
import re
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


def require_tree(tree: Tree, *, beside: Path | None = None) -> None:
    """Raise :class:`UsageError` where ``tree`` carries no ggml, naming a folder below it that does, and
    :class:`ConflictError` where its CPU backend is from before it had a folder of its own.

    ``beside`` is the folder to look in where ``tree`` is none of the disk (a commit's).
    """

    def has(path: str) -> bool:
        return tree.read(path) is not None

    if not carries_ggml(has):
        root = getattr(tree, "root", beside)
        raise UsageError(
            f"{tree.name}: looked for {HEADER} and {LLAMA}, found none",
            hint=_elsewhere(root) if isinstance(root, Path) else _TOP,
        )
    if not has(_FOLDER + _CPU) and not has(_CPU):
        raise ConflictError(
            f"{tree.name}: looked for {_FOLDER}{_CPU}, found none: the tree is from before November"
            " 2024, or a fork of such a one",
            hint="merge a later release first; b4980 (March 2025) is the oldest that is known to work",
        )


_TOP = "name the top folder of a llama.cpp checkout, vendored or not; 'q8a8-patch fetch' gets one"


def _elsewhere(folder: Path) -> str:
    """What to do where ``folder`` is no tree: those below it, or elsewhere in its project, by name."""
    for place in (folder, _project(folder)):
        below = found_below(place) if place is not None else []
        if below:
            return f"there is one in {' or '.join(map(str, below[:3]))}: name that folder"
        empty = empty_submodule(place) if place is not None else None
        if place is not None and empty is not None:
            at = f"git -C {place} " if place != folder else "git "
            return f"{empty} is a submodule that isn't checked out: {at}submodule update --init {empty}"
    return _TOP


def _project(folder: Path) -> Path | None:
    """The top of the git checkout that ``folder`` lies in."""
    here = folder.absolute()
    return next((place for place in (here, *here.parents) if (place / ".git").exists()), None)


def tree_around(folder: Path) -> Path | None:
    """The llama.cpp tree that ``folder`` is or lies in, as git finds a repository from below; None for none.

    Looks upwards to the top of the checkout, and into no folder of another user's: what lies there may be put
    there for us to find.
    """
    here = folder.absolute()
    for place in (here, *here.parents):
        try:
            if hasattr(os, "getuid") and place != here and place.stat().st_uid not in (0, here.stat().st_uid):
                return None
        except OSError:
            return None
        if carries_ggml(lambda path, place=place: (place / path).is_file()):  # type: ignore[misc]
            # llama.cpp's own folder ggml looks like ggml's repository
            return place.parent if (place.parent / HEADER).is_file() else place
        if (place / ".git").exists():
            return None
    return None


def empty_submodule(folder: Path) -> str | None:
    """A submodule of llama.cpp that ``.gitmodules`` names and whose folder holds nothing."""
    try:
        text = (folder / ".gitmodules").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for section in re.split(r"^\[", text, flags=re.MULTILINE):
        path = re.search(r"^[ \t]*path[ \t]*=[ \t]*(\S+)[ \t]*$", section, re.MULTILINE)
        place = folder / path[1] if path else None
        if place is None or re.search(r"llama\.?cpp", section, re.IGNORECASE) is None:
            continue
        if place.resolve().is_relative_to(folder.resolve()) and not (place / ".git").exists():
            return path[1] if path else None
    return None


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
