"""A check as services and people want it: annotations, SARIF, GitLab's code quality, Markdown, text."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from urllib.parse import quote

import click

from patcher import __version__
from patcher.base.printable import markdown as inert
from patcher.base.printable import readable
from patcher.guard.problem import OWN_RULES, Judgement, Problem
from patcher.symbols.formats.annotations import SHOWN, annotation
from patcher.symbols.formats.sarif import SCHEMA
from patcher.symbols.rules import RULES

_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}
_MARKS = {"ok": "✅", "failed": "❌", "skipped": "⏭️"}
_COLORS = {"error": "red", "warning": "yellow", "note": "cyan"}


def text(check: Judgement, *, verbose: bool = False) -> str:
    """One line a stage, then the problems."""
    lines = []
    for stage in check.stages:
        color = {"ok": "green", "failed": "red", "skipped": "blue"}[stage.state]
        seconds = f"{stage.seconds:.1f} s" if stage.state != "skipped" else ""
        state = click.style(f"{stage.state:<8}", fg=color)
        lines.append(f"{state} {stage.name:<9} {seconds:>8}  {readable(stage.detail)}")
    for problem in check.problems:
        mark = click.style(f"{problem.severity}:", fg=_COLORS[problem.severity], bold=True)
        file = check.seen_from_here(problem)
        place = (
            f"{readable(file)}:{problem.line}: "
            if file and problem.line
            else f"{readable(file)}: "
            if file
            else ""
        )
        lines.append(f"{mark} {place}{problem.text}")
    return "\n".join([*lines, verdict(check)])


def verdict(check: Judgement) -> str:
    """The check in one line."""
    counts = Counter(problem.severity for problem in check.problems)
    found = ", ".join(
        f"{counts[name]} {name}{'s' if counts[name] > 1 else ''}" for name in _LEVELS if counts[name]
    )
    color = "RED" if check.failing else "green"
    return readable(f"{check.source}: {color}: {found or 'nothing found'}")


def github(check: Judgement) -> str:
    """GitHub's workflow commands, which become annotations of the pull request; ten of a level at most."""
    lines: list[str] = []
    for severity, level in _LEVELS.items():
        found = [one for one in check.problems if one.severity == severity]
        shown = found if len(found) <= SHOWN else found[: SHOWN - 1]
        for one in shown:
            # a file of the build is none of the repository's, and a tree from elsewhere has no place in it
            file = check.seen_from_here(one) if check.prefix is not None and one.rule in OWN_RULES else None
            message = one.text if file or not one.file else f"{one.place}: {one.text}"
            lines.append(annotation(level, message, title=one.rule, file=file, line=one.line))
        if len(found) > len(shown):
            lines.append(annotation(level, f"and {len(found) - len(shown)} more; the summary has them all"))
    return "\n".join(lines)


def sarif(check: Judgement) -> str:
    """SARIF 2.1.0: one run, one result a problem."""
    names = sorted({*OWN_RULES, *RULES})
    rules = [_rule(name) for name in names]
    results = [_result(check, one, names.index(one.rule)) for one in check.problems]
    driver = {"name": "q8a8-patch guard", "version": __version__, "rules": rules}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _rule(name: str) -> dict[str, Any]:
    severity, summary = OWN_RULES.get(name) or (RULES[name].severity, RULES[name].summary)
    return {
        "id": name,
        "shortDescription": {"text": summary},
        "defaultConfiguration": {"level": severity},
    }


def _result(check: Judgement, problem: Problem, number: int) -> dict[str, Any]:
    # code scanning takes no result without a place: what has none is about the tree as a whole
    uri = quote(readable(check.seen_from_here(problem) or "include/llama.h"))
    return {
        "ruleId": problem.rule,
        "ruleIndex": number,
        "level": problem.severity,
        "message": {"text": problem.text},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": uri},
                    "region": {"startLine": problem.line or 1},
                }
            }
        ],
        "partialFingerprints": {"guardProblem/v1": problem.fingerprint},
    }


def gitlab(check: Judgement) -> str:
    """GitLab's code quality report. Fingerprints are unique."""
    severities = {"error": "critical", "warning": "minor", "note": "info"}
    seen: Counter[str] = Counter()
    issues = []
    for one in check.problems:
        seen[one.fingerprint] += 1
        number = seen[one.fingerprint]
        issues.append(
            {
                "description": one.text,
                "check_name": one.rule,
                "fingerprint": one.fingerprint if number == 1 else f"{one.fingerprint}-{number}",
                "severity": severities[one.severity],
                "location": {
                    "path": readable(check.seen_from_here(one) or "include/llama.h"),
                    "lines": {"begin": one.line or 1},
                },
            }
        )
    return json.dumps(issues, indent=2, ensure_ascii=False)


def markdown(check: Judgement) -> str:
    """The job's summary."""
    what = check.release or (check.commit or "")[:12]
    head = f"## {'❌ Red' if check.failing else '✅ Green'}: {inert(check.source)} {inert(what)}".rstrip()
    lines = [head, "", "| step | | time | |", "|---|---|---|---|"]
    for stage in check.stages:
        seconds = f"{stage.seconds:.1f} s" if stage.state != "skipped" else ""
        lines.append(
            f"| {stage.name} | {_MARKS[stage.state]} {stage.state} | {seconds} | {inert(stage.detail)} |"
        )
    if check.problems:
        lines += ["", "| | where | what | what to do |", "|---|---|---|---|"]
        for one in check.problems:
            file = check.seen_from_here(one)
            place = f"{file}:{one.line}" if file and one.line else file or ""
            cells = (f"{one.severity}: {one.rule}", place, one.message, one.hint)
            lines.append(f"| {' | '.join(inert(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"
