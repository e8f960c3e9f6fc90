"""GitLab's code quality report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from patcher.base.printable import readable

_SEVERITIES = {"error": "critical", "warning": "minor", "note": "info"}


@dataclass(frozen=True)
class QualityIssue:
    """One of them. The format wants a ``line``; what has none, a binary say, has its first."""

    rule: str
    severity: str  # error, warning or note
    description: str
    path: str
    fingerprint: str
    line: int | None = None


def code_quality(found: Iterable[QualityIssue]) -> str:
    """A list of issues. Fingerprints are unique: GitLab drops all but one of those that are alike."""
    seen: Counter[str] = Counter()
    issues = []
    for one in found:
        seen[one.fingerprint] += 1  # the same library in two folders
        number = seen[one.fingerprint]
        issues.append(
            {
                "description": readable(one.description),
                "check_name": one.rule,
                "fingerprint": one.fingerprint if number == 1 else f"{one.fingerprint}-{number}",
                "severity": _SEVERITIES[one.severity],
                "location": {"path": readable(one.path), "lines": {"begin": one.line or 1}},
            }
        )
    return json.dumps(issues, indent=2, ensure_ascii=False)
