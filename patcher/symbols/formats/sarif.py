"""Findings as SARIF."""

from __future__ import annotations

from patcher.base.reports.sarif import Result, SarifRule, log
from patcher.symbols.findings import Report
from patcher.symbols.formats.paths import relative
from patcher.symbols.rules import RULES


def sarif(report: Report) -> str:
    """One run with one result per finding."""
    rules = [
        SarifRule(one.id, one.severity, one.summary, one.id.title().replace("-", ""), one.explanation)
        for one in RULES.values()
    ]
    results = [
        Result(
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
