"""Is everything that these files use defined in what they load?

A program is checked with all that it loads. A library that one of the given programs or libraries
loads is checked in that company; one that nobody loads is a root of its own, as a plugin is that is
opened with RTLD_LOCAL (ggml's backends). A plugin that uses its program's symbols needs the program
named as host. Each object counts once per company; a finding names the first root that shows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from patcher.base.progress import SILENT, Reporter
from patcher.symbols import ages
from patcher.symbols.elf import ElfObject
from patcher.symbols.findings import SymbolFinding, SymbolReport, in_order
from patcher.symbols.ignores import Ignores
from patcher.symbols.inputs import gather, parts_of_a_link, roots_first
from patcher.symbols.scope import Library, Scope
from patcher.symbols.search import Search, SearchOptions
from patcher.symbols.verdicts import Verdicts

if TYPE_CHECKING:
    from patcher.symbols.hosts import Host


class Demands(NamedTuple):
    """What is asked beyond that no symbol is lacking."""

    must_export: tuple[str, ...] = ()  # NAME, or FILE!NAME
    at_most: tuple[str, ...] = ()  # GLIBC_2.28
    second_reader: bool = False  # prove it by pyelftools as well


NOTHING_MORE = Demands()


def check(
    paths: Iterable[Path],
    *,
    options: SearchOptions | None = None,
    hosts: Iterable[Path | str] = (),
    ignore: Iterable[str] | Ignores = (),
    demands: Demands = NOTHING_MORE,
    reporter: Reporter = SILENT,
) -> SymbolReport:
    """Check every ELF program and library at or below ``paths``.

    ``hosts`` are the programs that open the plugins, or ``GLOB=PROGRAM`` for those whose path is like that.
    Object files and archives that are given without a program are checked as one link: what would it lack?
    ``ignore`` are patterns ``[FILE!]SYMBOL`` or a whole :class:`Ignores`. Raises :class:`UsageError`
    for a path that isn't there, for a folder without ELF files, for a file that is named and can't
    be read as one, and for demands that make no sense.
    """
    library = Library(Search(options or SearchOptions.from_environment()))
    limits = ages.limits(demands.at_most)
    inputs = gather([Path(path) for path in paths], library)
    ages.heard_of(limits, inputs.objects)
    openers = _openers(hosts, library)
    verdicts = Verdicts(inputs, library.search)
    loaded: set[ElfObject] = set()
    scopes: list[Scope] = []
    with reporter.step("Checking symbols", total=len(inputs.objects)) as step:
        for number, item in enumerate(roots_first(inputs.objects)):
            step.update(done=number, detail=item.path.name)
            if item in loaded:
                continue
            company = [program for host, program in openers if host.opens(item.path)]
            scope = library.load(item, () if item.executable else tuple(company))
            loaded.update(scope.objects)
            verdicts.check(scope)
            scopes.append(scope)
        verdicts.finish()
    findings = verdicts.findings
    for path, why in inputs.unreadable:
        findings.add(SymbolFinding("unreadable-file", path.name, str(path), (path.name,), why))
    readers = 1
    if demands.second_reader:
        from patcher.symbols.second import prove

        with reporter.step("Proving by the second reader"):
            for one in prove(scopes, inputs.objects, verdicts.lacking).disagreements:
                findings.add(one)
        readers = 2
    for age_item, version, why in ages.too_new(inputs.objects, limits):
        findings.add(_of(age_item, "too-new", version, why))
    if demands.must_export:
        from patcher.symbols.entries import not_exported

        plugins = [scope.root for scope in scopes if not scope.root.executable]
        for item, name, why, advice in not_exported(demands.must_export, inputs.objects, plugins):
            findings.add(_of(item, "not-exported", name, why, advice))
    parts = parts_of_a_link(inputs)
    if parts:
        from patcher.symbols.linking import lacking

        for one in lacking(parts, inputs, library):
            findings.add(one)
    ignores = ignore if isinstance(ignore, Ignores) else Ignores.of(ignore)
    kept = ignores.apply(findings)
    return SymbolReport(
        len(inputs.objects) + len(parts), verdicts.symbols, in_order(kept.findings), kept.ignored,
        readers=readers, needs=ages.oldest(inputs.objects), omitted=findings.omitted,
    )  # fmt: skip


def _openers(hosts: Iterable[Path | str], library: Library) -> list[tuple[Host, ElfObject]]:
    hosts = list(hosts)
    if not hosts:
        return []
    from patcher.symbols.hosts import host_of

    return [(host, library.read(host.program)) for host in map(host_of, hosts)]


def _of(item: ElfObject, rule: str, symbol: str, detail: str, advice: str | None = None) -> SymbolFinding:
    return SymbolFinding(rule, symbol, str(item.path), (item.name,), detail, advice, (str(item.path),))
