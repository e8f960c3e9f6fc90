"""``q8a8-patch verify-symbols``."""

from __future__ import annotations

import gc
from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import ExitCode, UsageError
from patcher.commands import values
from patcher.commands.arguments import refuse_beside

FORMATS = ("text", "json", "sarif", "junit", "github", "gitlab")


@click.command("verify-symbols")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="The form of the report.",
)
@click.option(
    "--library-path",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Search libraries in this folder first, as with LD_LIBRARY_PATH; may be repeated.",
)
@click.option(
    "--assume-library",
    multiple=True,
    metavar="NAME[=FILE]",
    help="A library that only the target machine has, such as a driver's: its symbols are not checked, or"
    " are those of FILE. A stub file, or a folder of them, stands for its soname. May be repeated.",
)
@click.option(
    "--sysroot",
    type=click.Path(path_type=Path),
    help="The folder that stands for / where the files are of another system.",
)
@click.option(
    "--host",
    multiple=True,
    metavar="[GLOB=]PROGRAM",
    help="The program that opens the plugins; with GLOB, only those whose path matches it; may be repeated.",
)
@click.option(
    "--emulate",
    metavar="LINKER",
    shell_complete=values.linkers,
    help="Say what this linker would say: bfd, gold, lld, mold (or with a version, lld-19), or the loader.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="GLOB",
    help="Leave out symbols that match; FILE!GLOB in files that match FILE; may be repeated.",
)
@click.option(
    "--ignore-file",
    type=click.Path(path_type=Path),
    help="A TOML file of patterns to leave out, each with a reason and perhaps an end date.",
)
@click.option(
    "--baseline", type=click.Path(path_type=Path), help="Leave out the findings that this baseline holds."
)
@click.option(
    "--write-baseline",
    type=click.Path(path_type=Path),
    help="Save the current findings to this file as a baseline, and exit 0.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "note"]),
    default="error",
    show_default=True,
    help="The least severity of a finding for which the exit code is 1.",
)
@click.option(
    "--prove",
    is_flag=True,
    help="Compile the lines that are suggested for missing templates, and say whether they help. "
    "Trusts the build: its compile commands are run.",
)
@click.option(
    "--fix",
    type=click.Path(path_type=Path),
    metavar="TREE",
    help="Write the proved lines into this checkout; 'revert' removes them. Trusts the build, as "
    "--prove does.",
)
@click.option(
    "--must-export",
    multiple=True,
    metavar="NAME",
    help="A symbol that every plugin has to export, its entry point; FILE!NAME for files of that name"
    " alone; may be repeated.",
)
@click.option(
    "--at-most",
    multiple=True,
    metavar="VERSION",
    help="The newest symbol version of a system library that may be needed, such as GLIBC_2.28; may be"
    " repeated.",
)
@click.option(
    "--second-reader",
    is_flag=True,
    help="Read every file with pyelftools as well: both readers have to agree.",
)
@click.option(
    "--tree",
    "as_tree",
    is_flag=True,
    help="Check nothing; show which libraries each file loads, by which rule, and what was passed over.",
)
@click.option(
    "--explain",
    metavar="RULE",
    shell_complete=values.rules,
    help="Say what this rule means, and check nothing.",
)
@common_options
def command(
    paths: tuple[Path, ...],
    form: str,
    library_path: tuple[Path, ...],
    assume_library: tuple[str, ...],
    sysroot: Path | None,
    host: tuple[str, ...],
    emulate: str | None,
    ignore: tuple[str, ...],
    ignore_file: Path | None,
    baseline: Path | None,
    write_baseline: Path | None,
    fail_on: str,
    prove: bool,
    fix: Path | None,
    must_export: tuple[str, ...],
    at_most: tuple[str, ...],
    second_reader: bool,
    as_tree: bool,
    explain: str | None,
    output: Output,
) -> int:
    """Prove that every symbol that the ELF files at or below PATHS use is defined in what they load.

    Nothing is executed. Exit code 1 where an error is found (see --fail-on). Examples:

      q8a8-patch verify-symbols ./build/bin

      q8a8-patch verify-symbols --explain hidden-definition
    """
    gc.disable()  # nothing here makes circles, and looking for them takes a tenth of the time
    from patcher.commands.verification import VerificationRequest, verify

    if explain is not None:
        return _explain(explain, output)
    if as_tree:
        refuse_beside(
            "--tree", "shows what is loaded, and checks no symbol", "ignore", "ignore_file", "baseline",
            "write_baseline", "fail_on", "prove", "fix", "must_export", "at_most", "second_reader",
        )  # fmt: skip
    request = VerificationRequest(
        paths, form, library_path, sysroot, host, emulate, ignore, ignore_file, baseline, write_baseline,
        fail_on, prove, fix, assume_library, must_export, at_most, second_reader,
        as_tree,
    )  # fmt: skip
    if output.json and form not in ("text", "json"):
        raise UsageError(f"--json and --format {form}: one document at a time", hint="leave one of them out")
    output.json = output.json or form == "json"  # of errors, too
    outcome = verify(request, verbose=bool(output.verbose), reporter=output.reporter)
    output.emit(outcome.document, outcome.shown, commands=form == "github")
    return outcome.code


def _explain(name: str, output: Output) -> int:
    from patcher import symbols
    from patcher.symbols.report import explained

    if name not in symbols.RULES:
        raise UsageError(f"--explain {name}: no such rule", hint=f"name one of {', '.join(symbols.RULES)}")
    rule = symbols.RULES[name]
    document = {"id": rule.id, "severity": rule.severity, "summary": rule.summary, "text": rule.explanation}
    output.emit(document, explained(rule))
    return ExitCode.OK
