"""``q8a8-patch fixes``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from patcher.base.console import Output, common_options


@click.command("fixes")
@click.argument("tree", type=click.Path(path_type=Path), required=False)
@common_options
def command(tree: Path | None, output: Output) -> None:
    """List the build fixes: symptom, cause, whom they affect; whether this machine, and TREE, need them.

    Example: q8a8-patch fixes ./llama.cpp
    """
    from patcher.base.errors import BuildError
    from patcher.build.toolchain import require_compiler
    from patcher.engine import build_fixes, transaction
    from patcher.engine.patchset import load

    try:
        compiler = require_compiler("CXX")
    except BuildError:
        compiler = None  # nothing can be built here, so nothing is affected
    work = transaction.tree_at(tree) if tree is not None else None
    rows: list[dict[str, Any]] = []
    for fix in build_fixes.catalogue().values():
        met = compiler is not None and fix.is_met_by(compiler)
        state = fix.state(work, load()).value if work is not None else None
        rows.append(fix.document() | {"this_machine": met, "compiler": compiler, "tree": state})

    def text() -> str:
        lines = []
        for row in rows:
            lines += [
                f"{row['name']}: {row['title']}",
                f"  symptom       {row['symptom']}",
                f"  cause         {row['cause']}",
                f"  affected      {row['affected']}",
                f"  this machine  {_said(row)}",
                *([f"  {'this tree':<13} {row['tree']}"] if row["tree"] else []),
                f"  reported      {row['report']}",
                f"  apply it      q8a8-patch apply --with-fix {row['name']}",
                *([f"  or without    q8a8-patch build {row['workaround']}"] if row["workaround"] else []),
            ]
        return "\n".join(lines)

    output.emit({"fixes": rows}, text)


def _said(row: dict[str, Any]) -> str:
    """What is said of this machine."""
    if row["optional"]:
        return "works without it, and may be faster with it"
    compiler = f" ({row['compiler']})" if row["compiler"] else " (no C++ compiler)"
    return f"{'affected' if row['this_machine'] else 'not affected'}{compiler}"
