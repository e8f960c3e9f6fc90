"""``q8a8-patch diff``."""

from __future__ import annotations

from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.commands.arguments import (
    base_of,
    choice_options,
    numbered,
    numbering_options,
    selected,
    selection_options,
    tree_argument,
)


@click.command("diff")
@tree_argument
@selection_options
@choice_options
@numbering_options
@common_options
def command(
    tree: Path,
    only: tuple[str, ...],
    without: tuple[str, ...],
    with_fix: tuple[str, ...],
    type_name: str,
    keep: tuple[str, ...],
    replaced: tuple[str, ...],
    everything: bool,
    adopt_id: bool,
    renumber: bool,
    output: Output,
) -> None:
    """Show what apply would write to TREE, as a unified diff that git apply takes.

    Example: q8a8-patch diff ./llama.cpp | less
    """
    import sys

    from patcher.engine import plan_report, transaction

    work = transaction.tree_at(tree)
    chosen = selected(
        work, only, without, with_fix, type_name, keep=keep, replaced=replaced, everything=everything
    )
    patchset = numbered(chosen, work, adopt_id, renumber, output.reporter)
    plan = transaction.observed(work, patchset, output.reporter)
    plan.require_clean()
    document = plan_report.plan_document(plan, base=base_of(work.root))
    text = plan.diff()
    if output.json:
        output.emit(document | {"diff": text}, "")
        return
    if sys.stdout.isatty():
        output.emit({}, text.rstrip("\n"))  # for people: what the files say can't drive the terminal
        return
    # bytes: the files of the tree need not be UTF-8, and click would translate line endings
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
