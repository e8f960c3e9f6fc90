"""``q8a8-patch verify-symbols``."""

from __future__ import annotations

import gc
from pathlib import Path

import click

from patcher.console import Output, common_options
from patcher.errors import ExitCode, UsageError

FORMATS = ("text", "json", "sarif", "junit", "github", "gitlab")


@click.command("verify-symbols")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", help="How to report.")
@click.option(
    "--library-path",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Search here first, as LD_LIBRARY_PATH.",
)
@click.option("--sysroot", type=click.Path(path_type=Path), help="Where / is, for files of another system.")
@click.option(
    "--host", multiple=True, type=click.Path(path_type=Path), help="The program that opens the plugins."
)
@click.option(
    "--emulate",
    metavar="LINKER",
    help="What this linker would say of the real link: bfd, gold, lld, mold (or with a version, lld-19),"
    " or the loader.",
)
@click.option(
    "--ignore", multiple=True, metavar="GLOB", help="Leave out symbols like this; FILE!GLOB in that file."
)
@click.option(
    "--ignore-file", type=click.Path(path_type=Path), help="TOML: patterns with a reason, maybe a date."
)
@click.option("--baseline", type=click.Path(path_type=Path), help="Leave out what is in this file.")
@click.option(
    "--write-baseline", type=click.Path(path_type=Path), help="Write what is found there, and be content."
)
@click.option(
    "--fail-on", type=click.Choice(["error", "warning", "note"]), default="error", show_default=True
)
@click.option(
    "--prove", is_flag=True, help="Compile what is suggested for templates, and say whether it helps."
)
@click.option(
    "--fix",
    type=click.Path(path_type=Path),
    metavar="TREE",
    help="Write what was proven into this checkout; 'revert' takes it back.",
)
@click.option("--explain", metavar="RULE", help="Say what a rule means, and stop.")
@common_options
def command(
    paths: tuple[Path, ...],
    form: str,
    library_path: tuple[Path, ...],
    sysroot: Path | None,
    host: tuple[Path, ...],
    emulate: str | None,
    ignore: tuple[str, ...],
    ignore_file: Path | None,
    baseline: Path | None,
    write_baseline: Path | None,
    fail_on: str,
    prove: bool,
    fix: Path | None,
    explain: str | None,
    output: Output,
) -> int:
    """Prove that every symbol that the ELF files at or below PATHS use is defined in what they load.

    Nothing is executed. Exit code 1 where something is found. Examples:

      q8a8-patch verify-symbols ./build/bin

      q8a8-patch verify-symbols --explain hidden-definition
    """
    gc.disable()  # nothing here makes circles, and looking for them takes a tenth of the time
    from patcher import symbols
    from patcher.symbols.report import text

    if explain is not None:
        return _explain(explain, output)
    if not paths:
        raise UsageError("PATHS: looked for files or folders, found none", hint="name a build's bin folder")
    ignores = symbols.Ignores.of(ignore)
    if ignore_file is not None:
        ignores.read(ignore_file)
    options = symbols.SearchOptions.from_environment(library_path, sysroot)
    if emulate is not None:
        from patcher.symbols.emulate import emulate as ask

        report = ask(paths, emulate, options=options, hosts=host, ignore=ignores, reporter=output.reporter)
    else:
        report = symbols.check(paths, options=options, hosts=host, ignore=ignores, reporter=output.reporter)
    if any(finding.rule == "undefined-symbol" for finding in report.findings):
        from patcher.symbols import repair

        made = repair.fixes(report, proven=prove or fix is not None, reporter=output.reporter)
        report = repair.suggested(report, made)
        if fix is not None and made:
            files = repair.write(made, fix, reporter=output.reporter)
            output.reporter.note(f"{len(made)} lines written to {', '.join(files)}: build again, then verify")
    if baseline is not None or write_baseline is not None:
        from patcher.symbols import baseline as known

        if write_baseline is not None:
            known.write_baseline(write_baseline, report)
            output.reporter.note(f"{len(report.findings)} findings written to {write_baseline}")
            return ExitCode.OK
        if baseline is not None:
            report = known.without_known(report, baseline)
    output.json = output.json or form == "json"
    if form in ("text", "json") or output.json:
        output.emit(report.document, lambda: text(report, verbose=bool(output.verbose)))
    else:
        from patcher.symbols.formats import FORMATS as WRITERS

        output.emit({}, WRITERS[form](report))
    return ExitCode.FINDINGS if report.at_least(fail_on) else ExitCode.OK


def _explain(name: str, output: Output) -> int:
    from patcher import symbols
    from patcher.symbols.report import explained

    if name not in symbols.RULES:
        raise UsageError(f"--explain {name}: no such rule", hint=f"one of {', '.join(symbols.RULES)}")
    rule = symbols.RULES[name]
    document = {"id": rule.id, "severity": rule.severity, "summary": rule.summary, "text": rule.explanation}
    output.emit(document, explained(rule))
    return ExitCode.OK
