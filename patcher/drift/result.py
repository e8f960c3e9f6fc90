"""What became of a type over the revisions of a repository: the row of them, and what each refuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from patcher.drift.cause import Cause


@dataclass(frozen=True)
class Conflict:
    """An edit that can't be placed in a revision."""

    edit: str
    file: str
    detail: str

    def document(self) -> dict[str, str]:
        """The JSON form."""
        return {"id": self.edit, "file": self.file, "detail": self.detail}


@dataclass(frozen=True)
class Revision:
    """One commit, and the edits that it refuses."""

    ref: str
    commit: str
    subject: str
    date: str
    conflicts: tuple[Conflict, ...] = field(default=())

    @property
    def state(self) -> str:
        """``ok`` or ``conflict``."""
        return "conflict" if self.conflicts else "ok"

    def document(self) -> dict[str, Any]:
        """The JSON form of the command contract."""
        return {
            "ref": self.ref,
            "commit": self.commit,
            "subject": self.subject,
            "date": self.date,
            "state": self.state,
            "conflicts": [conflict.document() for conflict in self.conflicts],
        }


@dataclass(frozen=True)
class Drift:
    """What became of the type over a row of revisions, oldest first."""

    repo: str
    revisions: tuple[Revision, ...]
    causes: tuple[Cause, ...] = field(default=())
    judged: int = 0  # distinct file contents that were looked at

    @property
    def last_good(self) -> Revision | None:
        """The newest revision that takes every edit."""
        return next((one for one in reversed(self.revisions) if not one.conflicts), None)

    @property
    def first_bad(self) -> Revision | None:
        """The revision behind it; None where the newest is good."""
        good = self.last_good
        if good is None:
            return self.revisions[0] if self.revisions else None
        position = self.revisions.index(good) + 1
        return self.revisions[position] if position < len(self.revisions) else None

    def document(self) -> dict[str, Any]:
        """The JSON form of the command contract."""
        good, bad = self.last_good, self.first_bad
        return {
            "repo": self.repo,
            "revisions": [one.document() for one in self.revisions],
            "last_good": good.ref if good else None,
            "first_bad": bad.ref if bad else None,
            "causes": [cause.document() for cause in self.causes],
            "judged": self.judged,
        }
