"""``q8a8-patch revert``."""

from __future__ import annotations

from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.commands.arguments import tree_argument


@click.command("revert")
@tree_argument
@click.option(
    "--type",
    "kind",
    metavar="NAME|FILE",
    help="Only this type, of several: the newest first. [default: every type]",
)
@common_options
def command(tree: Path, kind: str | None, output: Output) -> None:
    """Undo every apply that TREE's record knows, to the byte.

    What you changed elsewhere in the same files stays; where you changed our lines, nothing is
    reverted and exit code 6 says which. Example: q8a8-patch revert ./llama.cpp
    """
    from patcher.engine import transaction
    from patcher.engine.patchset import load
    from patcher.engine.tree import WorkTree

    work = WorkTree(tree)  # any project that 'verify-symbols --fix' wrote into; the record says what it is
    # the name is enough: the file that a type came from may be gone
    name = load(kind).type.name if kind is not None and Path(kind).is_file() else kind
    done = transaction.revert(work, name, reporter=output.reporter)
    output.emit(
        {
            "tree": str(work.root),
            "files": list(done.files),
            "transactions": done.transactions,
            "types": list(done.types),
            "state": "clean",
        },
        f"{work.root}: {len(done.files)} files are as they were",
    )
