"""``q8a8-patch fetch``."""

from __future__ import annotations

from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.commands import values


@click.command("fetch")
@click.argument("destination", type=click.Path(path_type=Path), default=Path("llama.cpp"))
@click.option(
    "--source",
    metavar="LOCATOR",
    shell_complete=values.sources,
    help="The source of llama.cpp: see LOCATOR above. [default: its newest release]",
)
@click.option("--ref", metavar="REF", help="The tag, branch or commit, where the source is a repository.")
@common_options
def command(destination: Path, source: str | None, ref: str | None, output: Output) -> None:
    """Get llama.cpp into the folder DESTINATION, as a git checkout that remembers which release it is.

    LOCATOR is a git URL (with @ref), a folder, a git repository, a git bundle, a .tar.gz or .zip,
    pypi:llama-cpp-python==VERSION or npm:node-llama-cpp@VERSION. Without it, the newest release is
    fetched from its repository or, where that can't be reached, from a package that ships one.

    Example: q8a8-patch fetch --source npm:node-llama-cpp@3.22.1 ./llama.cpp
    """
    from patcher.source import fetch

    made = fetch(source, destination, ref=ref, reporter=output.reporter)
    output.emit(made.document(), f"{made.path}: {made.release or made.locator} ({made.base[:12]})")
