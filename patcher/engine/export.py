"""The plan as a series of commits, and the series as mails that ``git am`` takes. Deterministic."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from patcher.base.errors import UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.engine.layout import require_tree
from patcher.engine.patchset import PatchSet
from patcher.engine.plan import Plan
from patcher.engine.planning import make_plan
from patcher.engine.tree import CommitTree

AUTHOR = ("q8a8-patch", "q8a8-patch@localhost")


def series(repo: Path, base: str, plan: Plan, prefix: str = "") -> str:
    """One commit a group on top of ``base``; returns the last one. No ref and no file is touched.

    The plan's files lie below the folder ``prefix`` (``a/b/``) of the repository.

    Who and when are fixed (the date is the base's), so that the same plan gives the same commits.
    """
    from patcher import git

    date = git.commit_date(repo, base)
    tip = base
    done: set[str] = set()
    for group in plan.patchset.groups:
        ours = {edit.edit.id for edit in plan.missing if edit.edit.group == group.id}
        if not ours:
            continue
        done |= ours
        changed = [file for file in plan.files if any(edit in ours for edit, _ in file.splices)]
        message = f"{group.subject}\n\n{group.body.strip()}\n"
        contents: dict[str, bytes | None] = {prefix + file.path: file.after(done) for file in changed}
        tip = git.commit_files(repo, parent=tip, changes=contents, message=message, author=AUTHOR, date=date)
    return tip


def export(
    repo: Path,
    ref: str,
    patchset: PatchSet,
    folder: Path,
    *,
    prefix: str = "",
    reporter: Reporter = SILENT,
) -> tuple[Plan, list[Path]]:
    """Write the series that adds the type to the commit ``ref`` of ``repo`` into ``folder``.

    ``prefix`` is where llama.cpp lies in the repository (``vendor/llama.cpp/``), empty for the top.
    The folder is made; where it exists it must hold nothing but an earlier export, which is replaced.
    Raises :class:`ConflictError` where the plan has conflicts, :class:`UsageError` for the folder, and where
    the commit has the type already.
    """
    from patcher import git

    tree = CommitTree(repo, ref, prefix)
    require_tree(tree)
    plan = make_plan(tree, patchset, reporter)
    plan.require_clean()
    if not plan.missing:
        hint = "name the commit before with --ref"
        raise UsageError(f"{tree.name}: has all of {patchset.type.upper}, nothing to export", hint=hint)
    strangers = [path for path in folder.iterdir() if path.suffix != ".patch"] if folder.exists() else []
    if strangers:
        raise UsageError(f"{folder}: holds {strangers[0].name}", hint="name a new folder with -o")
    tip = series(repo, tree.commit, plan, prefix)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".q8a8-patch-", dir=folder.parent) as draft:
        made = git.format_patches(repo, tree.commit, tip, Path(draft) / "series")
        if folder.exists():
            shutil.rmtree(folder)
        (Path(draft) / "series").replace(folder)
    return plan, [folder / path.name for path in made]
