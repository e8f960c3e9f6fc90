"""GitLab's code quality report."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

from patcher.symbols.findings import Report, readable
from patcher.symbols.formats.paths import relative

_SEVERITIES = {"error": "critical", "warning": "minor", "note": "info"}


def gitlab(report: Report) -> str:
    """A list of issues. Fingerprints are unique: GitLab drops all but one of those that are alike."""
    seen: Counter[str] = Counter()
    issues = []
    for finding in report.findings:
        fingerprint = finding.fingerprint
        seen[fingerprint] += 1
        if seen[fingerprint] > 1:  # the same library in two folders
            fingerprint = f"{fingerprint}-{seen[fingerprint]}"
        issues.append(
            {
                "description": readable(finding.message),
                "check_name": finding.rule,
                "fingerprint": fingerprint,
                "severity": _SEVERITIES[finding.severity],
                # the format wants a line; a binary has none but its first
                "location": {"path": readable(relative(finding.object)), "lines": {"begin": 1}},
            }
        )
    if report.more:
        issues.append(
            {
                "description": report.more,
                "check_name": "verify-symbols",
                "fingerprint": hashlib.sha256(b"verify-symbols: not listed").hexdigest(),
                "severity": "critical",
                "location": {"path": ".", "lines": {"begin": 1}},
            }
        )
    return json.dumps(issues, indent=2, ensure_ascii=False)
