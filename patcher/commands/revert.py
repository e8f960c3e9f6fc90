"""``q8a8-patch revert``."""

from __future__ import annotations

from pathlib import Path

import click

from patcher.commands.arguments import tree_argument
from patcher.console import Output, common_options


@click.command("revert")
@tree_argument
@common_options
def command(tree: Path, output: Output) -> None:
    """Undo every apply that TREE's record knows, to the byte.

    What you changed elsewhere in the same files stays; where you changed our lines, nothing is
    reverted and exit code 6 says which. Example: q8a8-patch revert ./llama.cpp
    """
    from patcher import transaction

    work = transaction.tree_at(tree)
    done = transaction.revert(work, reporter=output.reporter)
    output.emit(
        {
            "tree": str(work.root),
            "files": list(done.files),
            "transactions": done.transactions,
            "state": "clean",
        },
        f"{work.root}: {len(done.files)} files are as they were",
    )
