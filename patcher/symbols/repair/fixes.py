"""Fixes for the undefined template members of a report, found, proven and written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from patcher.base.errors import ConflictError, UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.symbols.findings import SymbolFinding, SymbolReport
from patcher.symbols.repair.batch import Batch, Candidate, splices
from patcher.symbols.repair.database import Compilation, find_database, read_database
from patcher.symbols.repair.declaration import parameter_names
from patcher.symbols.repair.owner import find_owner
from patcher.symbols.repair.proof import RepairProof
from patcher.symbols.repair.signature import Signature, signature

KIND = "instantiations"  # what 'revert --type' calls them


@dataclass(frozen=True)
class Repair:
    """One line for one symbol. Its proof is None where nobody asked for it."""

    candidate: Candidate
    compilation: Compilation
    instances: int

    @property
    def symbol(self) -> str:
        """The mangled name."""
        return self.candidate.symbol

    @property
    def line(self) -> str:
        """The explicit instantiation."""
        return self.candidate.line

    @property
    def signature(self) -> Signature:
        """The instance, taken apart."""
        return self.candidate.signature

    @property
    def proof(self) -> RepairProof | None:
        """Whether it helps; None where nobody asked."""
        return self.candidate.proof

    @property
    def proven(self) -> bool:
        """Whether a compiler said so."""
        return self.proof is not None and self.proof.proven

    @property
    def text(self) -> str:
        """One line for people."""
        has = f"has {self.instances} others" if self.instances else "defines the template"
        text = f"add to {self.compilation.source}, which {has}: {self.line}"
        if self.proof is None:
            return f"{text} (not proven: --prove compiles it)"
        return (
            f"{text} (proven by compiling)"
            if self.proof.proven
            else f"{text} (not proven: {self.proof.detail})"
        )


def fixes(report: SymbolReport, *, proven: bool = False, reporter: Reporter = SILENT) -> list[Repair]:
    """A fix for each undefined template member whose owner a ``compile_commands.json`` above tells.

    With ``proven`` every source is compiled with its lines in it. The build's objects have to be there.
    """
    found: dict[str, Repair] = {}
    databases: dict[Path, list[Compilation]] = {}
    batches: dict[Path, Batch] = {}
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
            if owner is None or not owner.compilation.source.is_file():
                continue
            source = owner.compilation.source
            one = Candidate(finding.symbol, shape, shape.lines(parameter_names(shape, source)))
            batches.setdefault(source, Batch(owner.compilation)).candidates.append(one)
            found[finding.symbol] = Repair(one, owner.compilation, owner.instances)
    if proven:
        with reporter.step("Compiling them", total=len(batches)) as step:
            for number, (source, batch) in enumerate(batches.items()):
                step.update(done=number, detail=source.name)
                batch.prove()
    return list(found.values())


def suggested(report: SymbolReport, made: Iterable[Repair]) -> SymbolReport:
    """The report with the fixes as suggestions."""
    by_symbol = {fix.symbol: fix for fix in made}

    def better(finding: SymbolFinding) -> SymbolFinding:
        fix = by_symbol.get(finding.symbol) if finding.rule == "undefined-symbol" else None
        return finding._replace(suggestion=fix.text) if fix is not None else finding

    return report._replace(findings=tuple(better(finding) for finding in report.findings))


def write(made: Iterable[Repair], root: Path, *, reporter: Reporter = SILENT) -> tuple[str, ...]:
    """Write what is proven into the tree ``root``, all or none; ``q8a8-patch revert`` takes it back.

    Returns the files. What isn't proven is left out, and told. Raises :class:`ConflictError` where nothing
    is proven, :class:`UsageError` for a fix that belongs in a file outside of ``root``.
    """
    from patcher.engine import transaction
    from patcher.engine.journal import Journal
    from patcher.engine.plan import FilePlan
    from patcher.engine.step import take
    from patcher.engine.tree import WorkTree

    made, tree = list(made), WorkTree(root)
    by_file: dict[str, list[Candidate]] = {}
    doubtful = [fix for fix in made if not fix.proven]
    for fix in made:
        if not fix.proven:
            continue
        source = fix.compilation.source.resolve()
        if not source.is_relative_to(tree.root):
            raise UsageError(
                f"{tree.root}: looked for {source} in it, found it elsewhere",
                hint="name the checkout that the build was made from with --fix",
            )
        by_file.setdefault(source.relative_to(tree.root).as_posix(), []).append(fix.candidate)
    for fix in doubtful if by_file else ():
        reporter.warn(
            f"{fix.line}: not proven, left out ({fix.proof.detail if fix.proof else 'not compiled'})"
        )
    if doubtful and not by_file:
        why = doubtful[0].proof.detail if doubtful[0].proof is not None else "it was not compiled"
        raise ConflictError(
            f"{doubtful[0].line}: looked for a proof that the line helps, found none: {why}; nothing was"
            f" written",
            hint="build the tree first, then run the same command again; or write the line by hand and build",
        )
    journal = Journal(tree)
    with journal.lock():
        transaction.heal(journal, reporter)
        files = []
        for path, group in by_file.items():
            before = tree.read(path) or b""
            files.append(FilePlan(path, before, tuple(splices(path, before, group))))
        if files:
            take(journal, [transaction.change_of(file) for file in files], KIND)
    return tuple(by_file)
