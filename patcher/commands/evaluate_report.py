"""What the commands of ``evaluate`` share: options, and how a report is judged, written and printed."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from patcher.base.console import Output
from patcher.base.errors import ExitCode, UsageError
from patcher.base.files import write_wanted

if TYPE_CHECKING:
    from patcher.evaluate.judge.thresholds import Requirement
    from patcher.evaluate.report.outputs import Files
    from patcher.evaluate.report.overview import Judged
    from patcher.evaluate.result import Report

F = TypeVar("F", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)


def judging_options(function: F) -> F:
    """``--require`` and ``--subject``."""
    function = click.option(
        "--subject",
        multiple=True,
        metavar="TYPE",
        help="A type that --require is about; may be repeated. [default: each Q8_A8]",
    )(function)
    return click.option(
        "--require",
        metavar="LIMITS",
        help="The limits to keep, relative to the baseline; 'none' for no limits. "
        "[default: size<=0.54,ppl<=1.007,pp>=1.41,tg>=1.41,ttft<=0.54,rss<=0.56; on ARM 1.9 for 1.41]",
    )(function)


def table_options(function: F) -> F:
    """``-o`` and ``--markdown``: files that any result can be written to."""
    function = click.option("--markdown", type=PATH, help="Write a Markdown report into this file.")(function)
    return click.option(
        "-o", "--output-json", type=PATH, help="Write the JSON document into this file, too."
    )(function)


def report_options(function: F) -> F:
    """:func:`table_options`, and what one evaluation can be written to besides."""
    function = click.option(
        "--into",
        type=PATH,
        multiple=True,
        help="Write the table into this Markdown page, between its lines <!-- evaluate x86_64 --> and"
        " <!-- /evaluate x86_64 -->; may be repeated.",
    )(function)
    function = click.option("--html", type=PATH, help="Write a page with plots into this file.")(function)
    return table_options(function)


def asked(require: str | None) -> list[Requirement] | None:
    """The limits of ``--require``; None where the usual ones hold."""
    from patcher.evaluate.judge import thresholds

    return None if require is None else thresholds.parse(require)


def files(
    output_json: Path | None, markdown: Path | None, html: Path | None = None, into: tuple[Path, ...] = ()
) -> Files:
    """Where to write, checked before anything is measured. Raises :class:`UsageError`."""
    from patcher.evaluate.report.outputs import Files

    found = Files(output_json, markdown, html, into)
    found.require_places()
    return found


def mark(report: Report) -> None:
    """Note in ``report`` the command that made it."""
    report.settings["command"] = shlex.join(["q8a8-patch", *sys.argv[1:]])


def finish(
    report: Report,
    requirements: list[Requirement] | None,
    subject: tuple[str, ...],
    places: Files,
    output: Output,
) -> int:
    """Judge a report, write the files, print it; the exit code."""
    from patcher.evaluate import failures
    from patcher.evaluate.judge import thresholds, verdict_table
    from patcher.evaluate.report import outputs

    verdicts = thresholds.judge(
        report, thresholds.asked(report, requirements), thresholds.subjects(report, subject)
    )
    for path in outputs.write(report, verdicts, places):
        output.reporter.note(f"written   {path}")

    def text() -> str:
        from patcher.evaluate.report.terminal import terminal

        return terminal(report, verdicts)

    output.emit(lambda: outputs.document(report, verdicts), text)
    if failures(report):
        for line in failures(report):
            output.reporter.warn(f"not measured: {line}")
        return ExitCode.BUILD
    broken = [item for item in verdicts if not item.kept]
    for item in broken:
        measured = "measured " if item.ratio is not None else ""
        output.reporter.warn(
            f"not kept: {item.type}: {item.requirement}, {measured}{verdict_table.reason(item)}"
        )
    return ExitCode.FINDINGS if broken else ExitCode.OK


def emit_overview(
    judged: Sequence[Judged], document: dict[str, Any], words: str, places: Files, output: Output
) -> None:
    """Many evaluations as one table: printed, and written where files were asked for."""
    from patcher.evaluate.report import overview

    if places.html is not None or places.into:
        raise UsageError(
            "--html and --into: are of one evaluation",
            hint="'q8a8-patch evaluate show RESULT.json --html FILE' writes one",
        )
    if places.markdown is not None:
        write_wanted(places.markdown, overview.markdown(judged))
    if places.json is not None:
        write_wanted(places.json, json.dumps(document, indent=1, ensure_ascii=False))
    output.emit(
        document, lambda: "\n\n".join(filter(None, [overview.terminal(judged) if judged else "", words]))
    )
