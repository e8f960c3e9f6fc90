"""Where the tree lies that a project carries: itself, a submodule, a vendored folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from patcher.base.errors import UsageError
from patcher.base.files import write_whole
from patcher.base.progress import SILENT, Reporter
from patcher.engine.layout import empty_submodule, found_below
from patcher.source import fetch

_MADE = "q8a8-patch-guard.txt"  # in the copy's git folder: a checkout that somebody works in has none


@dataclass(frozen=True)
class Copy:
    """A checkout of our own, to be applied to and built."""

    path: Path
    release: str | None
    commit: str


def carried_tree(folder: Path) -> Path:
    """The llama.cpp tree at or below ``folder``. Raises :class:`UsageError` for none, or for several."""
    found = found_below(folder)
    if len(found) == 1:
        return found[0]
    if not found:
        looked = "looked for a llama.cpp tree (ggml/include/ggml.h, include/llama.h) in it, found none"
        empty = empty_submodule(folder)
        hint = f"{empty} is a submodule that isn't checked out: git submodule update --init {empty}"
        raise UsageError(f"{folder}: {looked}", hint=hint if empty else "name its folder with --source")
    names = ", ".join(tree.relative_to(folder).as_posix() for tree in found)
    raise UsageError(
        f"{folder}: looked for one llama.cpp tree, found {len(found)}: {names}",
        hint="name one with --source",
    )


def copy_to(work: Path, source: str, ref: str | None, reporter: Reporter = SILENT) -> Copy:
    """A fresh checkout of ``source`` in ``work``; the one of an earlier check makes way."""
    place = work / "llama.cpp"
    if (place / ".git" / _MADE).is_file():
        shutil.rmtree(place)
    elif place.exists():
        raise UsageError(
            f"{place}: is not the copy of an earlier check", hint="name another folder with --work"
        )
    made = fetch(source, place, ref=ref, reporter=reporter)
    write_whole(made.path / ".git" / _MADE, "a copy of 'guard check': the next check removes it\n")
    return Copy(made.path, made.release, made.base)
