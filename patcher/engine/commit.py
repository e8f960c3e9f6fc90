"""``apply --commit``: what we wrote, as one commit on top of HEAD."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from patcher.base import interrupt
from patcher.base.errors import PatcherError, TreeChangedError, UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.engine.journal import Journal
from patcher.engine.patchset import PatchSet
from patcher.engine.records import Entry, digest
from patcher.engine.transaction import Applied, apply
from patcher.engine.tree import WorkTree
from patcher.git.contents import Contents, Objects


def apply_and_commit(tree: WorkTree, patchset: PatchSet, *, reporter: Reporter = SILENT) -> Applied:
    """Apply, and commit only what was written, by this run or one before it that did not come so far. The
    commit's files must be otherwise unchanged since HEAD.

    Raises as :func:`patcher.engine.transaction.apply` does, and :class:`UsageError` without git,
    :class:`TreeChangedError` where a file to be written has changes that aren't committed.
    """
    from patcher import git
    from patcher.git import changes

    top = git.find_toplevel(tree.root)
    head = git.head(top) if top is not None else None
    if top is None or head is None:
        raise UsageError(
            f"{tree.root}: looked for a git checkout with a commit, found none",
            hint="leave --commit out, or make one: git init, git add -A, git commit -m llama.cpp",
        )
    changes.require_identity(top)
    prefix = git.prefix(top, tree.root)
    planned = apply(tree, patchset, dry_run=True, reporter=reporter)
    dirty = set(git.is_dirty(top)) & {prefix + file.path for file in planned.plan.files}
    dirty -= {prefix + path for path in _ours_since(tree, top, head, prefix, patchset.type.name)}
    if dirty:
        raise TreeChangedError(
            f"{tree.root}: {sorted(dirty)[0]} has changes that aren't committed", hint="commit or stash them"
        )
    try:
        applied = apply(tree, patchset, reporter=reporter)
        commit = _commit(tree, patchset, top, head, prefix, applied.written)
    except BaseException:
        with suppress(PatcherError, OSError):
            if git.head(top) == head and _ours_since(tree, top, head, prefix, patchset.type.name):
                reporter.warn(f"{tree.root}: applied, and not committed; the same command does it")
        raise
    if commit is not None:
        reporter.note(f"{top}: committed as {commit[:12]}")
    return applied


def _commit(
    tree: WorkTree, patchset: PatchSet, top: Path, head: str, prefix: str, written: Iterable[str]
) -> str | None:
    """Commit all that is ours and not in HEAD: what this run wrote, and one before it that was cut off."""
    from patcher import git
    from patcher.git import changes

    ours = _ours_since(tree, top, head, prefix, patchset.type.name)
    left = sorted(set(written) - set(ours))
    if left:
        raise TreeChangedError(
            f"{tree.root}: {left[0]} differs from {head[:12]} by more than the type; nothing was committed",
            hint="commit or stash the rest, then apply --commit",
        )
    if not ours:
        return None
    objects = Objects(top)
    there = Contents(objects, head)
    made = {prefix + path: objects.made(data, there.version(prefix + path)) for path, data in ours.items()}
    objects.keep(made)
    commit = changes.write_commit(top, on=head, changes=made, message=message(patchset))
    with interrupt.held():  # between index and branch
        git.update_branch_commit(top, commit)
    return commit


TRAILER = "Q8A8-Patch"  # in the message of a commit that we wrote: the type, and our version


def message(patchset: PatchSet) -> bytes:
    """The message of the commit that puts the type in: the user is its author, a trailer names the tool."""
    from patcher import __version__

    quant_type = patchset.type
    groups = [f"- {group.subject}" for group in patchset.groups]
    lines = [
        f"add the {quant_type.upper} type",
        "",
        *groups,
        "",
        f"{TRAILER}: {quant_type.name} {__version__}",
    ]
    return ("\n".join(lines) + "\n").encode()


def is_ours(message: bytes, type_name: str) -> bool:
    """Whether a commit of that message put the type ``type_name`` in."""
    start = f"{TRAILER}: {type_name} ".encode()
    return any(line.startswith(start) for line in message.splitlines())


def _ours_since(tree: WorkTree, top: Path, head: str, prefix: str, type_name: str) -> dict[str, bytes | None]:
    """The files that differ from the commit ``head`` by what we wrote of the type ``type_name``, no more.

    Path -> what git is to have of it, with the line ends that it has there.
    """
    from patcher import git

    written: dict[str, list[tuple[str, Entry]]] = {}
    for record in Journal(tree).applied:
        for entry in record.entries:
            written.setdefault(entry.path, []).append((record.type_name, entry))
    ours = {}
    for path, entries in written.items():
        now = tree.read(path)
        if digest(now) != entries[-1][1].after:
            continue
        committed = git.read_file(top, head, prefix + path)
        # a work tree may have CRLF where git has LF
        for there in (committed, _with_crlf(committed)):
            # from what is committed to what is there, step by step
            first = next((n for n, (_, entry) in enumerate(entries) if entry.before == digest(there)), None)
            steps = entries[first:] if first is not None else []
            unbroken = all(one.after == other.before for (_, one), (_, other) in pairwise(steps))
            if steps and unbroken and all(name == type_name for name, _ in steps):
                ours[path] = now if there == committed or now is None else now.replace(b"\r\n", b"\n")
                break
    return ours


def _with_crlf(data: bytes | None) -> bytes | None:
    return data if data is None or b"\r" in data else data.replace(b"\n", b"\r\n")
