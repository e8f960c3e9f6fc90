"""``q8a8-patch evaluate``: a family of commands, and the spelling that it had before it was one."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import ExitCode, UsageError
from patcher.base.printable import one_line
from patcher.commands import evaluate_report as reporting
from patcher.commands.evaluate_dossier import dossier_command
from patcher.commands.evaluate_grid import grid_command
from patcher.commands.evaluate_run import run_command
from patcher.commands.family import HELP, Family, meant

_WAYS = {"--from-files": "from-files", "--show": "show", "--compare": "compare", "--manifest": "grid"}
_HELP = ("-h", "--help")


class _Evaluate(Family):
    """Takes the old spelling as well, for one version: ``evaluate MODEL``, ``evaluate --compare A B``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        flags = {name for item in self.get_params(ctx) for name in item.opts}
        first = next((word for word in args if word not in flags), None)
        # -h alone is this command's; a line that is being completed isn't whole yet
        old = first is not None and first not in (*self.commands, HELP) and not set(args) & set(_HELP)
        if old and not ctx.resilient_parsing:
            args = _today(args, str(first), ctx)
        return super().parse_args(ctx, args)


def _today(args: list[str], first: str, ctx: click.Context) -> list[str]:
    """The line as it is spelled today, which is said. Raises :class:`UsageError` for two ways at once."""
    words = [
        part for word in args for part in (word.split("=", 1) if word.startswith("--manifest=") else [word])
    ]
    ways = [way for way in _WAYS if way in words]
    if len(ways) > 1:
        raise UsageError(
            f"{' and '.join(ways)} can't be given together", hint="leave all but one of them out"
        )
    if not ways and not first.startswith("-") and not Path(first).exists():
        near = meant(first, command.list_commands(ctx))
        if near:
            ctx.fail(f"No such command '{first}'.{near}")
    verb = _WAYS[ways[0]] if ways else "run"
    made = [verb, *(word for word in words if word not in ways)]
    if not {"-q", "--quiet"} & set(args):
        said = (
            f"'evaluate {shlex.join(args)}' is written 'evaluate {shlex.join(made)}' now;"
            " the old spelling goes with the next version"
        )
        click.echo(one_line(said), err=True)
    return made


@click.group("evaluate", cls=_Evaluate)
def command() -> None:
    """Measure a model in several types: is it half the size, twice as fast, as accurate?

    Example: q8a8-patch evaluate run model-f16.gguf --text wiki.test.txt --html report.html
    """


command.add_command(run_command)


@command.command("show")
@click.argument("paths", nargs=-1, type=reporting.PATH, metavar="RESULT...")
@reporting.judging_options
@reporting.report_options
@common_options
def show_command(
    paths: tuple[Path, ...],
    require: str | None,
    subject: tuple[str, ...],
    output_json: Path | None,
    markdown: Path | None,
    html: Path | None,
    into: tuple[Path, ...],
    output: Output,
) -> int:
    """Judge results again without measuring: JSON documents of 'evaluate run -o', or folders of them.

    One result is shown whole, several in one table. Exit code 1 where a limit of --require isn't kept.

    Example: q8a8-patch evaluate show result.json --html report.html
    """
    from patcher.evaluate import result
    from patcher.evaluate.report import overview

    requirements = reporting.asked(require)
    files = reporting.files(output_json, markdown, html, into)
    places = overview.find(paths)
    if len(places) == 1:
        return reporting.finish(result.load(places[0]), requirements, subject, files, output)
    judged = overview.judge(places, requirements, subject)
    reporting.emit_overview(judged, {"reports": [item.document() for item in judged]}, "", files, output)
    broken = any(not item.kept for each in judged for item in each.verdicts)
    return ExitCode.FINDINGS if broken else ExitCode.OK


@command.command("compare")
@click.argument("results", nargs=-1, type=reporting.PATH, metavar="FIRST SECOND")
@reporting.table_options
@common_options
def compare_command(
    results: tuple[Path, ...], output_json: Path | None, markdown: Path | None, output: Output
) -> int:
    """Show two results side by side: what became better or worse, and by more than the noise.

    Example: q8a8-patch evaluate compare before.json after.json
    """
    import json

    from patcher.base.files import write_wanted
    from patcher.evaluate import result
    from patcher.evaluate.judge import compare
    from patcher.evaluate.report import markdown as as_markdown
    from patcher.evaluate.report.terminal import differences

    files = reporting.files(output_json, markdown)
    if len(results) != 2:
        raise UsageError(
            f"evaluate compare: looked for two JSON documents, found {len(results)}",
            hint="'q8a8-patch evaluate run MODEL -o RESULT.json' writes one",
        )
    first, second = (result.load(path) for path in results)
    found, notes = compare.compare(first, second)
    names = (results[0].stem, results[1].stem)
    document = {
        "first": str(results[0]),
        "second": str(results[1]),
        "machines": [first.machine, second.machine],
        "differences": [item.document() for item in found],
        "notes": notes,
    }
    if files.markdown is not None:
        write_wanted(files.markdown, as_markdown.differences(found, names, notes))
    if files.json is not None:
        write_wanted(files.json, json.dumps(document, indent=1, ensure_ascii=False))
    output.emit(document, lambda: differences(found, names, notes))
    return ExitCode.OK


@command.command("from-files")
@click.argument("paths", nargs=-1, type=reporting.PATH, metavar="FILE...")
@reporting.judging_options
@reporting.report_options
@common_options
def from_files_command(
    paths: tuple[Path, ...],
    require: str | None,
    subject: tuple[str, ...],
    output_json: Path | None,
    markdown: Path | None,
    html: Path | None,
    into: tuple[Path, ...],
    output: Output,
) -> int:
    """Judge what llama-perplexity and llama-bench printed when somebody ran them: FILEs are their outputs.

    Exit code 1 where a limit of --require isn't kept.

    Example: q8a8-patch evaluate from-files fp16_ppl.txt q8a8_ppl.txt fp16_bench.txt q8a8_bench.txt
    """
    from patcher.evaluate.from_files import report as read_files

    requirements = reporting.asked(require)
    files = reporting.files(output_json, markdown, html, into)
    report = read_files(paths)
    reporting.mark(report)
    return reporting.finish(report, requirements, subject, files, output)


command.add_command(dossier_command)
command.add_command(grid_command)
