"""``q8a8-patch evaluate``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from patcher.evaluate.judge.thresholds import Requirement
    from patcher.evaluate.report.outputs import Files
    from patcher.evaluate.result import Report

_PATH = click.Path(path_type=Path)


def _numbers(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    """``1,2,4``: whole numbers, each once."""
    parts = [part.strip() for part in value.split(",")] if value else []
    if not all(part.isdigit() and len(part) < 8 for part in parts):
        raise click.BadParameter(f"{value!r}: looked for numbers like 1,2,4", context, parameter)
    return tuple(dict.fromkeys(map(int, parts)))


@click.command("evaluate")
@click.argument("paths", nargs=-1, type=_PATH)
@click.option("--text", type=_PATH, help="The text that accuracy is measured on; without it, only speed is.")
@click.option(
    "--types",
    default="F16,Q8_0,Q8_A8,Q8_A8+smooth",
    show_default=True,
    metavar="TYPE,...",
    help="What to compare; LABEL=FILE.gguf for a model that is there.",
)
@click.option("--baseline", default="F16", show_default=True, help="What the others are compared with.")
@click.option("--bin", "folder", type=_PATH, help="The build's bin folder. [default: that of --work]")
@click.option("--work", type=_PATH, default=Path("q8a8-work"), show_default=True, help="What 'run' left.")
@click.option("--models", type=_PATH, help="Where models that are made go. [default: in the cache]")
@click.option("--calibration", type=_PATH, help="The text that smoothing is calibrated on.")
@click.option("--quick", is_flag=True, help="A first answer: 8 chunks, 3 rounds, 32 tokens decoded.")
@click.option("--chunks", type=click.IntRange(min=0), help="How much of the text; 0 for all. [default: 60]")
@click.option(
    "--ctx", "context", type=click.IntRange(min=32), default=512, show_default=True, help="Tokens a chunk."
)
@click.option(
    "--prompt", type=click.IntRange(min=1), default=512, show_default=True, help="Tokens of the prompt."
)
@click.option("--gen", "generate", type=click.IntRange(min=1), help="Tokens decoded. [default: 128]")
@click.option(
    "--depths",
    callback=_numbers,
    metavar="N,...",
    default="0",
    show_default=True,
    help="Tokens in the context before.",
)
@click.option(
    "--threads", callback=_numbers, metavar="N,...", help="The first one counts. [default: by machine]"
)
@click.option(
    "--rounds", type=click.IntRange(min=0), help="How often speed is measured; 0: not. [default: 5]"
)
@click.option("--kld/--no-kld", default=True, help="KL divergence from the baseline.  [default: kld]")
@click.option(
    "--require",
    metavar="LIMITS",
    help="Relative to the baseline; 'none' for no limits. "
    "[default: size<=0.54,ppl<=1.007,pp>=1.41,tg>=1.41,ttft<=0.54,rss<=0.56; on ARM 1.9 for 1.41]",
)
@click.option(
    "--subject", multiple=True, metavar="TYPE", help="What --require is about. [default: each Q8_A8]"
)
@click.option("-o", "--output-json", type=_PATH, help="Write the JSON document here too.")
@click.option("--html", type=_PATH, help="Write a page with plots.")
@click.option("--markdown", type=_PATH, help="Write a Markdown report.")
@click.option(
    "--into", type=_PATH, multiple=True, help="Renew the answer in a Markdown page; see docs/evaluate.md."
)
@click.option("--fresh", is_flag=True, help="Measure again what was measured before.")
@click.option("--from-files", is_flag=True, help="PATHS are outputs of llama-perplexity and llama-bench.")
@click.option("--show", is_flag=True, help="PATHS are JSON documents of this command, or folders of them.")
@click.option("--compare", is_flag=True, help="PATHS are two JSON documents of this command.")
@click.option("--demo", is_flag=True, help="A small model and a text through pip; builds where need be.")
@click.option(
    "--cross", type=click.Choice(["aarch64"]), help="Cross-build, run under qemu, count instructions."
)
@click.option("--manifest", type=_PATH, help="A grid of models; see docs/evaluate.md.")
@click.option(
    "--results", type=_PATH, default=Path("q8a8-results"), show_default=True, help="The grid's results."
)
@click.option("--executor", type=click.Choice(["local", "dask"]), default="local", show_default=True)
@click.option(
    "--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Dask's, started here."
)
@click.option("--scheduler", metavar="ADDRESS", help="A Dask scheduler that is there, instead of --workers.")
@click.option("--only", multiple=True, metavar="JOB", help="Only this job of the grid; may be repeated.")
@click.option("--list", "list_jobs", is_flag=True, help="The jobs of the grid, for a CI matrix or job array.")
@common_options
def command(
    require: str | None,
    subject: tuple[str, ...],
    output_json: Path | None,
    html: Path | None,
    markdown: Path | None,
    into: tuple[Path, ...],
    from_files: bool,
    compare: bool,
    show: bool,
    output: Output,
    **keywords: Any,
) -> int:
    """Is it half the size, twice as fast, as accurate? Measures MODEL.gguf in several types, side by side.

    Exit code 1 where a limit of --require isn't kept. Every stage is kept: run it again to go on. Examples:

      q8a8-patch evaluate model-f16.gguf --text wiki.test.txt --html report.html

      q8a8-patch evaluate --from-files fp16_ppl.txt q8a8_ppl.txt fp16_bench.txt q8a8_bench.txt
    """  # fmt: skip
    from patcher.commands import evaluate_modes as modes
    from patcher.evaluate.judge import thresholds
    from patcher.evaluate.report.outputs import Files

    options = modes.Options(**keywords, strict=require is not None)
    ways = {"--from-files": from_files, "--compare": compare, "--show": show, "--demo": options.demo,
             "--manifest": options.manifest is not None}  # fmt: skip
    chosen = [name for name, wanted in ways.items() if wanted]
    if options.cross is not None and chosen not in ([], ["--demo"]):
        chosen.append("--cross")
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)}: choose one of them")
    files = Files(output_json, markdown, html, into)
    files.require_places()
    requirements = None if require is None else thresholds.parse(require)
    if compare:
        return modes.compare_reports(options, files, output)
    if options.manifest is not None:
        return modes.run_grid(options, options.manifest, files, requirements, subject, output)
    if show:
        return _show(options.paths, requirements, subject, files, output)
    if not from_files:
        modes.require_inputs(options, subject)
    if options.cross is not None:
        report = modes.cross_evaluate(options, output)
    elif from_files:
        from patcher.evaluate.from_files import report as read_files

        report = read_files(options.paths)
    else:
        report = modes.measure(options, output)
    report.settings["command"] = shlex.join(["q8a8-patch", *sys.argv[1:]])
    return _finish(report, requirements, subject, files, output)


def _show(
    paths: tuple[Path, ...],
    requirements: list[Requirement] | None,
    subject: tuple[str, ...],
    files: Files,
    output: Output,
) -> int:
    """Reports that are there, judged again: one as it is, many in one table."""
    from patcher.commands import evaluate_modes as modes
    from patcher.evaluate import result
    from patcher.evaluate.report import overview

    places = overview.find(paths)
    if len(places) == 1:
        return _finish(result.load(places[0]), requirements, subject, files, output)
    judged = overview.judge(places, requirements, subject)
    modes.emit_overview(judged, {"reports": [item.document() for item in judged]}, "", files, output)
    return (
        ExitCode.FINDINGS if any(not item.kept for each in judged for item in each.verdicts) else ExitCode.OK
    )


def _finish(
    report: Report,
    requirements: list[Requirement] | None,
    subject: tuple[str, ...],
    files: Files,
    output: Output,
) -> int:
    from patcher.evaluate import failures
    from patcher.evaluate.judge import thresholds, verdict_table
    from patcher.evaluate.report import outputs

    verdicts = thresholds.judge(
        report, thresholds.asked(report, requirements), thresholds.subjects(report, subject)
    )
    for path in outputs.write(report, verdicts, files):
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
