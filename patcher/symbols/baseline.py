"""Findings that were there when somebody began to look: only new ones fail."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from patcher.base.errors import UsageError
from patcher.base.files import write_wanted
from patcher.base.printable import readable
from patcher.symbols.findings import SymbolReport

FORMAT = 1


def write_baseline(path: Path, report: SymbolReport) -> None:
    """Write the findings that are there now. Raises :class:`UsageError` where ``path`` can't be written."""
    counts = Counter(finding.fingerprint for finding in report.findings)
    entries = [
        {
            "fingerprint": finding.fingerprint,
            "count": counts.pop(finding.fingerprint),
            "rule": finding.rule,
            "symbol": readable(finding.demangled),
            "object": readable(finding.object.rpartition("/")[2]),
        }
        for finding in report.findings
        if finding.fingerprint in counts
    ]
    text = json.dumps({"format": FORMAT, "findings": entries}, indent=1, ensure_ascii=False) + "\n"
    write_wanted(path, text)


def without_known(report: SymbolReport, path: Path) -> SymbolReport:
    """The report without what is in the baseline. Raises :class:`UsageError` for one that can't be read."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise UsageError(
                f"{path}: looked for a baseline of format {FORMAT}, found {document['format']!r}",
                hint="write it anew: --write-baseline FILE",
            )
        known = Counter({str(entry["fingerprint"]): int(entry["count"]) for entry in document["findings"]})
    except (OSError, ValueError, KeyError, TypeError) as why:
        hint = "--write-baseline makes one"
        raise UsageError(f"{path}: looked for a baseline, found none ({why!r})", hint=hint) from why
    kept = []
    for finding in report.findings:
        if known[finding.fingerprint] > 0:
            known[finding.fingerprint] -= 1
        else:
            kept.append(finding)
    return report._replace(findings=tuple(kept), known=len(report.findings) - len(kept))
