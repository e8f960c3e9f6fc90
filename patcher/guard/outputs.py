"""A check as services and people want it: annotations, SARIF, GitLab's code quality, Markdown, text."""

from __future__ import annotations

from collections import Counter

import click

from patcher.base.printable import markdown as inert
from patcher.base.printable import readable
from patcher.base.reports.annotations import Annotation, workflow_commands
from patcher.base.reports.gitlab import QualityIssue, code_quality
from patcher.base.reports.sarif import SarifResult, SarifRule, log
from patcher.guard.problem import OWN_RULES, Judgement, Problem
from patcher.symbols.rules import RULES

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
        f"{counts[name]} {name}{'s' if counts[name] > 1 else ''}" for name in _COLORS if counts[name]
    )
    color = "RED" if check.failing else "green"
    return readable(f"{check.source}: {color}: {found or 'nothing found'}")


def github(check: Judgement) -> str:
    """GitHub's workflow commands, which become annotations of the pull request; ten of a level at most."""
    found = []
    for one in check.problems:
        # a file of the build is none of the repository's, and a tree from elsewhere has no place in it
        file = check.seen_from_here(one) if check.prefix is not None and one.rule in OWN_RULES else None
        message = one.text if file or not one.file else f"{one.place}: {one.text}"
        found.append(Annotation(one.severity, message, one.rule, file, one.line))
    return "\n".join(workflow_commands(found, "and {} more; the summary has them all"))


def sarif(check: Judgement, tool: str = "guard") -> str:
    """SARIF 2.1.0: one run of the command ``tool``, one result a problem."""
    results = [
        SarifResult(
            one.rule,
            one.severity,
            one.text,
            _seen(check, one),
            ("guardProblem/v1", one.fingerprint),
            one.line or 1,
        )
        for one in check.problems
    ]
    known = (
        {*OWN_RULES, *RULES} if tool == "guard" else {name for name in OWN_RULES if name.startswith("merge-")}
    )
    return log(tool, [_rule(name) for name in sorted(known)], results)


def _rule(name: str) -> SarifRule:
    severity, summary = OWN_RULES.get(name) or (RULES[name].severity, RULES[name].summary)
    return SarifRule(name, severity, summary)


def _seen(check: Judgement, problem: Problem) -> str:
    """Services take nothing without a place: what has none is about the tree as a whole."""
    return check.seen_from_here(problem) or "include/llama.h"


def gitlab(check: Judgement) -> str:
    """GitLab's code quality report."""
    return code_quality(
        QualityIssue(one.rule, one.severity, one.text, _seen(check, one), one.fingerprint, one.line)
        for one in check.problems
    )


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
