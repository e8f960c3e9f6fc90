"""What ``verify-symbols`` does, apart from its options: so that it can start without an option parser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from patcher import symbols
from patcher.base.errors import ExitCode, UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.base.units import how_many
from patcher.symbols.report import text


class VerificationRequest(NamedTuple):
    """The options, by their names."""

    paths: tuple[Path, ...]
    form: str = "text"
    library_path: tuple[Path, ...] = ()
    sysroot: Path | None = None
    host: tuple[str, ...] = ()
    emulate: str | None = None
    ignore: tuple[str, ...] = ()
    ignore_file: Path | None = None
    baseline: Path | None = None
    write_baseline: Path | None = None
    fail_on: str = "error"
    prove: bool = False
    fix: Path | None = None
    assume_library: tuple[str, ...] = ()
    must_export: tuple[str, ...] = ()
    at_most: tuple[str, ...] = ()
    second_reader: bool = False
    as_tree: bool = False


class Answer(NamedTuple):
    """The exit code, and what to print: a document for programs, or text."""

    code: int
    document: Callable[[], dict[str, Any]]
    shown: Callable[[], str]


def proven(folder: Path, reporter: Reporter) -> symbols.SymbolReport:
    """What was built, checked by both readers: what ``run`` and ``build`` end with."""
    return symbols.check([folder], demands=symbols.Demands(second_reader=True), reporter=reporter)


def verify(request: VerificationRequest, *, verbose: bool = False, reporter: Reporter = SILENT) -> Answer:
    """Check, repair and compare as asked. Raises what the library raises."""
    if not request.paths:
        raise UsageError("PATHS: looked for files or folders, found none", hint="name a build's bin folder")
    if request.as_tree:
        return _tree(request)
    if request.write_baseline is not None:
        from patcher.base.files import require_place

        require_place(request.write_baseline)
    report = _checked(request, reporter)
    if any(finding.rule == "undefined-symbol" for finding in report.findings):
        report = _repaired(request, report, reporter)
    if request.write_baseline is not None:
        from patcher.symbols import baseline

        if report.more:
            raise UsageError(
                f"{request.write_baseline}: a baseline holds every finding, and there are {report.more}",
                hint="name fewer files at once",
            )
        baseline.write_baseline(request.write_baseline, report)
        reporter.note(f"{how_many(len(report.findings), 'finding')} written to {request.write_baseline}")
        return Answer(ExitCode.OK, report.document, str)
    if request.baseline is not None:
        from patcher.symbols import baseline

        report = baseline.without_known(report, request.baseline)
    code = ExitCode.FINDINGS if report.fails(request.fail_on) else ExitCode.OK
    if request.form in ("text", "json"):
        return Answer(code, report.document, lambda: text(report, verbose=verbose))
    from patcher.symbols.formats import FORMATS

    return Answer(code, report.document, lambda: FORMATS[request.form](report))


def _tree(request: VerificationRequest) -> Answer:
    from patcher.symbols import trees

    if request.form not in ("text", "json") or request.emulate not in (None, "loader"):
        raise UsageError(
            "--tree: shows what a loader does, as text or JSON", hint="leave --format or --emulate out"
        )
    found = trees.trees(request.paths, options=_options(request), hosts=request.host)
    code = ExitCode.FINDINGS if any(node.broken for node in found) else ExitCode.OK
    return Answer(code, lambda: {"trees": [node.document() for node in found]}, lambda: trees.text(found))


def _options(request: VerificationRequest) -> symbols.SearchOptions:
    options = symbols.SearchOptions.from_environment(request.library_path, request.sysroot)
    if request.assume_library:
        from patcher.symbols.assumed import assumed

        options = options._replace(assumed=assumed(request.assume_library))
    return options


def _checked(request: VerificationRequest, reporter: Reporter) -> symbols.SymbolReport:
    ignores = symbols.Ignores.of(request.ignore)
    if request.ignore_file is not None:
        ignores.read(request.ignore_file)
    options = _options(request)
    demands = symbols.Demands(request.must_export, request.at_most, request.second_reader)
    if request.emulate is None:
        return symbols.check(
            request.paths,
            options=options,
            hosts=request.host,
            ignore=ignores,
            demands=demands,
            reporter=reporter,
        )
    if demands != symbols.Demands():
        raise UsageError(
            "--emulate: asks a linker, which knows nothing of --must-export, --at-most and --second-reader",
            hint="ask for these in a call without --emulate",
        )
    from patcher.symbols.emulate import emulate
    from patcher.symbols.hosts import host_of

    return emulate(
        request.paths,
        request.emulate,
        options=options,
        hosts=[host_of(value).program for value in request.host],
        ignore=ignores,
        reporter=reporter,
    )


def _repaired(
    request: VerificationRequest, report: symbols.SymbolReport, reporter: Reporter
) -> symbols.SymbolReport:
    """The report with the fixes that were found, which are written if that was asked for."""
    from patcher.symbols import repair

    if request.prove or request.fix is not None:
        reporter.note(
            "to prove is to trust the build, as to build is: its sources are compiled as its commands say"
        )
    made = repair.fixes(report, proven=request.prove or request.fix is not None, reporter=reporter)
    report = repair.suggested(report, made)
    if request.fix is not None and made:
        files = repair.write(made, request.fix, reporter=reporter)
        count = len({fix.line for fix in made if fix.proven})
        reporter.note(f"{how_many(count, 'line')} written to {', '.join(files)}: build again, then verify")
    return report
