"""Fixes for the undefined template members of a report, found, proven and written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patcher.base.errors import ConflictError, UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.symbols.findings import Finding, Report
from patcher.symbols.repair.database import Compilation, find_database, read_database
from patcher.symbols.repair.declaration import parameter_names
from patcher.symbols.repair.owner import find_owner
from patcher.symbols.repair.proof import Proof, defined_by, judged
from patcher.symbols.repair.signature import Signature, signature

if TYPE_CHECKING:
    from patcher.engine.anchors import Splice


@dataclass(frozen=True)
class Fix:
    """One line for one symbol. ``proof`` is None where nobody asked for it."""

    symbol: str
    line: str
    signature: Signature
    compilation: Compilation
    instances: int
    proof: Proof | None = None

    @property
    def text(self) -> str:
        """One line for people."""
        text = f"add to {self.compilation.source}, which has {self.instances} others: {self.line}"
        if self.proof is None:
            return text
        return f"{text} (proven by compiling)" if self.proof.proven else f"{text} ({self.proof.detail})"


def fixes(report: Report, *, proven: bool = False, reporter: Reporter = SILENT) -> list[Fix]:
    """A fix for each undefined template member whose owner a ``compile_commands.json`` above tells.

    With ``proven`` each is compiled. The build's objects have to be there.
    """
    found: dict[str, Fix] = {}
    databases: dict[Path, list[Compilation]] = {}
    compiled: dict[tuple[str, Path], set[bytes] | Proof] = {}
    wanted = [one for one in report.findings if one.rule == "undefined-symbol"]
    with reporter.step("Looking for fixes", total=len(wanted)) as step:
        for number, finding in enumerate(wanted):
            step.update(done=number, detail=finding.demangled)
            shape = signature(finding.symbol)
            path = find_database(Path(finding.object).parent)
            if shape is None or path is None or finding.symbol in found:
                continue
            if path not in databases:
                databases[path] = read_database(path)
            owner = find_owner(shape, databases[path])
            if owner is None:
                continue
            source = owner.compilation.source
            line = shape.directive(parameter_names(shape, source) if source.is_file() else ())
            proof = None
            if proven:  # one line may serve several symbols, and compiling takes its time
                if (line, source) not in compiled:
                    compiled[line, source] = defined_by(line, owner.compilation)
                proof = judged(compiled[line, source], finding.symbol)
            found[finding.symbol] = Fix(
                finding.symbol, line, shape, owner.compilation, owner.instances, proof
            )
    return list(found.values())


def suggested(report: Report, made: Iterable[Fix]) -> Report:
    """The report with the fixes as suggestions."""
    by_symbol = {fix.symbol: fix for fix in made}

    def better(finding: Finding) -> Finding:
        fix = by_symbol.get(finding.symbol) if finding.rule == "undefined-symbol" else None
        return finding._replace(suggestion=fix.text) if fix is not None else finding

    return report._replace(findings=tuple(better(finding) for finding in report.findings))


def write(made: Iterable[Fix], root: Path, *, reporter: Reporter = SILENT) -> tuple[str, ...]:
    """Write proven fixes into the checkout ``root``, all or none; ``q8a8-patch revert`` takes them back.

    Returns the files. Raises :class:`ConflictError` for a fix that is not proven,
    :class:`UsageError` for one that belongs in a file outside of ``root``.
    """
    from patcher.engine import transaction
    from patcher.engine.journal import Journal
    from patcher.engine.plan import FilePlan
    from patcher.engine.step import take
    from patcher.engine.tree import WorkTree
    from patcher.engine.type_file import SHIPPED

    tree = WorkTree(root)
    by_file: dict[str, list[Fix]] = {}
    # an instance of a class serves all of its members
    for fix in {one.line: one for one in made}.values():
        if fix.proof is None or not fix.proof.proven:
            why = fix.proof.detail if fix.proof is not None else "it was not compiled"
            raise ConflictError(f"{fix.line}: not proven, {why}; nothing was written")
        source = fix.compilation.source.resolve()
        if not source.is_relative_to(tree.root):
            raise UsageError(f"{tree.root}: looked for {source} in it, found it elsewhere")
        by_file.setdefault(source.relative_to(tree.root).as_posix(), []).append(fix)
    journal = Journal(tree)
    with journal.lock():
        transaction.heal(journal, reporter)
        files = []
        for path, group in by_file.items():
            before = tree.read(path) or b""
            splices = tuple((f"instantiate:{fix.symbol}", _splice(path, before, fix)) for fix in group)
            files.append(FilePlan(path, before, tuple(sorted(splices, key=lambda item: item[1].start))))
        if files:
            take(journal, [transaction.change_of(file) for file in files], SHIPPED[0])
    return tuple(by_file)


def _splice(path: str, data: bytes, fix: Fix) -> Splice:
    """Behind the last explicit instantiation of the same template, else at the end of the file."""
    from patcher.engine.anchors import Place, Site, Source, splice

    source = Source(path, data)
    name = rb"(?:\w+\s*::\s*)*" + re.escape(fix.signature.base.encode())
    there = list(
        re.finditer(rb"^[ \t]*template\s(?!\s*<)[^;{}]{0,500}\b" + name + rb"\s*<[^;{}]*;", source.code, re.M)
    )
    if there:
        at = source.line_end(there[-1].end() - 1)
        site = Site(fix.signature.name, at, at, Place.LINES, source.indent(there[-1].start()))
    else:
        site = Site(fix.signature.name, len(data), len(data), Place.LINES, blank_before=1)
    return splice(source, site, fix.line)
