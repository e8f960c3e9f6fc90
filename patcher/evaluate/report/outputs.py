"""What leaves an evaluation: the JSON document, and the files that were asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patcher.base.files import require_place, write_wanted
from patcher.evaluate.judge import metric as metrics
from patcher.evaluate.judge.thresholds import Verdict
from patcher.evaluate.result import Report


@dataclass(frozen=True)
class Files:
    """Where reports go; None for those that nobody wants."""

    json: Path | None = None
    markdown: Path | None = None
    html: Path | None = None
    into: tuple[Path, ...] = ()  # pages that have a marked place for the answer

    def require_places(self) -> None:
        """Raise :class:`UsageError` for a place where nothing can be written, before hours of measuring."""
        for path in filter(None, (self.json, self.markdown, self.html)):
            require_place(path)
        for page in self.into:
            from patcher.evaluate.report import marked_block

            marked_block.require(page)


def document(report: Report, verdicts: list[Verdict]) -> dict[str, Any]:
    """The JSON contract of ``evaluate``."""
    return {
        **report.document(),
        "comparison": [item.document() for item in metrics.compare(report)],
        "verdicts": [item.document() for item in verdicts],
    }


def write(report: Report, verdicts: list[Verdict], files: Files) -> list[Path]:
    """Write what was asked for, each file whole or not at all; the paths written."""
    written = []
    if files.json is not None:
        written.append(
            write_wanted(files.json, json.dumps(document(report, verdicts), indent=1, ensure_ascii=False))
        )
    if files.markdown is not None:
        from patcher.evaluate.report.markdown import markdown

        written.append(write_wanted(files.markdown, markdown(report, verdicts)))
    if files.html is not None:
        from patcher.evaluate.report.html import html

        written.append(write_wanted(files.html, html(report, verdicts)))
    if files.into:
        from patcher.evaluate.report.marked_block import replaced

        texts = [replaced(page, report, verdicts) for page in files.into]  # all, before any is written
        written += [write_wanted(page, text) for page, text in zip(files.into, texts, strict=True)]
    return written
