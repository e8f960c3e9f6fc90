"""``q8a8-patch verify-symbols``."""

from __future__ import annotations

from pathlib import Path

import click

from patcher.console import Output, common_options
from patcher.errors import ExitCode, UsageError


@click.command("verify-symbols")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to report.")
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
    "--ignore", multiple=True, metavar="GLOB", help="Leave out symbols like this; FILE!GLOB in that file."
)
@click.option(
    "--fail-on", type=click.Choice(["error", "warning", "note"]), default="error", show_default=True
)
@click.option("--explain", metavar="RULE", help="Say what a rule means, and stop.")
@common_options
def command(
    paths: tuple[Path, ...],
    form: str,
    library_path: tuple[Path, ...],
    sysroot: Path | None,
    host: tuple[Path, ...],
    ignore: tuple[str, ...],
    fail_on: str,
    explain: str | None,
    output: Output,
) -> int:
    """Prove that every symbol that the ELF files at or below PATHS use is defined in what they load.

    Nothing is executed. Exit code 1 where something is found. Examples:

      q8a8-patch verify-symbols ./build/bin

      q8a8-patch verify-symbols --explain hidden-definition
    """
    from patcher import symbols
    from patcher.symbols.report import explained, text

    if explain is not None:
        if explain not in symbols.RULES:
            raise UsageError(f"--explain {explain}: no such rule", hint=f"one of {', '.join(symbols.RULES)}")
        rule = symbols.RULES[explain]
        document = {
            "id": rule.id,
            "severity": rule.severity,
            "summary": rule.summary,
            "text": rule.explanation,
        }
        output.emit(document, explained(rule))
        return ExitCode.OK
    if not paths:
        raise UsageError("PATHS: looked for files or folders, found none", hint="name a build's bin folder")
    options = symbols.SearchOptions.from_environment(library_path, sysroot)
    report = symbols.check(paths, options=options, hosts=host, ignore=ignore, reporter=output.reporter)
    output.json = output.json or form == "json"
    output.emit(report.document(), lambda: text(report, verbose=bool(output.verbose)))
    return ExitCode.FINDINGS if report.at_least(fail_on) else ExitCode.OK
