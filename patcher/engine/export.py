"""The plan as a series of commits, and the series as mails that ``git am`` takes. Deterministic."""

from __future__ import annotations

import re
import stat
import tempfile
from pathlib import Path

from patcher.base import interrupt
from patcher.base.errors import UsageError
from patcher.base.folder import Folder
from patcher.base.os_errors import refused
from patcher.base.progress import SILENT, Reporter
from patcher.engine.layout import require_tree
from patcher.engine.patchset import PatchSet
from patcher.engine.plan import Plan
from patcher.engine.planning import make_plan
from patcher.engine.tree import CommitTree

AUTHOR = ("q8a8-patch", "q8a8-patch@localhost")
# how a mail that we wrote begins: format-patch with --zero-commit, and the author of series()
_OURS = re.compile(rb"From 0{40,64} [^\n]*\nFrom: q8a8-patch <q8a8-patch@localhost>\n")
_HEAD = 400


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
    folder = folder.resolve()
    try:
        _require_ours(folder, folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft_folder = tempfile.TemporaryDirectory(prefix=".q8a8-patch-", dir=folder.parent)
        with git.objects_aside(repo), draft_folder as draft:
            tip = series(repo, tree.commit, plan, prefix)
            made = git.format_patches(repo, tree.commit, tip, Path(draft) / "series")
            _exchange(folder, Path(draft))
    except OSError as why:
        raise refused(folder, why, hint="name another folder with -o") from why
    return plan, [folder / path.name for path in made]


def _exchange(folder: Path, draft: Path) -> None:
    """Put ``draft/series`` in the place of ``folder``, which goes with the draft where it is still ours."""
    with interrupt.held():
        earlier = draft / "earlier"
        try:
            folder.replace(earlier)
        except FileNotFoundError:
            pass
        else:
            try:
                _require_ours(earlier, folder)
            except BaseException:
                earlier.replace(folder)
                raise
        (draft / "series").replace(folder)


def _require_ours(place: Path, name: Path) -> None:
    """Raise :class:`UsageError` where the folder at ``place`` holds anything but mails that we wrote."""
    try:
        with Folder.open(place) as folder:
            for entry in folder.names():
                head = b""
                if folder.file_type(entry) == stat.S_IFREG and entry.endswith(".patch"):
                    head = folder.read(entry, _HEAD) or b""
                if _OURS.match(head) is None:
                    raise UsageError(
                        f"{name}: holds {entry}, which is not of an earlier export",
                        hint="name a new folder with -o",
                    )
    except FileNotFoundError:
        return  # it will be made
