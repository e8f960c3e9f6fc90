"""Findings as GitLab's code quality report."""

from __future__ import annotations

import hashlib

from patcher.base.reports.gitlab import QualityIssue, code_quality
from patcher.symbols.findings import SymbolReport
from patcher.symbols.formats.paths import relative


def gitlab(report: SymbolReport) -> str:
    """One issue a finding, and one that counts those that aren't listed."""
    issues = [
        QualityIssue(one.rule, one.severity, one.message, relative(one.object), one.fingerprint)
        for one in report.findings
    ]
    if report.more:
        mark = hashlib.sha256(b"verify-symbols: not listed").hexdigest()
        issues.append(QualityIssue("verify-symbols", "error", report.more, ".", mark))
    return code_quality(issues)
