"""``q8a8-patch revert``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from patcher.base.console import Output, common_options
from patcher.base.units import how_many
from patcher.commands import values
from patcher.commands.arguments import shipped_type, tree_argument

if TYPE_CHECKING:
    from patcher.engine.tree import WorkTree


@click.command("revert")
@tree_argument
@click.option(
    "--type",
    "type_name",
    metavar="NAME|FILE",
    callback=shipped_type,
    shell_complete=values.types,
    help="Only this type, of several: the newest first. [default: every type]",
)
@common_options
def command(tree: Path, type_name: str | None, output: Output) -> None:
    """Undo every apply that TREE's record knows, to the byte.

    What you changed elsewhere in the same files stays; where you changed our lines, nothing is
    reverted and exit code 6 says which. Example: q8a8-patch revert ./llama.cpp
    """
    from patcher.engine import transaction
    from patcher.engine.patchset import load
    from patcher.engine.tree import WorkTree

    work = WorkTree(tree)  # any project that 'verify-symbols --fix' wrote into; the record says what it is
    # the name is enough: the file that a type came from may be gone
    name = load(type_name).type.name if type_name is not None and Path(type_name).is_file() else type_name
    done = transaction.revert(work, name, reporter=output.reporter)
    left = _left(work, done.types)
    for type_left, many in left.items():
        remain = f"{how_many(many, 'edit')} of {type_left} {'remains' if many == 1 else 'remain'}"
        output.reporter.warn(
            f"{work.root}: {remain} that no record of an apply"
            " knows: committed, or another hand's; git can go back behind that"
        )
    output.emit(
        {
            "tree": str(work.root),
            "files": list(done.files),
            "transactions": done.transactions,
            "types": list(done.types),
            "state": "partial" if left else "clean",
            "remaining": left,
        },
        f"{work.root}: restored {how_many(len(done.files), 'file')} to what was there before apply",
    )


def _left(tree: WorkTree, types: tuple[str, ...]) -> dict[str, int]:
    """How many edits of each type are in the tree all the same."""
    from patcher.engine.numbering import is_numbered
    from patcher.engine.patchset import load
    from patcher.engine.plan import State
    from patcher.engine.planning import make_plan
    from patcher.engine.type_file import SHIPPED

    found = {}
    for name in types:
        if name in SHIPPED:  # the file of a user's own type may be anywhere, or gone
            plan = make_plan(tree, load(name))
            there = [edit for edit in plan.edits if edit.state in (State.PRESENT, State.APPLIED)]
            # without its number nothing is the type's: another type may have raised a count
            if any(is_numbered(edit.edit) for edit in there):
                found[plan.patchset.type.upper] = len(there)
    return found
