"""``q8a8-patch status``."""

from __future__ import annotations

from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import ExitCode
from patcher.commands import values
from patcher.commands.arguments import base_of, selected, tree_argument, type_option


@click.command("status")
@tree_argument
@click.option(
    "--with-fix",
    multiple=True,
    metavar="NAME",
    shell_complete=values.fixes,
    help="Look for this build fix as well; may be repeated.",
)
@type_option
@common_options
def command(tree: Path, with_fix: tuple[str, ...], type_name: str, output: Output) -> int:
    """Say what of the type is in TREE, what is missing and what contradicts it.

    Exit code 3 where something contradicts. Example: q8a8-patch status ./llama.cpp
    """
    from patcher.engine import plan_report, transaction

    work = transaction.tree_at(tree)
    plan = transaction.observed(work, selected(work, with_fix=with_fix, type_name=type_name), output.reporter)
    output.emit(
        lambda: plan_report.plan_document(plan, base=base_of(work.root)),
        lambda: plan_report.plan_text(plan, verbose=bool(output.verbose)),
    )
    return ExitCode.CONFLICT if plan.conflicts else ExitCode.OK
