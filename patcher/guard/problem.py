"""What the guard finds, and how a check as a whole ended."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from patcher.base.printable import readable
from patcher.merge_audit.finding import RULES as MERGE_RULES
from patcher.symbols.rules import RULES, SEVERITIES

FAIL_ON = (*SEVERITIES, "never")

# rule -> (severity, what it means). The rules of verify-symbols stand beside these.
OWN_RULES = {
    "edit-conflict": ("error", "An edit of the type can't be placed: its anchor is missing or contradicted."),
    "edit-missing": ("error", "The tree carries the type, and a part of it is missing."),
    "edit-differs": (
        "error",
        "A part of the type stands there in another form, and nobody has said that it is meant.",
    ),
    "number-clash": (
        "error",
        "Two types have one number, or one type has two: files are read as another type.",
    ),
    "by-another-hand": ("note", "A place names the type, and no edit of ours goes there."),
    "edit-old": (
        "warning",
        "An earlier release of q8a8-patch wrote it; today's writes another text, or none.",
    ),
    "edit-unplaced": ("note", "An optional edit has no place in this tree; the type goes in without it."),
    "build-failed": ("error", "The tree with the type doesn't build."),
    "unhandled-sibling": ("warning", "A place names the sibling type, and nobody has thought about ours."),
    **MERGE_RULES,
    "merge-waived": ("note", "A merge differs from its sides, and a waiver says why."),
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. ``file`` is relative to the tree, ``line`` counts from 1."""

    rule: str
    message: str  # one line, which names the cause
    file: str | None = None
    line: int | None = None
    hint: str = ""

    @property
    def severity(self) -> str:
        """``error``, ``warning`` or ``note``, as the rule has it."""
        return OWN_RULES[self.rule][0] if self.rule in OWN_RULES else RULES[self.rule].severity

    @property
    def place(self) -> str:
        """``file:line``, as far as it is known."""
        if self.file is None:
            return ""
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def text(self) -> str:
        """The message and what to do, in one line."""
        return readable(f"{self.message}; {self.hint}" if self.hint else self.message)

    @property
    def fingerprint(self) -> str:
        """What stays the same from run to run while the problem does: its line may move."""
        parts = (self.rule, self.file or "", self.message)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "file": readable(self.file) if self.file else None,
            "line": self.line,
            "message": readable(self.message),
            "hint": readable(self.hint),
        }


@dataclass(frozen=True)
class Stage:
    """One step of a check: ``ok``, ``failed`` or ``skipped``."""

    name: str
    state: str
    seconds: float
    detail: str = ""

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "name": self.name,
            "state": self.state,
            "seconds": round(self.seconds, 1),
            "detail": readable(self.detail),
        }


@dataclass(frozen=True)
class Judgement:
    """A check of one tree. ``prefix``: its place below the working folder; None where it is elsewhere."""

    source: str
    release: str | None
    commit: str | None
    carried: bool  # the tree has the type of its own; else it was applied to a copy
    prefix: str | None
    fail_on: str
    stages: tuple[Stage, ...]
    problems: tuple[Problem, ...] = field(default=())

    @property
    def failing(self) -> tuple[Problem, ...]:
        """The problems that turn it red."""
        if self.fail_on == "never":
            return ()
        worst = SEVERITIES.index(self.fail_on)
        return tuple(one for one in self.problems if SEVERITIES.index(one.severity) <= worst)

    def seen_from_here(self, problem: Problem) -> str | None:
        """The problem's file relative to the working folder; relative to the tree where that is elsewhere."""
        if problem.file is None or self.prefix in (None, "", "."):
            return problem.file
        return f"{self.prefix}/{problem.file}"

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "source": readable(self.source),
            "release": self.release,
            "commit": self.commit,
            "carried": self.carried,
            "fail_on": self.fail_on,
            "red": bool(self.failing),
            "stages": [stage.document() for stage in self.stages],
            "problems": [problem.document() for problem in self.problems],
        }
