"""``apply --commit``: what was written, as one commit on top of HEAD."""

from __future__ import annotations

from patcher.base.errors import TreeChangedError, UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.engine.export import AUTHOR
from patcher.engine.patchset import PatchSet
from patcher.engine.transaction import Applied, apply
from patcher.engine.tree import WorkTree
from patcher.engine.tree_record import PLACE


def apply_and_commit(tree: WorkTree, patchset: PatchSet, *, reporter: Reporter = SILENT) -> Applied:
    """Apply, and commit only what was written. The commit's files must be unchanged since HEAD.

    Raises as :func:`patcher.engine.transaction.apply` does, and :class:`UsageError` without git,
    :class:`TreeChangedError` where a file to be written has changes that aren't committed.
    """
    from patcher import git

    top = git.find_toplevel(tree.root)
    head = git.head(top) if top is not None else None
    if top is None or head is None:
        raise UsageError(f"{tree.root}: looked for a git checkout with a commit, found none")
    prefix = tree.root.relative_to(top).as_posix()
    prefix = "" if prefix == "." else prefix + "/"
    planned = apply(tree, patchset, dry_run=True, reporter=reporter)
    dirty = set(git.is_dirty(top)) & {prefix + file.path for file in planned.plan.files}
    if dirty:
        raise TreeChangedError(
            f"{tree.root}: {sorted(dirty)[0]} has changes that aren't committed", hint="commit or stash them"
        )
    applied = apply(tree, patchset, reporter=reporter)
    if applied.written:
        name = patchset.type.upper
        groups = [group.subject for group in patchset.groups]
        message = f"add the {name} type\n\n" + "\n".join(f"- {subject}" for subject in groups) + "\n"
        changes: dict[str, bytes | None] = {
            prefix + path: tree.read(path)
            for path in (*applied.written, PLACE)
            if tree.read(path) is not None
        }
        commit = git.commit_files(
            top, parent=head, changes=changes, message=message, author=AUTHOR, date=git.commit_date(top, head)
        )
        git.update_branch_commit(top, commit)
        reporter.note(f"{top}: committed as {commit[:12]}")
    return applied
