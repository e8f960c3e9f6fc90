"""Verdicts: for each reference of each object, whose fault it is that nothing defines it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from patcher.symbols.elf import ElfObject, Reference
from patcher.symbols.findings import Finding
from patcher.symbols.inputs import Inputs
from patcher.symbols.scope import Scope, has_lost_versions, provides


class Closures:
    """What each object leads to. Nearly always the same in every scope, so asked once and then checked."""

    def __init__(self) -> None:
        self._known: dict[
            ElfObject, tuple[frozenset[ElfObject], list[tuple[ElfObject, tuple[ElfObject, ...]]]]
        ] = {}

    def of(self, scope: Scope, item: ElfObject) -> frozenset[ElfObject]:
        """:meth:`Scope.closure`."""
        known = self._known.get(item)
        edges = scope.edges
        if known is not None and all(edges.get(member, ()) == there for member, there in known[1]):
            return known[0]
        closure = scope.closure(item)
        self._known[item] = (closure, [(member, edges.get(member, ())) for member in closure])
        return closure


@dataclass
class Verdicts:
    """Collects the findings of every scope; each object counts once per company that it is in."""

    inputs: Inputs
    findings: dict[tuple[str, str, str], Finding] = field(default_factory=dict)
    symbols: int = 0  # references that were looked up

    def __post_init__(self) -> None:
        self._given = set(self.inputs.objects)
        self._closures = Closures()
        self._lacking: dict[tuple[ElfObject, frozenset[ElfObject], str], list[Reference]] = {}
        self._served: dict[Reference, ElfObject] = {}  # who provided it the last time
        self._open: list[tuple[Scope, ElfObject, Reference]] = []

    def add(
        self,
        scope: Scope,
        item: ElfObject,
        rule: str,
        symbol: str,
        detail: str,
        suggestion: str | None = None,
    ) -> None:
        """Record a finding, unless another root has shown it already."""
        key = (rule, symbol, str(item.path))
        if key not in self.findings:
            self.findings[key] = Finding(rule, symbol, str(item.path), scope.chain(item), detail, suggestion)

    def check(self, scope: Scope) -> None:
        """Look every reference of every object of one scope up."""
        for gap in scope.missing:
            if gap.why:
                self.add(scope, gap.requester, "unreadable-file", gap.name, gap.why)
            else:
                detail = f"{gap.requester.name} needs {gap.name}"
                self.add(scope, gap.requester, "library-not-found", gap.name, detail)
        for item in scope.objects:
            self._paths(scope, item)
            self._versions(scope, item)
            closure = self._closures.of(scope, item)
            key = (item, closure, scope.libc)
            lacking = self._lacking.get(key)
            if lacking is None:
                self.symbols += len(item.references)
                lacking = [
                    one for one in item.references if not self._served_within(closure, one, scope.libc)
                ]
                self._lacking[key] = lacking
            if not scope.missing:  # what a library that isn't there would define can't be known
                for wanted in lacking:
                    self._unresolved(scope, item, wanted)

    def _served_within(self, within: frozenset[ElfObject], wanted: Reference, libc: str) -> bool:
        served = self._served.get(wanted)
        if served is not None and served in within:
            return True
        key = wanted.name.encode("utf-8", "surrogateescape")
        # the library that the version is wanted from is nearly always the one that has it
        first = [item for item in within if item.soname == wanted.file] if wanted.file else []
        for item in chain(first, within):
            if key in item.exports.names and provides(item.exports.of(wanted.name), item, wanted, libc):
                self._served[wanted] = item
                return True
        return False

    def _unresolved(self, scope: Scope, item: ElfObject, wanted: Reference) -> None:
        """``wanted`` is in none of the libraries that ``item`` names: is it anywhere?"""
        having = [one for one in scope.objects if wanted.name in one.exports]
        for provider in having:
            if provides(provider.exports.of(wanted.name), provider, wanted, scope.libc):
                # a program that defines what its library calls back is no fault of either
                if item is not scope.root and not wanted.weak and not provider.executable:
                    detail = f"{provider.name} has it, which {item.name} doesn't name"
                    advice = f"link {item.name} against {provider.name}"
                    self.add(scope, item, "underlinked", _symbol(wanted), detail, advice)
                return
        lost = [one for one in having if has_lost_versions(one, wanted)]
        if lost:
            detail = f"{lost[0].name} has no versions any more, and glibc's loader stops at that"
            self.add(scope, item, "version-mismatch", _symbol(wanted), detail)
        elif wanted.weak:
            self.add(scope, item, "loader-ok", _symbol(wanted), "weak, and defined nowhere")
        elif having:
            versions = sorted({one.version or "unversioned" for one in having[0].exports.of(wanted.name)})
            detail = f"{having[0].name} has it as {', '.join(versions)}"
            self.add(scope, item, "version-mismatch", _symbol(wanted), detail)
        else:
            self._open.append((scope, item, wanted))

    def finish(self) -> None:
        """Say of each symbol that is defined nowhere where it is hidden, or what would define it."""
        if not self._open:
            return
        from patcher.symbols.hints import Hints  # not needed for what is clean, and slow to load

        hints = Hints(self.inputs, {wanted.name for _, _, wanted in self._open})
        told: set[tuple[str, Path]] = set()
        for scope, item, wanted in self._open:
            if (wanted.name, item.path) in told:
                continue
            told.add((wanted.name, item.path))
            hidden = hints.hidden(scope, wanted.name)
            if hidden is not None:
                where, found = hidden
                detail = f"{where.name} defines it, but {found.why}"
                self.add(
                    scope, item, "hidden-definition", _symbol(wanted), detail, f"export it from {where.name}"
                )
            else:
                detail = "defined nowhere in what is loaded"
                advice = hints.suggestion(scope, wanted.name)
                self.add(scope, item, "undefined-symbol", _symbol(wanted), detail, advice)
        self._open.clear()

    def _versions(self, scope: Scope, item: ElfObject) -> None:
        """Versions that are wanted from a library as a whole (glibc's elf/dl-version.c)."""
        by_name = {part.name: part for part in scope.objects} if item.wants else {}
        for want in item.wants:
            there = by_name.get(want.file)
            if there is None or not there.versions or want.version in there.versions or want.weak:
                continue
            if scope.libc != "glibc":
                continue
            users = [
                one.name for one in item.references if one.version == want.version and one.file == want.file
            ]
            for name in users or [""]:
                symbol = f"{name}@{want.version}"
                self.add(scope, item, "version-mismatch", symbol, f"{want.file} doesn't have {want.version}")

    def _paths(self, scope: Scope, item: ElfObject) -> None:
        if item not in self._given:
            return
        for name in item.needed:
            if scope.found_by.get((item, name)) == "runpath":
                self.add(scope, item, "runpath-only", name, f"{name} is found through {item.name}'s RUNPATH")
        for entry in (*item.rpath, *item.runpath):
            place = Path(entry)
            if not place.is_absolute() or not self.inputs.folders or "\0" in entry:
                continue
            real = place.resolve()
            inside = any(
                real.is_relative_to(folder) or folder.is_relative_to(real) for folder in self.inputs.folders
            )
            if not inside and not entry.startswith(("/usr/", "/lib", "/opt/")):
                self.add(scope, item, "build-tree-leak", entry, f"{item.name} searches {entry}")


def _symbol(wanted: Reference) -> str:
    return f"{wanted.name}@{wanted.version}" if wanted.version else wanted.name
