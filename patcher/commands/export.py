"""``q8a8-patch export``."""

from __future__ import annotations

from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import UsageError
from patcher.commands.arguments import selected, selection_options, tree_argument


@click.command("export")
@tree_argument
@selection_options
@click.option(
    "--ref",
    metavar="REF",
    help="The commit that the patches apply to. [default: the recorded base, or HEAD]",
)
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("q8a8-series"),
    show_default=True,
    help="The folder to write the patches to.",
)
@common_options
def command(
    tree: Path,
    only: tuple[str, ...],
    without: tuple[str, ...],
    with_fix: tuple[str, ...],
    type_name: str,
    ref: str | None,
    folder: Path,
    output: Output,
) -> None:
    """Write the type as a series of patches that git am takes; the same input gives the same bytes.

    Reads commits, not the work tree, apart from its record (.q8a8-patch.toml): what was left out, kept,
    replaced or numbered there is the same in the series.
    Example: q8a8-patch export ./llama.cpp -o series && git -C other am "$PWD"/series/*.patch
    """
    from patcher import git
    from patcher.engine import export
    from patcher.engine.tree import WorkTree

    top = git.find_toplevel(tree)
    if top is None:
        raise UsageError(f"{tree}: looked for a git checkout, found none", hint="'fetch' makes one")
    patchset = selected(WorkTree(tree), only, without, with_fix, type_name)
    prefix = git.prefix(top, tree)
    plan, patches = export.export(
        top, ref or git.base(top) or "HEAD", patchset, folder, prefix=prefix, reporter=output.reporter
    )
    document = {
        "tree": str(top / prefix),
        "base": plan.tree.rsplit("@", 1)[-1],
        "patches": [str(path) for path in patches],
    }
    output.emit(document, "\n".join(map(str, patches)))
