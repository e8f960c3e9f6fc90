"""``q8a8-patch type prove``."""

from __future__ import annotations

from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import ExitCode
from patcher.commands import values
from patcher.commands.arguments import jobs_option, launcher_option


@click.command("prove")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--tree",
    required=True,
    type=click.Path(path_type=Path),
    help="The tree that the type comes from: its own code is what is compared with.",
)
@click.option(
    "--base",
    required=True,
    metavar="LOCATOR",
    shell_complete=values.sources,
    help="What the type is put into, a copy of it: a tree without the type, or anything that fetch takes.",
)
@click.option(
    "--arch",
    "wanted",
    multiple=True,
    metavar="NAME",
    shell_complete=values.architectures,
    help="Prove on this architecture; may be repeated. [default: this machine's, and aarch64 and riscv64"
    " where a cross compiler and an emulator are there]",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    help="The folder for the copy and the builds. [default: in the cache]",
)
@jobs_option
@launcher_option
@common_options
def prove_command(
    folder: Path,
    tree: Path,
    base: str,
    wanted: tuple[str, ...],
    work: Path | None,
    jobs: int | None,
    launcher: str,
    output: Output,
) -> int:
    """Prove that the type of DIR, put into BASE, computes what it computes in TREE, byte by byte.

    Compiles ggml-base and ggml-cpu of both, outside of the trees, and compares how they quantize, dequantize
    and multiply, and what GGUF files they write and read. Code of both trees is built and run. Exit code 1
    where something differs; an architecture that can't be compiled is reported, and the others are proved.
    Example: q8a8-patch type prove ./mxfp4 --tree ./fork --base ./llama.cpp
    """
    from patcher.prove import ProveRequest, prove

    output.reporter.note(
        "to prove is to trust both trees, as to build is: their CMake files, their compiled code are run"
    )
    proof = prove(ProveRequest(folder, tree, base, wanted, work, jobs, launcher), reporter=output.reporter)
    output.emit(proof.document(), proof.text)
    return ExitCode.OK if proof.is_equal else ExitCode.FINDINGS
