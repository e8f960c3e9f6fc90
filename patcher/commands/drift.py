"""``q8a8-patch drift``."""

from __future__ import annotations

from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import ExitCode, UsageError
from patcher.base.units import how_many
from patcher.commands.arguments import found_tree, type_option


@click.command("drift")
@click.argument(
    "repo", type=click.Path(path_type=Path), required=False, callback=found_tree, metavar="[REPO]"
)
@click.option(
    "--refs",
    multiple=True,
    metavar="REF|A..B",
    help="A ref, or a range commit by commit; may be repeated. [default: HEAD's history]",
)
@click.option(
    "--since",
    metavar="DATE",
    help="Only commits since this date, written as git takes dates, such as 2026-01-31.",
)
@click.option(
    "--bisect", is_flag=True, help="Judge only what it takes to find the first commit that breaks each edit."
)
@click.option(
    "--picture", type=click.Path(path_type=Path), help="Draw edits over revisions into this SVG file."
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    help="How many processes run at once. [default: one for each processor]",
)
@type_option
@common_options
def command(
    repo: Path,
    refs: tuple[str, ...],
    since: str | None,
    bisect: bool,
    picture: Path | None,
    jobs: int | None,
    type_name: str,
    output: Output,
) -> int:
    """Plan the type on many revisions of REPO, without a checkout, and say since when it breaks and why.

    REPO is a clone of llama.cpp, or the folder of a project's copy of it: then its own history is judged.
    Without REPO it is the tree around the current folder.
    Exit code 1 where the newest revision refuses an edit. What was judged is kept: an interrupted run
    goes on where it stopped. Example: q8a8-patch drift ./llama.cpp --refs b8390..HEAD --bisect
    """
    from patcher import git
    from patcher.base.files import require_place, write_wanted
    from patcher.drift import drift
    from patcher.engine.patchset import load

    if since is not None and refs and not any(".." in ref for ref in refs):
        raise UsageError(
            "--since: is for a history, and each --refs is one revision",
            hint="leave --since out, or name A..B",
        )
    if picture is not None:
        require_place(picture)
    if git.find_toplevel(repo) is None and not (repo / "objects").is_dir():
        raise UsageError(
            f"{repo}: looked for a git repository, found none",
            hint="name a clone of llama.cpp, or its folder",
        )
    patchset = load(type_name)
    found = drift(repo, patchset, refs=refs, since=since, bisect=bisect, jobs=jobs, reporter=output.reporter)
    if picture is not None:
        from patcher.drift.picture import svg

        write_wanted(picture, svg(found, patchset))

    def text() -> str:
        lines = []
        for one in found.revisions:
            if output.verbose or (len(found.revisions) <= 20):
                ids = ", ".join(conflict.edit for conflict in one.conflicts)
                lines.append(
                    f"{one.state:<8}  {one.ref:<14} {one.date}  {one.subject[:60]}"
                    + (f"  ({ids})" if ids else "")
                )
        for cause in found.causes:
            lines.append(f"{cause.edit}: broken by {cause.commit[:12]} ({cause.date}) {cause.subject}")
            lines.append(f"    {cause.file}: {cause.detail}")
            lines += [f"    {line}" for line in cause.hunk.splitlines()]
        good, bad = found.last_good, found.first_bad
        verdict = (
            "every revision takes the type"
            if not any(one.conflicts for one in found.revisions)
            else (f"last good: {good.ref if good else 'none'}, first bad: {bad.ref if bad else 'none'}")
        )
        revisions = how_many(len(found.revisions), "revision")
        lines.append(f"{revisions}, {how_many(found.judged, 'distinct file')} judged: {verdict}")
        return "\n".join(lines)

    output.emit(found.document, text)
    return ExitCode.FINDINGS if found.revisions[-1].conflicts else ExitCode.OK
