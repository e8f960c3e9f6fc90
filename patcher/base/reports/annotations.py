"""GitHub's workflow commands: lines on stdout that become annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from patcher.base.printable import readable

_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}
# A step shows this many annotations of each level; more are dropped without a word.
SHOWN = 10


@dataclass(frozen=True)
class Annotation:
    """One line of them: ``severity`` is ``error``, ``warning`` or ``note``, ``line`` counts from 1."""

    severity: str
    message: str
    title: str = ""
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        """The workflow command; nothing in its parts can begin another, or reach a terminal as control."""
        parts = {"file": self.file, "line": str(self.line) if self.line else None, "title": self.title}
        properties = ",".join(f"{name}={_property(value)}" for name, value in parts.items() if value)
        head = f"::{_LEVELS[self.severity]}{' ' + properties if properties else ''}"
        return f"{head}::{_data(readable(self.message))}"


def workflow_commands(found: Sequence[Annotation], rest: str, title: str = "") -> list[str]:
    """Lines by severity, ten of each at most; one more line counts those left out: ``rest``, with ``{}`` for
    their number, under ``title``.
    """
    lines: list[str] = []
    for severity in _LEVELS:
        some = [one for one in found if one.severity == severity]
        shown = some if len(some) <= SHOWN else some[: SHOWN - 1]
        lines += map(str, shown)
        if len(some) > len(shown):
            lines.append(str(Annotation(severity, rest.format(len(some) - len(shown)), title)))
    return lines


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(readable(text)).replace(":", "%3A").replace(",", "%2C")
