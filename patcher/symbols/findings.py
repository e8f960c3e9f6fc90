"""What a check found."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from patcher.symbols.rules import RULES, SEVERITIES


class Finding(NamedTuple):
    """One thing that is wrong, or worth knowing, with one symbol of one object."""

    rule: str
    symbol: str
    object: str
    chain: tuple[str, ...]
    detail: str = ""
    suggestion: str | None = None
    paths: tuple[str, ...] = ()  # the files of the chain

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


def readable(text: str) -> str:
    """``text`` with what is no UTF-8, and what would move a terminal's cursor, written as escapes.

    Names come from the files that are inspected, and those may be anybody's.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


class Report(NamedTuple):
    """What was checked and what was found, most severe first. ``known`` findings are in the baseline."""

    objects: int
    symbols: int
    findings: tuple[Finding, ...] = ()
    ignored: int = 0
    known: int = 0
    readers: int = 1  # how many read every file: 2 where pyelftools proved it as well
    needs: Mapping[str, str] = MappingProxyType({})  # family -> the oldest version that serves all of them

    def at_least(self, severity: str) -> list[Finding]:
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
            "readers": self.readers,
            "needs": dict(self.needs),
            "findings": [finding.document() for finding in self.findings],
        }


def in_order(findings: list[Finding]) -> tuple[Finding, ...]:
    """Most severe first, then by rule, object and symbol."""
    return tuple(
        sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), one.rule, one.object, one.symbol))
    )
