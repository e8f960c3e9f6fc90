"""Several types of one tree, each lifted into a folder of its own, and tried on BASE one after the other."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from patcher.base.errors import ConflictError
from patcher.base.progress import SILENT, Reporter
from patcher.engine.anchors import Source
from patcher.engine.anchors.definitions import definitions
from patcher.engine.patchset import load
from patcher.engine.planning import make_plan
from patcher.engine.tree import ListedTree, OverlaidListed
from patcher.lift import lift, writing
from patcher.lift.assembly import Lift, Origin


def lift_several(
    tree: ListedTree,
    base: ListedTree,
    wanted: Sequence[str],
    origin: Origin,
    folder: Path,
    reporter: Reporter = SILENT,
) -> list[Lift]:
    """Lift the types ``wanted``, in their order, each into the folder of its name in ``folder``; all or none.

    What two of them share is in both folders, and is put into a tree once. Raises :class:`UsageError`,
    :class:`ConflictError` as :func:`patcher.lift.lift` does, and the latter where one has no place in BASE
    once those before it are in.
    """
    writing.require_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made: list[Lift] = []
    with tempfile.TemporaryDirectory(prefix=".lift-", dir=folder.parent) as scratch:
        draft = Path(scratch) / "types"
        together = base
        for name in wanted:
            with tempfile.TemporaryDirectory(dir=scratch) as trial:
                one = lift(tree, base, name, origin, Path(trial) / "type", reporter)
                if any(other.facts.upper == one.facts.upper for other in made):
                    continue
                _require_apart(one, made)
                shutil.copytree(Path(trial) / "type", draft / one.facts.name)
            together = _with(together, draft / one.facts.name, one, made)
            one.place = folder / one.facts.name / f"{one.facts.name}.toml"
            made.append(one)
        if folder.is_dir():
            folder.rmdir()
        draft.replace(folder)
    return made


def _with(together: ListedTree, place: Path, one: Lift, before: list[Lift]) -> ListedTree:
    """BASE with the types so far and the one of the folder ``place``."""
    plan = make_plan(together, load(place))
    if plan.conflicts:
        others = ", ".join(other.facts.upper for other in before)
        raise ConflictError(
            f"{one.origin.base}: {one.facts.upper} has no place here behind {others}"
            f" for {len(plan.conflicts)} edits",
            hint="name them in another order, or lift it alone",
            details=tuple(f"{edit.edit.id}: {edit.file}: {edit.detail}" for edit in plan.conflicts),
        )
    return OverlaidListed(together, {file.path: file.after() for file in plan.files})


def _require_apart(one: Lift, before: list[Lift]) -> None:
    """Refuse a type whose new file defines what another type's new file does: nothing would link."""
    mine = _defined(one)
    for other in before:
        theirs = _defined(other)
        shared = sorted(name for name in mine if name in theirs and mine[name] != theirs[name])
        if shared:
            raise ConflictError(
                f"{one.origin.tree}: {one.facts.upper} and {other.facts.upper} both need"
                f" {', '.join(shared)}, which would be defined in {mine[shared[0]]} and {theirs[shared[0]]}",
                hint="lift and put in one of them alone",
            )


def _defined(one: Lift) -> dict[str, str]:
    """Function or variable that other files see -> the new file of the type that defines it."""
    found: dict[str, str] = {}
    for edit in one.table["edit"]:
        path = edit["files"][0]
        if edit["anchor"]["kind"] != "new-file" or PurePosixPath(path).suffix == ".h":
            continue
        source = Source(path, one.templates[edit["template"]].encode("utf-8", "surrogateescape"))
        for there in definitions(source):
            head = source.code[there.start : there.end].partition(b"(")[0]
            if there.construct in ("function", "variable") and not re.match(rb"\s*(static|extern)\b", head):
                found[there.name] = path
    return found
