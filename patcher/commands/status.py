"""``q8a8-patch status``."""

from __future__ import annotations

from pathlib import Path

import click

from patcher.commands.arguments import base_of, tree_argument
from patcher.console import Output, common_options
from patcher.errors import ExitCode


@click.command("status")
@tree_argument
@common_options
def command(tree: Path, output: Output) -> int:
    """Say what of the type is in TREE, what is missing and what contradicts it.

    Exit code 3 where something contradicts. Example: q8a8-patch status ./llama.cpp
    """
    from patcher import report, transaction
    from patcher.patchset import load

    work = transaction.tree_at(tree)
    plan = transaction.observed(work, load(), output.reporter)
    output.emit(
        lambda: report.plan_document(plan, base=base_of(work.root)),
        lambda: report.plan_text(plan, verbose=bool(output.verbose)),
    )
    return ExitCode.CONFLICT if plan.conflicts else ExitCode.OK
