"""What a merge did to what its sides had brought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from patcher.base.printable import readable

# rule -> (severity, what it means)
RULES = {
    "merge-lost": (
        "error",
        "What a side added, or kept while the other changed around it, isn't in the merge.",
    ),
    "merge-revived": ("error", "What a side removed on purpose is back in the merge."),
    "merge-duplicated": ("error", "Both sides added it, and the merge has it twice."),
    "merge-moved": ("error", "It stands in another owner than the side had put it in."),
    "merge-number": ("error", "Enumerators have one value, or have changed places, as on no side."),
    "merge-twin": ("error", "An enum of Python no longer says what C's says; on the sides it did."),
    "merge-unresolved": ("error", "Marks of a conflict stand in the merge."),
    "merge-line-lost": ("warning", "A side's line in a function's body isn't in the merge."),
    "merge-line-revived": ("warning", "A line of a function's body that a side removed is back."),
    "merge-line-duplicated": (
        "warning",
        "A line of a function's body stands more often than on either side.",
    ),
    "merge-altered": ("warning", "The merge has it in a form that neither side had, and less of it."),
    "merge-file-kept": ("warning", "One side alone changed the file, and the merge has it as it was before."),
    "merge-unread": (
        "warning",
        "No text, or too long to compare; the merge doesn't have what a side made of it.",
    ),
    "merge-own": ("note", "The merge has it in another form, in a file that the other side left alone."),
    "merge-superseded": ("note", "One side changed what the other removed; the merge follows the removal."),
}


@dataclass(frozen=True)
class Finding:
    """One thing that a merge lost, brought back, doubled or moved.

    ``side`` had it (``ours``, ``theirs``, ``both``, ``base``), in ``was``, a file and line of that side;
    ``line`` is the nearest place in the merged ``file``, None where that isn't there.
    """

    rule: str
    file: str
    line: int | None
    construct: str
    owner: tuple[str, ...]
    text: str
    side: str
    was: tuple[str, int] | None = None
    detail: str = ""
    count: int = 1  # items that it stands for: what lies in a lost function is lost with it
    commit: str | None = None  # that brought it to the side
    subject: str = ""
    waived: str = ""  # the reason

    @property
    def severity(self) -> str:
        """``error``, ``warning`` or ``note``; a waived one is a note."""
        return "note" if self.waived else RULES[self.rule][0]

    @property
    def message(self) -> str:
        """One line: what, whose, where it was, who brought it."""
        where = f" in {' > '.join(self.owner)}" if self.owner else ""
        text = self.text if len(self.text) <= 120 else f"{self.text[:117]}..."
        said = [f"{self.construct} '{text}'{where}: {self.detail}"]
        if self.count > 1:
            said.append(f"{self.count - 1} more with it")
        if self.was is not None:
            said.append(f"{self.side.upper()} has it in {self.was[0]}:{self.was[1]}")
        if self.commit:
            said.append(f"brought by {self.commit[:12]} {self.subject}".rstrip())
        if self.waived:
            said.append(f"waived: {self.waived}")
        return readable("; ".join(said))

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "file": readable(self.file),
            "line": self.line,
            "kind": self.construct,
            "owner": [readable(name) for name in self.owner],
            "text": readable(self.text),
            "side": self.side,
            "was": {"file": readable(self.was[0]), "line": self.was[1]} if self.was else None,
            "detail": readable(self.detail),
            "count": self.count,
            "commit": self.commit,
            "subject": readable(self.subject),
            "waived": readable(self.waived) or None,
        }
