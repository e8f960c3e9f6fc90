"""``q8a8-patch guard``: what a service runs for every change, and once a day."""

from __future__ import annotations

import os
from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import ExitCode
from patcher.base.os_errors import refused
from patcher.commands import values
from patcher.commands.arguments import (
    cmake_arg_option,
    found_tree,
    jobs_option,
    launcher_option,
    refuse_beside,
    type_option,
)
from patcher.commands.family import Family

_FAIL_ON = ("error", "warning", "note", "never")
_fail_on_option = click.option(
    "--fail-on",
    type=click.Choice(_FAIL_ON),
    default="error",
    show_default=True,
    help="The least severity of a problem for which the exit code is 1; with 'never' it is 0 always.",
)
_summary_option = click.option(
    "--summary",
    type=click.Path(path_type=Path),
    help="Append a Markdown summary to this file. [default: $GITHUB_STEP_SUMMARY]",
)


@click.group("guard", cls=Family)
def command() -> None:
    """Guard a repository that carries llama.cpp.

    Example: q8a8-patch guard check --source ./vendor/llama.cpp
    """


def _source(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    """--source, or the tree around the current folder, or that folder and what it carries."""
    return value if value is not None else str(found_tree(context, parameter, None))


@command.command("check")
@click.option(
    "--source",
    callback=_source,
    metavar="LOCATOR",
    shell_complete=values.sources,
    help="The tree, a project that carries one, or anything that fetch takes."
    " [default: the tree around the current folder, or in it]",
)
@click.option("--ref", metavar="REF", help="The tag, branch or commit, where the source is a repository.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="NAME",
    shell_complete=values.targets,
    help="A program to build; may be repeated. [default: llama-quantize]",
)
@type_option
@_fail_on_option
@click.option(
    "--expect",
    type=click.Choice(["auto", "stock", "carried"]),
    default="auto",
    show_default=True,
    help="Whether the tree has the type already (carried), of which nothing may be missing then, "
    "or not (stock).",
)
@click.option("--static", is_flag=True, help="Only read the source, in seconds: make no copy and no build.")
@click.option(
    "--keep-going", is_flag=True, help="Build even where reading the source has found problems already."
)
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    help="The folder for the copy and the build. [default: in the cache]",
)
@jobs_option
@cmake_arg_option
@launcher_option
@click.option(
    "--merges",
    default="auto",
    show_default=True,
    metavar="A..B|auto|none",
    help="Audit the merge commits of this range; 'auto' takes those of the pull request that CI runs for,"
    " 'none' audits none.",
)
@click.option(
    "--merge-waivers",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A TOML file of what merges may lose, with reasons, as for merge-audit; may be repeated.",
)
@click.option("--sarif", type=click.Path(path_type=Path), help="Write SARIF 2.1.0 into this file.")
@click.option("--gitlab", type=click.Path(path_type=Path), help="Write GitLab's code quality into this file.")
@_summary_option
@click.option(
    "--annotate/--no-annotate", default=None, help="Print GitHub's annotations. [default: on its runners]"
)
@common_options
def check_command(
    source: str,
    ref: str | None,
    targets: tuple[str, ...],
    type_name: str,
    fail_on: str,
    expect: str,
    static: bool,
    keep_going: bool,
    work: Path | None,
    jobs: int | None,
    cmake_args: tuple[str, ...],
    launcher: str,
    merges: str,
    merge_waivers: tuple[Path, ...],
    sarif: Path | None,
    gitlab: Path | None,
    summary: Path | None,
    annotate: bool | None,
    output: Output,
) -> int:
    """Check a tree: has every edit its place, is Q8_A8 wherever Q8_0 is, does it build and link?

    A tree that carries the type must have all of it; to any other it is applied, in a copy. Nothing is
    written in the source. Exit code 1 where a problem of the severity --fail-on, or a worse one, was found.

    Example: q8a8-patch guard check --source . --target llama-quantize --sarif guard.sarif
    """
    from patcher.base.files import require_place, write_wanted
    from patcher.engine.patchset import load
    from patcher.guard import CheckRequest, check, outputs
    from patcher.guard.check import TARGETS

    if static:
        why = "only reads the source, and builds nothing"
        refuse_beside("--static", why, "targets", "work", "jobs", "cmake_args", "launcher", "keep_going")
    for place in filter(None, (sarif, gitlab, summary)):
        require_place(place)
    request = CheckRequest(
        source, ref, work, targets or TARGETS, static, keep_going, expect, fail_on, jobs, cmake_args,
        launcher, merges, merge_waivers,
    )  # fmt: skip
    done = check(request, reporter=output.reporter, patchset=load(type_name))
    if sarif is not None:
        write_wanted(sarif, outputs.sarif(done) + "\n")
    if gitlab is not None:
        write_wanted(gitlab, outputs.gitlab(done) + "\n")
    _add_summary(summary, outputs.markdown(done))
    if annotate or (annotate is None and os.environ.get("GITHUB_ACTIONS") == "true"):
        click.echo(outputs.github(done), err=True, nl=bool(done.problems))
    output.emit(done.document, lambda: outputs.text(done, verbose=bool(output.verbose)))
    return ExitCode.FINDINGS if done.failing else ExitCode.OK


@command.command("watch")
@click.option(
    "--upstream", metavar="URL", help="The repository to watch, or a clone of it. [default: llama.cpp's]"
)
@type_option
@click.option(
    "--refs",
    multiple=True,
    metavar="REF|A..B",
    help="Plan these revisions only, instead of all that were fetched; may be repeated.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 4000),
    default=30,
    show_default=True,
    help="Days of history to fetch initially.",
)
@click.option(
    "--issue",
    type=click.Choice(["none", "github", "gitlab"]),
    default="none",
    show_default=True,
    help="Keep one issue there, with the token in the environment.",
)
@click.option(
    "--fail-on",
    type=click.Choice(_FAIL_ON),
    default="error",
    show_default=True,
    help="The least severity for which the exit code is 1; a break is an error. With 'never' it is 0 always.",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    help="The folder for upstream's history. [default: in the cache]",
)
@_summary_option
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    help="How many processes run at once. [default: one for each processor]",
)
@common_options
def watch_command(
    upstream: str | None,
    type_name: str,
    refs: tuple[str, ...],
    days: int,
    issue: str,
    fail_on: str,
    work: Path | None,
    summary: Path | None,
    jobs: int | None,
    output: Output,
) -> int:
    """Plan the type on upstream's newest commit; if an edit has no place, find the cause, keep one issue.

    The issue is opened once, updated while something changes, and closed when every edit fits again.
    Exit code 1 where the newest refuses an edit. Run in a tree that carries the type, it judges the edits
    that the tree's .q8a8-patch.toml has settled on.

    Example: q8a8-patch guard watch --issue github
    """
    from patcher.base.cache import cache_dir
    from patcher.base.files import require_place
    from patcher.engine.layout import tree_around
    from patcher.engine.patchset import load
    from patcher.engine.settled import remembered
    from patcher.engine.tree import WorkTree
    from patcher.guard import watch
    from patcher.guard.issue import body_of, keep, marker_of, title_of
    from patcher.guard.trackers import tracker

    if summary is not None:
        require_place(summary)
    patchset = load(type_name)
    here = tree_around(Path.cwd())
    if here is not None:  # edits that this tree does without are not watched for it
        patchset = remembered(patchset, WorkTree(here))
    # what it lacks is said before the work
    where = tracker(issue, os.environ, marker_of(patchset)) if issue != "none" else None
    done = watch(
        upstream, work or cache_dir("guard"), refs=refs, days=days, patchset=patchset, jobs=jobs,
        reporter=output.reporter,
    )  # fmt: skip
    newest = done.drift.revisions[-1]
    fits = f"{done.patchset.type.upper} fits upstream's newest, {newest.commit[:12]} ({newest.date})"
    verdict = title_of(done) if done.broken else fits
    action, kept = keep(where, done) if where is not None else ("none", None)
    _add_summary(summary, body_of(done) if done.broken else f"## ✅ {verdict}\n")

    def text() -> str:
        lines = [verdict]
        for cause in done.drift.causes:
            lines.append(f"  {cause.edit}: {cause.file}: {cause.detail}")
            lines.append(f"    broken by {cause.commit[:12]} ({cause.date}) {cause.subject}")
        return "\n".join([*lines, *([f"issue {action}: {kept.url}"] if kept else [])])

    document = done.document() | {"issue": {"action": action, "url": kept.url if kept else None}}
    output.emit(document, text)
    return ExitCode.FINDINGS if done.broken and fail_on != "never" else ExitCode.OK


def _add_summary(place: Path | None, text: str) -> None:
    name = os.environ.get("GITHUB_STEP_SUMMARY")
    place = place or (Path(name) if name else None)
    if place is None:
        return
    try:
        with place.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as why:
        raise refused(place, why) from why
