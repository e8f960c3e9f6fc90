"""Which commit took an edit's anchor away, and the hunk that did it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patcher.engine.patchset import PatchSet
from patcher.git.history import Commit, hunks

MOST_LINES = 40  # of a hunk that is shown


@dataclass(frozen=True)
class Cause:
    """Why an edit can't be placed any more."""

    edit: str
    file: str
    commit: str
    subject: str
    date: str
    detail: str
    hunk: str

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "id": self.edit,
            "file": self.file,
            "commit": self.commit,
            "subject": self.subject,
            "date": self.date,
            "detail": self.detail,
            "hunk": self.hunk,
        }


def find_cause(
    repo: Path,
    patchset: PatchSet,
    edit_id: str,
    detail: str,
    commit: Commit,
    before: dict[str, str],
    after: dict[str, str],
    below: str = "",
) -> Cause:
    """``commit`` is the first that refuses ``edit_id``; ``before`` and ``after`` are its files' blobs.

    ``below`` is where the tree lies in the repository (``a/b/``).
    """
    edit = next(edit for edit in patchset.edits if edit.id == edit_id)
    path = next((path for path in edit.files if path in before), edit.files[0])
    if path in before and path not in after:
        return Cause(edit_id, path, commit.id, commit.subject, commit.date, detail, f"{path} is gone")
    words = {
        word
        for value in edit.anchor.values()
        for word in re.findall(r"[A-Za-z_]\w{3,}", " ".join(value) if isinstance(value, list) else str(value))
    }
    words |= set(re.findall(r"\w{4,}", detail))
    found = hunks(repo, commit.id, path, below)
    best = max(found, key=lambda hunk: _weight(hunk, words), default="")
    shown = "\n".join(best.splitlines()[:MOST_LINES])
    return Cause(edit_id, path, commit.id, commit.subject, commit.date, detail, shown)


def _weight(hunk: str, words: set[str]) -> tuple[int, int]:
    """How much of what the anchor names stands in the lines that the hunk takes away, and around them."""
    lines = hunk.splitlines()
    removed = " ".join(line for line in lines if line.startswith("-"))
    around = " ".join(lines)
    return (
        sum(1 for word in words if re.search(rf"\b{word}\b", removed)),
        sum(1 for word in words if re.search(rf"\b{word}\b", around)),
    )
