"""Reports for machines: one function per format, each from a :class:`SymbolReport` to text."""

from __future__ import annotations

import json
from collections.abc import Callable

from patcher.symbols.findings import SymbolReport
from patcher.symbols.formats.annotations import github
from patcher.symbols.formats.gitlab import gitlab
from patcher.symbols.formats.junit import junit
from patcher.symbols.formats.sarif import sarif


def as_json(report: SymbolReport) -> str:
    """The report as the JSON of the command contract."""
    return json.dumps(report.document(), indent=2, ensure_ascii=False)


FORMATS: dict[str, Callable[[SymbolReport], str]] = {
    "json": as_json,
    "sarif": sarif,
    "junit": junit,
    "github": github,
    "gitlab": gitlab,
}

__all__ = ["FORMATS", "as_json", "github", "gitlab", "junit", "sarif"]
