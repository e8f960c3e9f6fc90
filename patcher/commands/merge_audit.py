"""``q8a8-patch merge-audit``."""

from __future__ import annotations

from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import ExitCode, UsageError
from patcher.commands.arguments import refuse_beside


@click.command("merge-audit")
@click.argument("sides", nargs=-1, metavar="[BASE OURS THEIRS] MERGED")
@click.option("--range", "wanted", metavar="A..B", help="Every merge commit that B has and A hasn't.")
@click.option(
    "--repo",
    type=click.Path(path_type=Path),
    default=".",
    show_default=True,
    help="The repository that the commits are of.",
)
@click.option(
    "--waivers",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A TOML file of losses that are intended, with reasons; may be repeated.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "note", "never"]),
    default="warning",
    show_default=True,
    help="The least severity of a finding for which the exit code is 1.",
)
@click.option("--sarif", type=click.Path(path_type=Path), help="Write SARIF 2.1.0 into this file.")
@common_options
def command(
    sides: tuple[str, ...],
    wanted: str | None,
    repo: Path,
    waivers: tuple[Path, ...],
    fail_on: str,
    sarif: Path | None,
    output: Output,
) -> int:
    """Prove that a merge lost nothing that its sides brought, and brought nothing back that they removed.

    A merge commit alone is enough; BASE, OURS, THEIRS and MERGED are commits or folders. C, C++, Python and
    CMake are compared item by item, other files as a whole. Exit code 1 where something was found.

    Example: q8a8-patch merge-audit HEAD
    """
    from dataclasses import asdict

    from patcher import merge_audit
    from patcher.base.files import require_place, write_wanted
    from patcher.base.units import how_many
    from patcher.guard import outputs
    from patcher.guard.merges import judgement

    if wanted is not None:
        refuse_beside("--range", "names the merges already", "sides")
    elif len(sides) not in (1, 4):
        raise UsageError(
            "merge-audit: looked for MERGED, or BASE OURS THEIRS MERGED, or --range,"
            f" found {how_many(len(sides), 'name')}",
            hint="a merge commit alone is enough: q8a8-patch merge-audit HEAD",
        )
    if sarif is not None:
        require_place(sarif)
    rules = merge_audit.load(waivers)
    if wanted is not None:
        done = merge_audit.audit_range(repo, wanted, waivers=rules, reporter=output.reporter)
    elif len(sides) == 1:
        done = [merge_audit.audit_commit(repo, sides[0], waivers=rules, reporter=output.reporter)]
    else:
        base, ours, theirs, merged = sides
        done = [
            merge_audit.audit_sides(repo, base, ours, theirs, merged, waivers=rules, reporter=output.reporter)
        ]
    check = judgement(wanted or sides[-1], done, fail_on, None)
    if sarif is not None:
        write_wanted(sarif, outputs.sarif(check, "merge-audit") + "\n")
    used = {rule for merge in done for rule in merge.used}
    unused = [asdict(rule) for rule in rules if rule not in used]
    document = {
        "fail_on": fail_on,
        "red": bool(check.failing),
        "merges": [merge.document() for merge in done],
        "unused_waivers": unused,
    }

    def text() -> str:
        stale = [f"unused waiver: {rule['file']}: {rule['reason']}" for rule in unused]
        return "\n".join([outputs.text(check, verbose=bool(output.verbose)), *stale])

    output.emit(document, text)
    return ExitCode.FINDINGS if check.failing else ExitCode.OK
