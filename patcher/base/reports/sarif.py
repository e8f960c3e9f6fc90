"""SARIF 2.1.0 (OASIS), as code scanning services take it: one run of one tool."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from patcher import __version__
from patcher.base.printable import readable

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


@dataclass(frozen=True)
class SarifRule:
    """What a tool looks for. ``text`` explains it at length, ``name`` is for people; both may be empty."""

    id: str
    severity: str  # error, warning or note
    summary: str
    name: str = ""
    text: str = ""

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "id": self.id,
            **({"name": self.name} if self.name else {}),
            "shortDescription": {"text": self.summary},
            **({"fullDescription": {"text": self.text.replace("\n", " ")}} if self.text else {}),
            **({"help": {"text": self.text}} if self.text else {}),
            "defaultConfiguration": {"level": self.severity},
        }


@dataclass(frozen=True)
class SarifResult:
    """One finding. ``fingerprint``: the name of its form, and itself; ``symbol``: its name, and in full."""

    rule: str
    severity: str
    message: str
    path: str
    fingerprint: tuple[str, str]
    line: int | None = None  # from 1; None for a file that has no lines
    symbol: tuple[str, str] | None = None
    properties: Mapping[str, str] = field(default_factory=dict)

    def document(self, number: int) -> dict[str, Any]:
        """The JSON form; ``number`` is its rule's."""
        uri = Path(self.path).as_uri() if Path(self.path).is_absolute() else quote(readable(self.path))
        place: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": uri}}}
        if self.line is not None:
            place["physicalLocation"]["region"] = {"startLine": self.line}
        if self.symbol is not None:
            short, full = map(readable, self.symbol)
            place["logicalLocations"] = [{"name": short, "fullyQualifiedName": full}]
        said = {key: readable(value) for key, value in self.properties.items()}
        return {
            "ruleId": self.rule,
            "ruleIndex": number,
            "level": self.severity,
            "message": {"text": readable(self.message)},
            "locations": [place],
            "partialFingerprints": dict([self.fingerprint]),
            **({"properties": said} if said else {}),
        }


def log(tool: str, rules: Sequence[SarifRule], results: Iterable[SarifResult], note: str = "") -> str:
    """The file's text. Rule ids and fingerprints stay the same from run to run; ``note`` is an error that the
    tool has to say of its run.
    """
    numbers = {rule.id: number for number, rule in enumerate(rules)}
    driver = {
        "name": f"q8a8-patch {tool}",
        "version": __version__,
        "rules": [rule.document() for rule in rules],
    }
    run: dict[str, Any] = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [one.document(numbers[one.rule]) for one in results],
    }
    if note:  # SARIF's own place for it
        said = {"level": "error", "message": {"text": note}}
        run["invocations"] = [{"executionSuccessful": True, "toolExecutionNotifications": [said]}]
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)
