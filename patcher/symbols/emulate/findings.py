"""``--emulate``: the refusals of one linker as findings, beside what the loader would say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from patcher.base.progress import SILENT, Reporter
from patcher.symbols.check import check
from patcher.symbols.emulate.commands import link_line
from patcher.symbols.emulate.linkers import linker_named
from patcher.symbols.emulate.refusals import Refusal, refusals
from patcher.symbols.findings import Collection, Finding, Report, in_order
from patcher.symbols.ignores import Ignores
from patcher.symbols.inputs import gather
from patcher.symbols.scope import Library
from patcher.symbols.search import Search, SearchOptions

LOADER = "loader"
# What keeps a program from starting with LD_BIND_NOW; the other rules are about something else.
_FATAL = ("undefined-symbol", "hidden-definition", "version-mismatch", "library-not-found", "unreadable-file")


def emulate(
    paths: Iterable[Path],
    name: str,
    *,
    options: SearchOptions | None = None,
    hosts: Iterable[Path] = (),
    ignore: Iterable[str] | Ignores = (),
    reporter: Reporter = SILENT,
) -> Report:
    """What the linker ``name`` (``bfd``, ``lld-19``; or ``loader``) says of each file at or below ``paths``.

    Each file's own link command is used. Raises :class:`UsageError` where there is none, for an unknown
    linker, and as :func:`patcher.symbols.check` does.
    """
    paths = list(paths)
    ignores = ignore if isinstance(ignore, Ignores) else Ignores.of(ignore)
    loader = check(paths, options=options, hosts=hosts, reporter=reporter)
    if name == LOADER:
        kept = ignores.apply(one for one in loader.findings if one.rule in _FATAL)
        return loader._replace(findings=in_order(kept.findings), ignored=kept.ignored)
    linker = linker_named(name)
    library = Library(Search(options or SearchOptions.from_environment()))
    objects = gather(paths, library).objects
    fatal = {one.symbol.partition("@")[0] for one in loader.findings if one.rule in _FATAL}
    findings = Collection()
    with reporter.step(f"Asking {linker.name}", total=len(objects)) as step:
        for number, item in enumerate(objects):
            step.update(done=number, detail=item.path.name)
            for refusal in refusals(link_line(item.path), linker, library):
                findings.add(_finding(refusal, item.path, linker.name, fatal))
    kept = ignores.apply(findings)
    return Report(
        len(objects), loader.symbols, in_order(kept.findings), kept.ignored, omitted=findings.omitted
    )


def _finding(refusal: Refusal, output: Path, linker: str, fatal: set[str]) -> Finding:
    user = refusal.user or output
    chain = (output.name,) if user == output else (output.name, user.name)
    detail = f"{linker} refuses to link {output.name}: {refusal.why}"
    if not refusal.symbol:
        return Finding("library-not-found", output.name, str(output), chain, detail)
    rule = "hidden-definition" if refusal.unexported else "undefined-symbol"
    if refusal.symbol.partition("@")[0] not in fatal and user.suffix != ".o":
        detail += "; the loader would accept it"
    return Finding(rule, refusal.symbol, str(user), chain, detail)
