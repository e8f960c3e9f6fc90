"""Findings as SARIF."""

from __future__ import annotations

from patcher.base.reports.sarif import SarifResult, SarifRule, log
from patcher.symbols.findings import SymbolReport
from patcher.symbols.formats.paths import relative
from patcher.symbols.rules import RULES


def sarif(report: SymbolReport) -> str:
    """One run with one result per finding."""
    rules = [
        SarifRule(one.id, one.severity, one.summary, one.id.title().replace("-", ""), one.explanation)
        for one in RULES.values()
    ]
    results = [
        SarifResult(
            one.rule,
            one.severity,
            one.message,
            relative(one.object),
            ("symbolFinding/v1", one.fingerprint),
            symbol=(one.symbol, one.demangled),
            properties={"chain": " -> ".join(one.chain)},
        )
        for one in report.findings
    ]
    return log("verify-symbols", rules, results, report.more)
