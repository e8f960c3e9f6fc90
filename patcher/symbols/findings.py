"""What a check found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from patcher.base.printable import readable
from patcher.symbols.rules import RULES, SEVERITIES

MOST = 20_000  # findings of one severity that are listed
LONGEST = 16 << 20  # characters that all of them may have together


class SymbolFinding(NamedTuple):
    """One thing that is wrong, or worth knowing, with one symbol of one object."""

    rule: str
    symbol: str
    object: str
    chain: tuple[str, ...]
    detail: str = ""
    suggestion: str | None = None
    paths: tuple[str, ...] = ()  # the files of the chain
    files: tuple[str, ...] = ()  # all that it is about, where that is more than the object

    @property
    def severity(self) -> str:
        """``error``, ``warning`` or ``note``, as the rule has it."""
        return RULES[self.rule].severity

    @property
    def demangled(self) -> str:
        """The symbol as people write it."""
        return _demangled(self.symbol)

    @property
    def message(self) -> str:
        """The finding in one line, its object left out."""
        parts = [f"{self.demangled}: {self.detail}" if self.detail else self.demangled]
        return "; ".join([*parts, *([self.suggestion] if self.suggestion else [])])

    @property
    def fingerprint(self) -> str:
        """What stays the same from build to build: rule, symbol and the object's file name."""
        import hashlib

        name = self.object.rpartition("/")[2]
        return hashlib.sha256(
            "\0".join((self.rule, self.symbol, name)).encode("utf-8", "replace")
        ).hexdigest()

    def document(self) -> dict[str, Any]:
        """The JSON form of the command contract."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "symbol": readable(self.symbol),
            "demangled": readable(self.demangled),
            "object": readable(self.object),
            "chain": [readable(name) for name in self.chain],
            "paths": [readable(path) for path in self.paths],
            "files": [readable(path) for path in self.files or (self.object,)],
            "detail": readable(self.detail),
            "suggestion": readable(self.suggestion) if self.suggestion else None,
        }


@cache
def _demangled(symbol: str) -> str:
    if not symbol.startswith(("_Z", "__Z")):
        return symbol
    from patcher.symbols.demangle import demangle
    from patcher.symbols.instantiate import tidy

    name, at, version = symbol.partition("@")
    return tidy(demangle(name)) + at + version


class Collection:
    """Findings, each once, as many of each severity as anybody reads: the others are counted.

    A small file can name the same thing in any number of ways, and every finding repeats its names.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str], SymbolFinding] = {}
        self._count: Counter[str] = Counter()
        self._length: Counter[str] = Counter()
        self.omitted: Counter[str] = Counter()  # by severity

    def __contains__(self, key: tuple[str, str, str]) -> bool:
        return key in self._kept

    def __iter__(self) -> Iterator[SymbolFinding]:
        return iter(self._kept.values())

    def add(self, finding: SymbolFinding) -> None:
        """Keep it, unless it is known by rule, symbol and object, or there are too many of its severity."""
        key = (finding.rule, finding.symbol, finding.object)
        if key in self._kept:
            return
        severity = finding.severity
        parts = (*key, finding.detail, finding.suggestion or "", *finding.chain, *finding.paths)
        length = self._length[severity] + sum(map(len, parts))
        if self._count[severity] and (self._count[severity] >= MOST or length > LONGEST):
            self.omitted[severity] += 1
            return
        self._kept[key] = finding
        self._count[severity] += 1
        self._length[severity] = length


class SymbolReport(NamedTuple):
    """What was checked and what was found, most severe first. ``known`` findings are in the baseline.

    ``omitted`` says of each severity how many more there are at least than are listed: nobody looked which
    of them are ignored or known.
    """

    objects: int
    symbols: int
    findings: tuple[SymbolFinding, ...] = ()
    ignored: int = 0
    known: int = 0
    readers: int = 1  # how many read every file: 2 where pyelftools proved it as well
    needs: Mapping[str, str] = MappingProxyType({})  # family -> the oldest version that serves all of them
    omitted: Mapping[str, int] = MappingProxyType({})

    def fails(self, severity: str) -> bool:
        """Whether anything of ``severity`` or worse was found, listed or not."""
        worst = SEVERITIES[: SEVERITIES.index(severity) + 1]
        return bool(self.at_least(severity)) or any(self.omitted.get(one) for one in worst)

    @property
    def more(self) -> str:
        """What is said of findings that aren't listed; empty where all are."""
        counts = [(self.omitted.get(one, 0), one) for one in SEVERITIES]
        said = ", ".join(f"{count} {one}{'s' * (count > 1)}" for count, one in counts if count)
        return f"{said} more, which are not listed" if said else ""

    def at_least(self, severity: str) -> list[SymbolFinding]:
        """The findings of ``severity`` or worse."""
        worst = SEVERITIES.index(severity)
        return [finding for finding in self.findings if SEVERITIES.index(finding.severity) <= worst]

    def document(self) -> dict[str, Any]:
        """The JSON form of the command contract."""
        return {
            "objects": self.objects,
            "symbols": self.symbols,
            "ignored": self.ignored,
            "known": self.known,
            "omitted": sum(self.omitted.values()),
            "readers": self.readers,
            "needs": dict(self.needs),
            "findings": [finding.document() for finding in self.findings],
        }


def in_order(findings: list[SymbolFinding]) -> tuple[SymbolFinding, ...]:
    """Most severe first, then by rule, object and symbol."""
    return tuple(
        sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), one.rule, one.object, one.symbol))
    )
