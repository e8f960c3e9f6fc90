"""A report as text for people: grouped by what is missing, the worst first, one screen."""

from __future__ import annotations

from collections import Counter

import click

from patcher.symbols.findings import Finding, Report, readable
from patcher.symbols.rules import Rule

_COLORS = {"error": "red", "warning": "yellow", "note": "cyan"}
SCREEN = 12  # groups that are shown unless somebody asks for all


def text(report: Report, *, verbose: bool = False) -> str:
    """A paragraph for each symbol that is missing, and one line that sums up.

    Notes and more than a screen of groups only when ``verbose``. Coloured; ``click.echo`` takes the
    colours out where they don't belong.
    """
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in report.findings:
        if finding.severity != "note" or verbose:
            groups.setdefault((finding.rule, finding.symbol), []).append(finding)
    shown = list(groups.values()) if verbose else list(groups.values())[:SCREEN]
    paragraphs = [_paragraph(group) for group in shown]
    if len(shown) < len(groups):
        left = sum(len(group) for group in groups.values()) - sum(len(group) for group in shown)
        paragraphs.append(f"... and {left} more findings (-v shows all)")
    return "\n".join([*paragraphs, summary(report)])


def _paragraph(group: list[Finding]) -> str:
    first = group[0]
    head = click.style(f"{first.severity}:", fg=_COLORS[first.severity], bold=True)
    lines = [f"{head} {first.rule}: {click.style(readable(first.demangled), bold=True)}"]
    objects = [readable(finding.object) for finding in group]
    lines.append(f"    in {objects[0]}" + (f" and {len(objects) - 1} more" if len(objects) > 1 else ""))
    if len(first.chain) > 1:
        lines.append(f"    loaded by {readable(' -> '.join(first.chain))}")
    lines += [f"    {readable(part)}" for part in (first.detail,) if part]
    if first.suggestion:
        lines.append("    " + click.style(readable(first.suggestion), fg="green"))
    return "\n".join(lines)


def summary(report: Report) -> str:
    """How much was checked, and what came of it."""
    counts = Counter(finding.severity for finding in report.findings)
    found = ", ".join(f"{counts[name]} {name}{'s' if counts[name] > 1 else ''}" for name in counts)
    verdict = f"{found} found" if found else "nothing found"
    if not any(finding.rule == "undefined-symbol" for finding in report.findings):
        verdict = f"no undefined symbol ({found})" if found else "no undefined symbol"
    aside = [f"{report.ignored} ignored"] if report.ignored else []
    aside += [f"{report.known} in the baseline"] if report.known else []
    more = f"; {', '.join(aside)}" if aside else ""
    return f"{report.objects} objects, {report.symbols} references checked: {verdict}{more}"


def explained(rule: Rule) -> str:
    """A rule with its explanation."""
    return f"{rule.id} ({rule.severity})\n\n{rule.summary}\n\n{rule.explanation}"
