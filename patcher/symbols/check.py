"""Verdicts: is everything that these files use defined in what they load?

A program is checked with all that it loads. A library that one of the given programs or libraries
loads is checked in that company; one that nobody loads is a root of its own, as a plugin is that is
opened with RTLD_LOCAL (ggml's backends). A plugin that uses its program's symbols needs the program
named as host. Each object counts once per company; a finding names the first root that shows it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from patcher.errors import UsageError
from patcher.progress import SILENT, Reporter
from patcher.symbols.demangle import demangle
from patcher.symbols.elf import ET_DYN, ET_EXEC, ElfObject, Reference, is_elf
from patcher.symbols.hidden import hidden_definitions
from patcher.symbols.instantiate import directive, tidy
from patcher.symbols.rules import RULES, SEVERITIES
from patcher.symbols.scope import Library, Scope, provides
from patcher.symbols.search import Search, SearchOptions


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing, with one symbol of one object."""

    rule: str
    symbol: str
    object: str
    chain: tuple[str, ...]
    detail: str = ""
    suggestion: str | None = None

    @property
    def severity(self) -> str:
        """``error``, ``warning`` or ``note``, as the rule has it."""
        return RULES[self.rule].severity

    @property
    def demangled(self) -> str:
        """The symbol as people write it."""
        name, at, version = self.symbol.partition("@")
        return tidy(demangle(name)) + at + version

    def document(self) -> dict[str, Any]:
        """The JSON form of the command contract."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "symbol": self.symbol,
            "demangled": self.demangled,
            "object": self.object,
            "chain": list(self.chain),
            "detail": self.detail,
            "suggestion": self.suggestion,
        }


@dataclass(frozen=True)
class Report:
    """What was checked and what was found, most severe first."""

    objects: int
    symbols: int
    findings: tuple[Finding, ...] = field(default=())

    def at_least(self, severity: str) -> list[Finding]:
        """The findings of ``severity`` or worse."""
        worst = SEVERITIES.index(severity)
        return [finding for finding in self.findings if SEVERITIES.index(finding.severity) <= worst]

    def document(self) -> dict[str, Any]:
        """The JSON form of the command contract."""
        return {
            "objects": self.objects,
            "symbols": self.symbols,
            "findings": [finding.document() for finding in self.findings],
        }


def check(
    paths: Iterable[Path],
    *,
    options: SearchOptions | None = None,
    hosts: Iterable[Path] = (),
    ignore: Iterable[str] = (),
    reporter: Reporter = SILENT,
) -> Report:
    """Check every ELF program and library at or below ``paths``.

    Raises :class:`UsageError` for a path that isn't there, for a folder without ELF files, and for a
    file that can't be read as one.
    """
    paths = [Path(path) for path in paths]
    library = Library(Search(options or SearchOptions.from_environment()))
    given = _given(paths, library)
    company = tuple(library.read(host) for host in hosts)
    checker = _Checker(library, given, paths)
    loaded: set[Path] = set()
    # programs first, then libraries: what those load is no root of its own
    order = sorted(given, key=lambda item: (not item.executable, _users(item, given)))
    with reporter.step("Checking symbols", total=len(order)) as step:
        for number, item in enumerate(order):
            step.update(done=number, detail=item.path.name)
            if item.path in loaded:
                continue
            scope = library.load(item, () if item.executable else company)
            loaded.update(part.path for part in scope.objects)
            checker.check(scope)
    patterns = tuple(ignore)
    findings = [finding for finding in checker.findings.values() if not _ignored(finding, patterns)]
    findings.sort(key=lambda one: (SEVERITIES.index(one.severity), one.rule, one.object, one.symbol))
    return Report(len(given), checker.symbols, tuple(findings))


def _given(paths: list[Path], library: Library) -> list[ElfObject]:
    """The programs and libraries at or below ``paths``, each once however many links lead to it."""
    found: dict[tuple[int, int], Path] = {}
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: looked for ELF files, found nothing of that name")
        for file in [path] if path.is_file() else _below(path):
            if is_elf(file):
                status = file.stat()
                found.setdefault((status.st_dev, status.st_ino), file)
            elif path.is_file():
                raise UsageError(f"{path}: looked for an ELF file, found something else")
    objects = [library.read(file) for file in found.values()]
    wanted = [item for item in objects if item.type in (ET_EXEC, ET_DYN)]
    if not wanted:
        names = ", ".join(map(str, paths))
        raise UsageError(
            f"{names}: looked for ELF programs or libraries, found {len(objects)} other ELF files"
        )
    return wanted


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file():
                yield path


def _users(item: ElfObject, given: list[ElfObject]) -> int:
    """How many of the given objects name this one: those that nobody names come first."""
    return sum(item.name in other.needed for other in given)


def _ignored(finding: Finding, patterns: tuple[str, ...]) -> bool:
    for pattern in patterns:
        place, colon, name = pattern.partition("!")
        if colon and not fnmatchcase(Path(finding.object).name, place):
            continue
        wanted = name if colon else pattern
        if fnmatchcase(finding.symbol, wanted) or fnmatchcase(finding.demangled, wanted):
            return True
    return False


class _Checker:
    def __init__(self, library: Library, given: list[ElfObject], paths: list[Path]) -> None:
        self.library = library
        self.given = given
        self.folders = [path.resolve() for path in paths if path.is_dir()]
        self.findings: dict[tuple[str, str, str], Finding] = {}
        self.symbols = 0
        self._alone: dict[tuple[Path, frozenset[Path]], list[Reference]] = {}

    def add(
        self,
        scope: Scope,
        item: ElfObject,
        rule: str,
        symbol: str,
        detail: str,
        suggestion: str | None = None,
    ) -> None:
        key = (rule, symbol, str(item.path))
        if key not in self.findings:
            self.findings[key] = Finding(rule, symbol, str(item.path), scope.chain(item), detail, suggestion)

    def check(self, scope: Scope) -> None:
        by_path = {item.path: item for item in scope.objects}
        for gap in scope.missing:
            requester = by_path[gap.requester]
            self.add(scope, requester, "library-not-found", gap.name, f"{requester.name} needs {gap.name}")
        incomplete = {gap.requester for gap in scope.missing}
        for item in scope.objects:
            self._paths(scope, item)
            self._versions(scope, item)
            closure = scope.closure(item)
            key = (item.path, closure)
            if key not in self._alone:
                self.symbols += len(item.references)
                self._alone[key] = [
                    wanted for wanted in item.references if not self._provided(scope, wanted, closure)
                ]
            if incomplete:
                continue  # what a library that isn't there would define can't be known
            for wanted in self._alone[key]:
                self._unresolved(scope, item, wanted)

    def _provided(self, scope: Scope, wanted: Reference, within: frozenset[Path] | None = None) -> bool:
        return any(
            (within is None or item.path in within) and provides(item.definitions[wanted.name], item, wanted)
            for item in scope.providers.get(wanted.name, ())
        )

    def _unresolved(self, scope: Scope, item: ElfObject, wanted: Reference) -> None:
        """``wanted`` is in none of the libraries that ``item`` names: whose fault is it?"""
        symbol = f"{wanted.name}@{wanted.version}" if wanted.version else wanted.name
        if self._provided(scope, wanted):
            provider = scope.providers[wanted.name][0]
            if item is not scope.root and not wanted.weak:
                detail = f"{provider.name} has it, which {item.name} doesn't name"
                self.add(
                    scope, item, "underlinked", symbol, detail, f"link {item.name} against {provider.name}"
                )
            return
        if wanted.weak:
            self.add(scope, item, "loader-ok", symbol, "weak, and defined nowhere")
            return
        others = scope.providers.get(wanted.name, ())
        if others:
            has = sorted({str(one.version) for other in others for one in other.definitions[wanted.name]})
            detail = f"{others[0].name} has it as {', '.join(has)}"
            self.add(scope, item, "version-mismatch", symbol, detail)
            return
        hidden = self._hidden(scope, wanted.name)
        if hidden is not None:
            where, why = hidden
            self.add(
                scope,
                item,
                "hidden-definition",
                symbol,
                f"{where.name} defines it, but {why}",
                f"export it from {where.name}",
            )
            return
        self.add(
            scope,
            item,
            "undefined-symbol",
            symbol,
            "defined nowhere in what is loaded",
            self._suggest(scope, wanted.name),
        )

    def _hidden(self, scope: Scope, name: str) -> tuple[ElfObject, str] | None:
        for item in dict.fromkeys(part.path for part in (*scope.objects, *self.given)):
            why = self._hidden_in(item).get(name)
            if why is not None:
                return self.library.read(item), why
        return None

    def _hidden_in(self, path: Path) -> dict[str, str]:
        if not hasattr(self, "_hidden_cache"):
            self._hidden_cache: dict[Path, dict[str, str]] = {}
            self._wanted = {
                wanted.name for missing in self._alone.values() for wanted in missing if not wanted.weak
            }
        if path not in self._hidden_cache:
            self._hidden_cache[path] = hidden_definitions(path, self._wanted)
        return self._hidden_cache[path]

    def _suggest(self, scope: Scope, name: str) -> str | None:
        """What would define it: a given library that isn't loaded, or an explicit instantiation."""
        loaded = {item.path for item in scope.objects}
        for item in self.given:
            if item.path not in loaded and name in item.definitions:
                return f"link {scope.root.name} against {item.name}, which defines it"
        line = directive(demangle(name))
        return f"instantiate it where the template is defined: {line}" if line else None

    def _versions(self, scope: Scope, item: ElfObject) -> None:
        """Versions that are wanted from a library as a whole (glibc's elf/dl-version.c)."""
        by_name = {part.name: part for part in scope.objects}
        for want in item.wants:
            there = by_name.get(want.file)
            if there is None or not there.versions or want.version in there.versions or want.weak:
                continue
            users = [
                one.name for one in item.references if one.version == want.version and one.file == want.file
            ]
            for name in users or [""]:
                symbol = f"{name}@{want.version}"
                self.add(scope, item, "version-mismatch", symbol, f"{want.file} doesn't have {want.version}")

    def _paths(self, scope: Scope, item: ElfObject) -> None:
        if item.path not in {part.path for part in self.given}:
            return
        for name in item.needed:
            if scope.found_by.get((item.path, name)) == "runpath":
                self.add(scope, item, "runpath-only", name, f"{name} is found through {item.name}'s RUNPATH")
        for entry in (*item.rpath, *item.runpath):
            place = Path(entry)
            if not place.is_absolute() or not self.folders:
                continue
            real = place.resolve()
            inside = any(
                real.is_relative_to(folder) or folder.is_relative_to(real) for folder in self.folders
            )
            if not inside and not entry.startswith(("/usr/", "/lib", "/opt/")):
                self.add(scope, item, "build-tree-leak", entry, f"{item.name} searches {entry}")
