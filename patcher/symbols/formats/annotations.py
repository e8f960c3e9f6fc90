"""GitHub's workflow commands: lines on stdout that become annotations."""

from __future__ import annotations

from patcher.symbols.findings import Report, readable
from patcher.symbols.formats.paths import relative

_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}
# A step shows this many annotations of each level; more are dropped without a word.
SHOWN = 10


def github(report: Report) -> str:
    """One line a finding, ten of each level at most; the rest are counted in one more line."""
    lines: list[str] = []
    for severity, level in _LEVELS.items():
        findings = [one for one in report.findings if one.severity == severity]
        shown = findings if len(findings) <= SHOWN else findings[: SHOWN - 1]
        for finding in shown:
            lines.append(
                annotation(level, finding.message, title=finding.rule, file=relative(finding.object))
            )
        if len(findings) > len(shown):
            more = f"and {len(findings) - len(shown)} more of this severity; the log has them all"
            lines.append(annotation(level, more, title="verify-symbols"))
    if report.more:
        lines.append(annotation("error", report.more, title="verify-symbols"))
    return "\n".join(lines)


def annotation(
    level: str, message: str, *, title: str = "", file: str | None = None, line: int | None = None
) -> str:
    """One workflow command; nothing in its parts can begin another, or reach a terminal as control."""
    parts = {"file": file, "line": str(line) if line else None, "title": title}
    properties = ",".join(f"{name}={_property(value)}" for name, value in parts.items() if value)
    return (
        f"::{level} {properties}::{_data(readable(message))}"
        if properties
        else f"::{level}::{_data(readable(message))}"
    )


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(readable(text)).replace(":", "%3A").replace(",", "%2C")
