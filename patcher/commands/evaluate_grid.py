"""``q8a8-patch evaluate grid``."""

from __future__ import annotations

from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import ExitCode, UsageError
from patcher.commands import evaluate_report as reporting
from patcher.commands import values


@click.command("grid")
@click.argument("manifest", type=reporting.PATH)
@click.option(
    "--results",
    type=reporting.PATH,
    default=Path("q8a8-results"),
    show_default=True,
    help="The folder that results go to; what is there is not measured again.",
)
@click.option(
    "--executor",
    type=click.Choice(["local", "dask"]),
    default="local",
    show_default=True,
    help="Where jobs run: one after the other here, or on Dask's workers.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="With dask: how many workers to start here.",
)
@click.option(
    "--scheduler", metavar="ADDRESS", help="With dask: a scheduler that runs already, instead of --workers."
)
@click.option(
    "--only",
    multiple=True,
    metavar="JOB",
    shell_complete=values.jobs,
    help="Run only this job; may be repeated.",
)
@click.option("--list", "list_jobs", is_flag=True, help="List the jobs, for a CI matrix or job array.")
@reporting.judging_options
@reporting.table_options
@common_options
def grid_command(
    manifest: Path,
    results: Path,
    executor: str,
    workers: int,
    scheduler: str | None,
    only: tuple[str, ...],
    list_jobs: bool,
    require: str | None,
    subject: tuple[str, ...],
    output_json: Path | None,
    markdown: Path | None,
    output: Output,
) -> int:
    """Measure many models as MANIFEST, a TOML file, says (its form: docs/evaluate.md), and show one table.

    Exit code 1 where --require is given and one of its limits isn't kept.

    Example: q8a8-patch evaluate grid grid.toml --only tiny-2
    """
    from patcher.evaluate import grid
    from patcher.evaluate.report import overview

    requirements = reporting.asked(require)
    files = reporting.files(output_json, markdown)
    if scheduler is not None and executor != "dask":
        raise UsageError("--scheduler: is for Dask alone", hint="add --executor dask")
    jobs = grid.load(manifest, output.reporter)
    unknown = sorted(set(only) - {job.id for job in jobs} - {job.name for job in jobs})
    if unknown:
        raise UsageError(
            f"--only {unknown[0]}: no such job", hint=f"'evaluate grid {manifest} --list' shows them"
        )
    if only:
        jobs = [job for job in jobs if job.id in only or job.name in only]
    if list_jobs:
        listed = {"include": [job.document() for job in jobs]}
        output.emit(listed, "\n".join(f"{job.id}  {job.name}" for job in jobs))
        return ExitCode.OK
    outcomes = grid.run(
        jobs, results, executor=executor, workers=workers, scheduler=scheduler, reporter=output.reporter
    )
    judged = overview.judge([item.file for item in outcomes if not item.failure], requirements, subject)
    states = {True: "there already", False: "measured"}
    text = "\n".join(
        f"{item.job.name}: {item.failure or f'{states[item.found]}, {item.file}'}" for item in outcomes
    )
    reporting.emit_overview(judged, {"jobs": [item.document() for item in outcomes]}, text, files, output)
    if any(item.failure for item in outcomes):
        return ExitCode.BUILD
    broken = any(not item.kept for each in judged for item in each.verdicts)
    return ExitCode.FINDINGS if require is not None and broken else ExitCode.OK
