"""``q8a8-patch move``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import ExitCode, UsageError
from patcher.base.units import how_many
from patcher.commands import values
from patcher.commands.arguments import found_tree, type_option

if TYPE_CHECKING:
    from patcher.engine.patchset import PatchSet
    from patcher.engine.tree import WorkTree
    from patcher.move import Moved


@click.command("move")
@click.argument("ref", required=False, metavar="[RELEASE]", shell_complete=values.releases)
@click.argument("tree", required=False, type=click.Path(path_type=Path), metavar="[TREE]")
@click.option("--onto", metavar="BRANCH", help="Put the result on this new branch; yours stays where it is.")
@click.option(
    "--base",
    metavar="REF|SOURCE",
    shell_complete=values.sources,
    help="The release that the tree grew from, where its history doesn't tell.",
)
@click.option("--continue", "go_on", is_flag=True, help="Go on with a move that stopped or was cut off.")
@click.option("--abort", is_flag=True, help="Go back to where the move began.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, write nothing.")
@type_option
@common_options
def command(
    ref: str | None,
    tree: Path | None,
    onto: str | None,
    base: str | None,
    go_on: bool,
    abort: bool,
    dry_run: bool,
    type_name: str,
    output: Output,
) -> int:
    """Move TREE to another release of llama.cpp, with the type and your own commits.

    RELEASE is a tag, branch or commit of TREE's repository. The type is taken out, your commits are made
    again on RELEASE, and the type is put in as this version writes it; where it was committed, it becomes
    one commit again. All of it is tried in memory first: where the type can't be placed, nothing changes.

    Without RELEASE, the type's own conflicts in a merge, rebase or stash that stopped are resolved.

    For a copy without a history of its own, RELEASE and --base are sources as 'fetch' takes them.

    Example: git fetch --tags && q8a8-patch move v0.5.0
    """
    from patcher.engine import transaction
    from patcher.engine.patchset import load

    if go_on and abort:
        raise UsageError(
            "--continue and --abort can't be given together",
            hint="--continue goes on with the move, --abort goes back to before it: leave one out",
        )
    if ref is not None and tree is None and (go_on or abort or Path(ref).is_dir()):
        tree, ref = Path(ref), None  # the only argument is the tree
    work = transaction.tree_at(found_tree(click.get_current_context(), command.params[1], tree))
    patchset = load(type_name)
    if abort:
        return _abort(work, patchset, output)
    if ref is None and not go_on:
        return _settle(work, patchset, output)
    if ref is not None and _is_copy(work):
        return _renew(work, patchset, ref, base, dry_run, output)
    return _move(work, patchset, ref, onto, base, dry_run, output)


def _is_copy(tree: WorkTree) -> bool:
    from patcher import git

    return git.find_toplevel(tree.root) != tree.root


def _abort(tree: WorkTree, patchset: PatchSet, output: Output) -> int:
    from patcher import move

    commit = move.abort(tree, patchset, reporter=output.reporter)
    output.emit(
        {"tree": str(tree.root), "state": "aborted", "old": commit},
        f"{tree.root}: is at {commit[:12]} again, as before the move",
    )
    return ExitCode.OK


def _settle(tree: WorkTree, patchset: PatchSet, output: Output) -> int:
    from patcher.move.merging import settle

    done = settle(tree, patchset, reporter=output.reporter)
    name = patchset.type.upper
    files = how_many(len(done.files), "file")
    lines = [f"{tree.root}: {done.operation}: {files} settled, with {name} taken out of both sides"]
    lines += [f"  still unmerged, for changes that aren't the type's: {path}" for path in done.left]
    lines.append(f"{name} is in again. Next: {done.next}" if done.applied else f"Next: {done.next}")
    document = {
        "tree": str(tree.root),
        "state": "settled" if done.applied else "stopped",
        "operation": done.operation,
        "files": list(done.files),
        "conflicts": list(done.left),
        "next": done.next,
    }
    output.emit(document, "\n".join(lines))
    return ExitCode.OK if done.applied else ExitCode.CONFLICT


def _renew(
    tree: WorkTree, patchset: PatchSet, source: str, base: str | None, dry_run: bool, output: Output
) -> int:
    from patcher.move import vendored

    if base is None:
        raise UsageError(
            f"{tree.root}: is a copy without a history of its own, which can't tell what it grew from",
            hint=f"name its release as a source: q8a8-patch move {source} {tree.root} --base SOURCE",
        )
    done = vendored.move(tree, source, base, patchset, dry_run=dry_run, reporter=output.reporter)
    document = {
        "tree": str(tree.root),
        "state": "planned" if dry_run else "moved",
        "release": done.release,
        "files": list(done.files),
        "conflicts": [],
    }
    verb = "would be" if dry_run else "is"
    differ = "1 file differs" if len(done.files) == 1 else f"{len(done.files)} files differ"
    said = f"{tree.root}: {verb} {done.release} with {patchset.type.upper}; {differ}"
    output.emit(document, said)
    return ExitCode.OK


def _move(
    tree: WorkTree,
    patchset: PatchSet,
    ref: str | None,
    onto: str | None,
    base: str | None,
    dry_run: bool,
    output: Output,
) -> int:
    from patcher import move

    if ref is None:
        done = move.go_on(tree, patchset, reporter=output.reporter)
    else:
        done = move.move(tree, ref, patchset, onto=onto, base=base, dry_run=dry_run, reporter=output.reporter)
    document = {
        "tree": str(done.tree),
        "state": "planned" if dry_run else "moved" if done.new is not None else "stopped",
        "old": done.old,
        "base": done.base,
        "new": done.new,
        "commits": list(done.own),
        "conflicts": list(done.conflicts),
        "stopped_at": done.stopped_at or None,
    }
    output.emit(document, lambda: _text(done, dry_run, patchset.type.upper))
    return ExitCode.CONFLICT if done.conflicts else ExitCode.OK


def _text(done: Moved, dry_run: bool, name: str) -> str:
    own = f"{how_many(len(done.own), 'commit')} of your own"
    if done.conflicts:
        files = "\n".join(f"  {path}" for path in done.conflicts)
        did = "would stop" if dry_run else "stopped"
        rest = "" if dry_run else "\nsettle them, 'git add' them, then: q8a8-patch move --continue"
        return f"{done.tree}: {did} at '{done.stopped_at}', which meets upstream's changes in\n{files}{rest}"
    verb = "would be" if dry_run else "is"
    where = f", at {done.new[:12]}" if done.new else ""
    return f"{done.tree}: {verb} on {done.base[:12]} with {own} and {name}{where}"
