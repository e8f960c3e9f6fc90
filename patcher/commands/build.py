"""``q8a8-patch build``."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import ExitCode
from patcher.commands import values
from patcher.commands.arguments import build_options, offer_fixes, require_type, shipped_type, tree_argument


@click.command("build")
@tree_argument
@click.option(
    "--type",
    "type_name",
    metavar="NAME|FILE",
    callback=shipped_type,
    shell_complete=values.types,
    help="Refuse a tree that lacks a part of this type: one that ships (Q8_A8) or your own .toml file.",
)
@click.option(
    "--build-dir",
    type=click.Path(path_type=Path),
    help="The folder to build in, outside of TREE. [default: in the cache]",
)
@build_options
@common_options
def command(
    tree: Path,
    type_name: str | None,
    build_dir: Path | None,
    targets: tuple[str, ...],
    jobs: int | None,
    cmake_args: tuple[str, ...],
    launcher: str,
    toolchain: Path | None,
    build_type: str,
    allow_shlib_undefined: bool,
    output: Output,
) -> int:
    """Build TREE with CMake and Ninja, out of tree and strictly linked; prove that no symbol is undefined.

    Two readers read every file that was built (with --toolchain, none does: 'verify-symbols --sysroot' can).
    Exit code 1 where a symbol is undefined. If the build fails, the first error is printed with its place,
    the edit of ours that stands there, and the log's path.
    Example: q8a8-patch build ./llama.cpp --target llama-quantize --jobs 4
    """
    from patcher.build import BuildRequest, build, default_build_dir, default_targets
    from patcher.engine.transaction import explain, tree_at
    from patcher.symbols.report import summary, text

    work = tree_at(tree)
    root = work.root
    if type_name is not None:
        require_type(work, type_name, output.reporter)
    request = BuildRequest(
        root,
        build_dir or default_build_dir(root),
        targets or default_targets(root),
        jobs,
        cmake_args,
        allow_shlib_undefined,
        launcher,
        toolchain,
        build_type,
    )
    offer_fixes(work, request, output.reporter, type_name or "q8_a8")
    done = build(request, reporter=output.reporter, explain=partial(explain, root))
    said = (
        f"{done.bin_dir}: {', '.join(done.targets)} built in {done.seconds:.0f} s"
        f" ({done.compiled} files compiled, {done.compiler})"
    )
    if toolchain is not None or not sys.platform.startswith("linux"):
        output.reporter.note("not verified: these files are for another system ('verify-symbols --sysroot')")
        output.emit(done.document(), said)
        return ExitCode.OK
    from patcher.commands.verification import proven

    checked = proven(done.bin_dir, output.reporter)
    bad = checked.at_least("error")
    output.emit(
        {**done.document(), "verify": checked.document()},
        lambda: "\n".join([*([text(checked), ""] if bad else []), said, summary(checked)]),
    )
    return ExitCode.FINDINGS if bad else ExitCode.OK
