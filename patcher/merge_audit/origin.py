"""Which commit brought an item to its side: the first of the branch whose file has it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from patcher import git
from patcher.base.errors import UsageError
from patcher.git.history import Commit, commits
from patcher.merge_audit.finding import Finding
from patcher.merge_audit.sides import Version

_MOST = 60  # findings of one merge that are traced
_SHORT = 6  # bytes of a text that is anywhere


class Origins:
    """The histories of a merge's sides, behind their base."""

    def __init__(self, repo: Path, base: str | None, sides: dict[str, Version]) -> None:
        self.repo, self.base, self.sides = repo, base, sides
        self._rows: dict[tuple[str, str], list[Commit]] = {}
        self._texts: dict[str, str] = {}

    def traced(self, found: list[Finding]) -> list[Finding]:
        """``found`` with the commits that brought what they are about, as far as that can be told."""
        left = _MOST
        made = []
        for one in found:
            side = self.sides.get("ours" if one.side == "both" else one.side)
            if left and one.was is not None and one.severity != "note" and side is not None and side.commit:
                left -= 1
                commit = self._bringer(side.commit, one.was[0], _literal(one.text))
                if commit is not None:
                    made.append(replace(one, commit=commit.id, subject=commit.subject))
                    continue
            made.append(one)
        return made

    def _bringer(self, tip: str, path: str, text: str) -> Commit | None:
        if len(text) < _SHORT or self.base is None:
            return None
        row = self._row(tip, path)
        low, high = 0, len(row)  # what is before low lacks it, what is from high on has it
        if not row or not self._has(row[-1].changes[path], text):
            return None
        while low < high:
            middle = (low + high) // 2
            if self._has(row[middle].changes[path], text):
                high = middle
            else:
                low = middle + 1
        return row[high]

    def _row(self, tip: str, path: str) -> list[Commit]:
        if (tip, path) not in self._rows:
            row = commits(self.repo, tip, [path], base=self.base)
            self._rows[tip, path] = [one for one in row if path in one.changes]
        return self._rows[tip, path]

    def _has(self, blob: str | None, text: str) -> bool:
        if blob is None:
            return False
        if blob not in self._texts:
            try:
                self._texts[blob] = _squeezed(git.read_blob(self.repo, blob).decode("utf-8", "replace"))
            except UsageError:
                self._texts[blob] = ""
        return text in self._texts[blob]


def _literal(text: str) -> str:
    """The longest part of an item's text that stands in its file as it is: ``{}`` is a list by itself."""
    return max((_squeezed(part) for part in text.strip("{}").split("{}")), key=len)


def _squeezed(text: str) -> str:
    return re.sub(r"\s+|//[^\n]*", "", text)
