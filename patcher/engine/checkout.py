"""What git says against writing to a tree: a merge under way, files that a sparse checkout left out."""

from __future__ import annotations

from patcher.base.errors import ConflictError
from patcher.base.units import how_many
from patcher.engine.merging import MERGE, unmerged
from patcher.engine.patchset import NEW_FILE, PatchSet
from patcher.engine.tree import WorkTree
from patcher.engine.tree_record import PLACE


def require_no_merge(tree: WorkTree, patchset: PatchSet) -> None:
    """Raise :class:`ConflictError` where git is in the middle of a merge of files that edits go to."""
    ours = {path for edit in patchset.edits for path in edit.files} | {PLACE}
    paths = [path for path in unmerged(tree.root) if path in ours]
    if paths:
        raise ConflictError(
            f"{tree.root}: {MERGE}: {', '.join(paths)}; nothing was written",
            hint="take upstream's side and 'git add' it, then apply: the type's own lines come back",
        )


def require_checked_out(tree: WorkTree, patchset: PatchSet) -> None:
    """Raise :class:`ConflictError` where a sparse checkout leaves out what edits go to.

    The type would go in by half, and a tree without its folder ``src`` looks as if it had no llama.
    """
    from patcher import git

    lacking: set[str] = set()
    for edit in patchset.edits:
        candidates = edit.besides if edit.kind == NEW_FILE else edit.files
        if not any((tree.root / path).is_file() for path in candidates):
            lacking.update(candidates)
    top = git.find_toplevel(tree.root)
    if not lacking or top is None:
        return
    prefix, left = git.prefix(top, tree.root), git.left_out(top)
    wanted = {path for path in lacking if prefix + path in left}
    if wanted:
        folders = sorted({f"{prefix}{path}".rpartition("/")[0] or "/" for path in wanted})
        files = f"{min(wanted)}" + (f" and {how_many(len(wanted) - 1, 'other')}" if len(wanted) > 1 else "")
        raise ConflictError(
            f"{tree.root}: a sparse checkout leaves out {files}, which edits go to",
            hint=f"'git sparse-checkout add {' '.join(folders)}', or 'git sparse-checkout disable'",
        )
