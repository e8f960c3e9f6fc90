"""``q8a8-patch build``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from patcher.commands.arguments import build_options, tree_argument
from patcher.console import Output, common_options


@click.command("build")
@tree_argument
@click.option("--build-dir", type=click.Path(path_type=Path), help="Outside TREE. [default: in the cache]")
@build_options
@common_options
def command(
    tree: Path,
    build_dir: Path | None,
    targets: tuple[str, ...],
    jobs: int | None,
    cmake_args: tuple[str, ...],
    launcher: str,
    toolchain: Path | None,
    build_type: str,
    allow_shlib_undefined: bool,
    output: Output,
) -> None:
    """Build TREE with CMake and Ninja, out of tree and strictly linked.

    On failure: the first error, its place, which edit of ours stands there, and the log's path.
    Example: q8a8-patch build ./llama.cpp --target llama-quantize --jobs 4
    """
    from patcher.build import BuildRequest, build, default_build_dir, default_targets
    from patcher.transaction import explain, tree_at

    root = tree_at(tree).root
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
    done = build(request, reporter=output.reporter, explain=partial(explain, root))
    output.emit(
        done.document(),
        f"{done.bin_dir}: {', '.join(done.targets)} built in {done.seconds:.0f} s"
        f" ({done.compiled} files compiled, {done.compiler})",
    )
