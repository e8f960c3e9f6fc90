"""A report as text for people: grouped by what is missing, the worst first, one screen."""

from __future__ import annotations

from collections import Counter

from patcher.base.printable import readable
from patcher.symbols.findings import SymbolFinding, SymbolReport
from patcher.symbols.rules import Rule

_BOLD, _GREEN, _PLAIN = "\x1b[1m", "\x1b[32m", "\x1b[0m"
_COLORS = {"error": "\x1b[31m", "warning": "\x1b[33m", "note": "\x1b[36m"}
MANY = 8  # symbols of one object beyond which they are one group
SCREEN = 12  # groups that are shown unless somebody asks for all


def text(report: SymbolReport, *, verbose: bool = False, color: bool = True) -> str:
    """A paragraph for each symbol that is missing, and one line that sums up.

    Notes and more than a screen of groups only when ``verbose``. Coloured, unless
    ``color`` is false; ``click.echo`` takes the colours out where they don't belong.
    """
    listed = [finding for finding in report.findings if finding.severity != "note" or verbose]
    groups = _groups(listed)
    shown = groups if verbose else groups[:SCREEN]
    paragraphs = [_paragraph(group, color) for group in shown]
    if len(shown) < len(groups):
        left = len(listed) - sum(map(len, shown))
        paragraphs.append(f"... and {left} more findings (-v shows all)")
    if verbose and report.needs:
        versions = ", ".join(f"{name}_{version}" for name, version in report.needs.items())
        paragraphs.append(f"needs {versions} or newer")
    return "\n".join([*paragraphs, summary(report)])


def _groups(findings: list[SymbolFinding]) -> list[list[SymbolFinding]]:
    """One group for a symbol that several objects lack, or for an object that lacks many."""
    lacking = Counter((finding.rule, finding.object) for finding in findings)
    groups: dict[tuple[str, str, str], list[SymbolFinding]] = {}
    for finding in findings:
        many = lacking[finding.rule, finding.object] > MANY
        key = (finding.rule, finding.object, "") if many else (finding.rule, "", finding.symbol)
        groups.setdefault(key, []).append(finding)
    return list(groups.values())


def _paragraph(group: list[SymbolFinding], color: bool) -> str:
    first = group[0]
    bold, green, plain = (_BOLD, _GREEN, _PLAIN) if color else ("", "", "")
    head = f"{_COLORS[first.severity] if color else ''}{bold}{first.severity}:{plain} {first.rule}:"
    symbols = dict.fromkeys(readable(finding.demangled) for finding in group)
    if len(symbols) > 1:  # one object that lacks many
        some = ", ".join(list(symbols)[:3])
        lines = [
            f"{head} {bold}{len(symbols)} symbols{plain}, {some} ...",
            f"    in {readable(first.object)}",
        ]
    else:
        objects = [readable(path) for finding in group for path in finding.files or (finding.object,)]
        more = f" and {len(objects) - 1} more" if len(objects) > 1 else ""
        lines = [f"{head} {bold}{next(iter(symbols))}{plain}", f"    in {objects[0]}{more}"]
    if len(first.chain) > 1:
        lines.append(f"    loaded by {readable(' -> '.join(map(str, first.paths or first.chain)))}")
    if first.detail and len({finding.detail for finding in group}) == 1:
        lines.append(f"    {readable(first.detail)}")
    advice = Counter(finding.suggestion for finding in group if finding.suggestion).most_common(1)
    for words, times in advice:
        share = f" ({times} of them)" if len(symbols) > 1 and times < len(group) else ""
        lines.append(f"    {green}{readable(words or '')}{plain}{share}")
    return "\n".join(lines)


def counted(report: SymbolReport) -> str:
    """``14 objects, 2720 references``."""
    numbers = {"object": report.objects, "reference": report.symbols}
    return ", ".join(f"{number} {name}{'s' * (number != 1)}" for name, number in numbers.items())


def summary(report: SymbolReport) -> str:
    """How much was checked, and what came of it."""
    counts = Counter(finding.severity for finding in report.findings)
    found = ", ".join(f"{counts[name]} {name}{'s' if counts[name] > 1 else ''}" for name in counts)
    verdict = f"{found} found" if found else "nothing found"
    lacking = ("undefined-symbol", "host-not-named")
    if not report.omitted and not any(one.rule in lacking for one in report.findings):
        verdict = f"no undefined symbol ({found})" if found else "no undefined symbol"
    aside = [f"{report.ignored} ignored"] if report.ignored else []
    aside += [f"{report.known} in the baseline"] if report.known else []
    aside += [report.more] if report.more else []
    more = f"; {', '.join(aside)}" if aside else ""
    by = " by two readers" if report.readers > 1 else ""
    return f"{counted(report)} checked{by}: {verdict}{more}"


def explained(rule: Rule) -> str:
    """A rule with its explanation."""
    return f"{rule.id} ({rule.severity})\n\n{rule.summary}\n\n{rule.explanation}"
