"""``q8a8-patch audit``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import ExitCode
from patcher.base.units import how_many
from patcher.commands.arguments import tree_argument, type_option


@click.command("audit")
@tree_argument
@click.option(
    "--ref",
    metavar="REF",
    help="Audit this commit, tag or branch of the repository TREE, without a checkout.",
)
@click.option("--fail-on-new", is_flag=True, help="Exit code 1 where a site is neither handled nor waived.")
@type_option
@common_options
def command(tree: Path, ref: str | None, fail_on_new: bool, type_name: str, output: Output) -> int:
    """Find every place that names the sibling type (Q8_0), and say whether the type is there too.

    Each is handled, waived with a reason (patches/waivers.toml), or NEW: upstream has added it, and
    nobody has thought about it yet. The tree is judged as it is with the type applied.
    Example: q8a8-patch audit ./llama.cpp --fail-on-new
    """
    from patcher.audit import audit
    from patcher.engine.layout import require_tree
    from patcher.engine.patchset import load
    from patcher.engine.settled import remembered
    from patcher.engine.transaction import tree_at
    from patcher.engine.tree import CommitTree, ListedTree

    looked: ListedTree = CommitTree(tree, ref) if ref else tree_at(tree)
    require_tree(looked)
    patchset = remembered(load(type_name), looked)
    report = audit(looked, patchset, reporter=output.reporter)

    def text() -> str:
        lines = []
        for one in report.sites:
            if one.state != "new" and not output.verbose:
                continue
            site = one.site
            mark = {"new": click.style("NEW", fg="red"), "waived": "waived", "handled": "handled"}[one.state]
            where = f" in {site.function}" if site.function else ""
            lines.append(f"{mark:<8} {site.file}:{site.line}: {site.construct}{where}: {site.text[:100]}")
            lines += [f"         {one.reason}"] if one.reason and output.verbose else []
        if output.verbose:
            lines += [f"unused waiver: {waiver.file}: {waiver.reason}" for waiver in report.unused]
        counts = Counter(one.state for one in report.sites)
        files = len({one.site.file for one in report.sites})
        lines.append(
            f"{report.tree}: {how_many(len(report.sites), 'site')} of {patchset.type.sibling.upper()}"
            f" in {how_many(files, 'file')}:"
            f" {counts['handled']} handled, {counts['waived']} waived, {counts['new']} NEW"
        )
        return "\n".join(lines)

    output.emit(report.document, text)
    return ExitCode.FINDINGS if fail_on_new and report.new else ExitCode.OK
