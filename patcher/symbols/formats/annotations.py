"""Findings as GitHub's annotations."""

from __future__ import annotations

from patcher.base.reports.annotations import Annotation, workflow_commands
from patcher.symbols.findings import SymbolReport
from patcher.symbols.formats.paths import relative


def github(report: SymbolReport) -> str:
    """One line a finding, ten of each level at most; the rest are counted in one more line."""
    found = [Annotation(one.severity, one.message, one.rule, relative(one.object)) for one in report.findings]
    lines = workflow_commands(found, "and {} more of this severity; the log has them all", "verify-symbols")
    if report.more:
        lines.append(str(Annotation("error", report.more, "verify-symbols")))
    return "\n".join(lines)
