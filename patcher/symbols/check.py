"""Is everything that these files use defined in what they load?

A program is checked with all that it loads. A library that one of the given programs or libraries
loads is checked in that company; one that nobody loads is a root of its own, as a plugin is that is
opened with RTLD_LOCAL (ggml's backends). A plugin that uses its program's symbols needs the program
named as host. Each object counts once per company; a finding names the first root that shows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from patcher.base.progress import SILENT, Reporter
from patcher.symbols.elf import ElfObject
from patcher.symbols.findings import Finding, Report, in_order
from patcher.symbols.ignores import Ignores
from patcher.symbols.inputs import gather
from patcher.symbols.scope import Library
from patcher.symbols.search import Search, SearchOptions
from patcher.symbols.verdicts import Verdicts


def check(
    paths: Iterable[Path],
    *,
    options: SearchOptions | None = None,
    hosts: Iterable[Path] = (),
    ignore: Iterable[str] | Ignores = (),
    reporter: Reporter = SILENT,
) -> Report:
    """Check every ELF program and library at or below ``paths``.

    ``ignore`` are patterns ``[FILE!]SYMBOL`` or a whole :class:`Ignores`. Raises :class:`UsageError`
    for a path that isn't there, for a folder without ELF files, and for a file that is named and can't
    be read as one.
    """
    library = Library(Search(options or SearchOptions.from_environment()))
    inputs = gather([Path(path) for path in paths], library)
    company = tuple(library.read(Path(host)) for host in hosts)
    verdicts = Verdicts(inputs, library.search)
    loaded: set[ElfObject] = set()
    with reporter.step("Checking symbols", total=len(inputs.objects)) as step:
        for number, item in enumerate(_in_order(inputs.objects)):
            step.update(done=number, detail=item.path.name)
            if item in loaded:
                continue
            scope = library.load(item, () if item.executable else company)
            loaded.update(scope.objects)
            verdicts.check(scope)
        verdicts.finish()
    for path, why in inputs.unreadable:
        verdicts.findings.add(Finding("unreadable-file", path.name, str(path), (path.name,), why))
    ignores = ignore if isinstance(ignore, Ignores) else Ignores.of(ignore)
    kept = ignores.apply(verdicts.findings)
    return Report(
        len(inputs.objects),
        verdicts.symbols,
        in_order(kept.findings),
        kept.ignored,
        omitted=verdicts.findings.omitted,
    )


def _in_order(given: list[ElfObject]) -> list[ElfObject]:
    """Programs first, then libraries, those that nobody names before others: what they load is no root."""
    users = Counter(name for item in given for name in item.needed)
    return sorted(given, key=lambda item: (not item.executable, users[item.name]))
