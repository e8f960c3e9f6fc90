"""A report as text for people."""

from __future__ import annotations

from collections import Counter

from patcher.symbols.check import Report
from patcher.symbols.rules import Rule


def text(report: Report, *, verbose: bool = False) -> str:
    """A paragraph a finding (notes only when ``verbose``) and one line that sums up."""
    lines: list[str] = []
    for finding in report.findings:
        if finding.severity == "note" and not verbose:
            continue
        lines.append(f"{finding.severity}: {finding.rule}: {finding.demangled}")
        lines.append(f"    in {finding.object}")
        if len(finding.chain) > 1:
            lines.append(f"    loaded by {' -> '.join(finding.chain)}")
        if finding.detail:
            lines.append(f"    {finding.detail}")
        if finding.suggestion:
            lines.append(f"    {finding.suggestion}")
    return "\n".join([*lines, summary(report)])


def summary(report: Report) -> str:
    """How much was checked, and what came of it."""
    counts = Counter(finding.severity for finding in report.findings)
    found = ", ".join(f"{counts[name]} {name}{'s' if counts[name] > 1 else ''}" for name in counts)
    verdict = f"{found} found" if found else "nothing found"
    if not any(finding.rule == "undefined-symbol" for finding in report.findings):
        verdict = f"no undefined symbol ({found})" if found else "no undefined symbol"
    return f"{report.objects} objects, {report.symbols} references checked: {verdict}"


def explained(rule: Rule) -> str:
    """A rule with its explanation."""
    return f"{rule.id} ({rule.severity})\n\n{rule.summary}\n\n{rule.explanation}"
