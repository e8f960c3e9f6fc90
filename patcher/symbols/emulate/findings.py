"""``--emulate``: the refusals of one linker as findings, beside what the loader would say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from patcher.base.errors import UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.symbols.check import check
from patcher.symbols.emulate.commandline import LinkLine
from patcher.symbols.emulate.commands import given_line, is_command, link_line, outputs
from patcher.symbols.emulate.linkers import linker_named
from patcher.symbols.emulate.refusal import Refusal
from patcher.symbols.emulate.refusals import refusals
from patcher.symbols.findings import Collection, SymbolFinding, SymbolReport, in_order
from patcher.symbols.ignores import Ignores
from patcher.symbols.inputs import gather
from patcher.symbols.scope import Library
from patcher.symbols.search import Search, SearchOptions

LOADER = "loader"
# What keeps a program from starting with LD_BIND_NOW; the other rules are about something else.
_FATAL = ("undefined-symbol", "hidden-definition", "version-mismatch", "library-not-found", "unreadable-file",
          "static-tls-refused")  # fmt: skip


def emulate(
    paths: Iterable[Path],
    name: str,
    *,
    options: SearchOptions | None = None,
    hosts: Iterable[Path] = (),
    ignore: Iterable[str] | Ignores = (),
    reporter: Reporter = SILENT,
) -> SymbolReport:
    """What the linker ``name`` (``bfd``, ``lld-19``; or ``loader``) says of each file at or below ``paths``.

    Each file's own link command is used, that of one that isn't there (its link failed), too; what CMake
    made to try the compiler is passed over. ``paths`` may be such a command itself.
    Raises :class:`UsageError` where there is none, for an unknown
    linker, and as :func:`patcher.symbols.check` does.
    """
    paths = list(paths)
    ignores = ignore if isinstance(ignore, Ignores) else Ignores.of(ignore)
    if name != LOADER:
        linker_named(name)  # one that isn't known is said before a command is looked for
    elif is_command(paths):
        raise UsageError(
            "--emulate loader: looked for files, found a command, which has linked nothing yet",
            hint="name a linker, as in --emulate bfd -- g++ main.o -o app",
        )
    if is_command(paths) and name != LOADER:
        return _of_links([given_line(paths)], name, options, ignores, reporter)
    unmade = [path for path in paths if not path.exists()]
    if unmade and name != LOADER:
        lines = [link_line(path) for path in unmade]
        rest = [path for path in paths if path not in unmade]
        told = _of_links(lines, name, options, ignores, reporter)
        if not rest:
            return told
        other = emulate(rest, name, options=options, hosts=hosts, ignore=ignores, reporter=reporter)
        return other._replace(
            objects=other.objects + told.objects, findings=in_order([*told.findings, *other.findings])
        )
    loader = check(paths, options=options, hosts=hosts, reporter=reporter)
    if name == LOADER:
        kept = ignores.apply(one for one in loader.findings if one.rule in _FATAL)
        return loader._replace(findings=in_order(kept.findings), ignored=kept.ignored)
    linker = linker_named(name)
    library = Library(Search(options or SearchOptions.from_environment()))
    named = {path.resolve() for path in paths}
    targets = {
        item.path for item in gather(paths, library).objects if item.path in named or not _tries(item.path)
    }
    targets |= {one for path in paths if path.is_dir() for one in outputs(path)}
    fatal = {one.symbol.partition("@")[0] for one in loader.findings if one.rule in _FATAL}
    findings = Collection()
    with reporter.step(f"Asking {linker.name}", total=len(targets)) as step:
        for number, target in enumerate(sorted(targets)):
            step.update(done=number, detail=target.name)
            line = link_line(target)
            if line.left_out:
                words = " ".join(line.left_out)
                reporter.warn(f"{target}: {words} of its link command is not obeyed, libraries may lack")
            for refusal in refusals(line, linker, library):
                findings.add(_finding(refusal, target, linker.name, fatal))
    kept = ignores.apply(findings)
    return SymbolReport(
        len(targets), loader.symbols, in_order(kept.findings), kept.ignored, omitted=findings.omitted
    )


def _tries(path: Path) -> bool:
    """Whether CMake made it for itself, to learn what the compiler is and can."""
    return "CMakeFiles" in path.parts


def _of_links(
    lines: list[LinkLine],
    name: str,
    options: SearchOptions | None,
    ignores: Ignores,
    reporter: Reporter,
) -> SymbolReport:
    """The refusals of links whose outputs aren't there: the loader has no say in them."""
    linker = linker_named(name)
    library = Library(Search(options or SearchOptions.from_environment()))
    findings = Collection()
    with reporter.step(f"Asking {linker.name}", total=len(lines)) as step:
        for number, line in enumerate(lines):
            output = line.folder / line.output
            step.update(done=number, detail=output.name)
            for refusal in refusals(line, linker, library):
                findings.add(_finding(refusal, output, linker.name, {refusal.symbol.partition("@")[0]}))
    kept = ignores.apply(findings)
    return SymbolReport(len(lines), 0, in_order(kept.findings), kept.ignored, omitted=findings.omitted)


def _finding(refusal: Refusal, output: Path, linker: str, fatal: set[str]) -> SymbolFinding:
    user = refusal.user or output
    chain = (output.name,) if user == output else (output.name, user.name)
    detail = f"{linker} refuses to link {output.name}: {refusal.why}"
    if not refusal.symbol:
        return SymbolFinding("library-not-found", output.name, str(output), chain, detail)
    rule = "hidden-definition" if refusal.unexported else "undefined-symbol"
    if refusal.symbol.partition("@")[0] not in fatal and user.suffix != ".o":
        detail += "; the loader would accept it"
    return SymbolFinding(rule, refusal.symbol, str(user), chain, detail)
