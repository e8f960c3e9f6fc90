"""``q8a8-patch apply``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

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


@click.command("apply")
@tree_argument
@selection_options
@choice_options
@numbering_options
@click.option("--update", is_flag=True, help="Bring what an earlier q8a8-patch wrote to today's text.")
@click.option("--dry-run", is_flag=True, help="Plan and report, write nothing.")
@click.option("--commit", is_flag=True, help="Commit what was written on top of HEAD.")
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
    update: bool,
    dry_run: bool,
    commit: bool,
    output: Output,
) -> None:
    """Plan every edit of the type on TREE, then write all of them or none.

    Example: q8a8-patch apply ./llama.cpp --dry-run
    """
    from patcher.engine import plan_report, transaction
    from patcher.engine.commit import apply_and_commit

    work = transaction.tree_at(tree)
    chosen = selected(
        work, only, without, with_fix, type_name, keep=keep, replaced=replaced, everything=everything
    )
    patchset = replace(numbered(chosen, work, adopt_id, renumber, output.reporter), updates=update)
    if commit and not dry_run:
        applied = apply_and_commit(work, patchset, reporter=output.reporter)
    else:
        applied = transaction.apply(work, patchset, dry_run=dry_run, reporter=output.reporter)

    def document() -> dict[str, Any]:
        made = plan_report.plan_document(applied.plan, base=base_of(work.root), done=not dry_run)
        return made | {"dry_run": dry_run, "written": list(applied.written)}

    def text() -> str:
        if dry_run:
            return plan_report.plan_text(applied.plan, verbose=bool(output.verbose))
        if not applied.written:
            return f"{work.root}: {patchset.type.upper} was there already, nothing to write"
        return f"{work.root}: {patchset.type.upper} applied, {applied.plan.extent}"

    output.emit(document, text)
