"""SARIF 2.1.0 (OASIS), as code scanning services take it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from patcher import __version__
from patcher.symbols.findings import Finding, Report, readable
from patcher.symbols.formats.paths import relative
from patcher.symbols.rules import RULES, Rule

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif(report: Report) -> str:
    """One run with one result per finding. Rule ids and fingerprints stay the same from build to build."""
    rules = list(RULES.values())
    numbers = {rule.id: number for number, rule in enumerate(rules)}
    driver = {
        "name": "q8a8-patch verify-symbols",
        "version": __version__,
        "rules": [_rule(rule) for rule in rules],
    }
    results = [_result(finding, numbers[finding.rule]) for finding in report.findings]
    run: dict[str, Any] = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    if report.more:  # SARIF's own place for what the tool has to say of its run
        note = {"level": "error", "message": {"text": report.more}}
        run["invocations"] = [{"executionSuccessful": True, "toolExecutionNotifications": [note]}]
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": rule.id.title().replace("-", ""),
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.explanation.replace("\n", " ")},
        "help": {"text": rule.explanation},
        "defaultConfiguration": {"level": rule.severity},
    }


def _result(finding: Finding, number: int) -> dict[str, Any]:
    place = relative(finding.object)
    uri = Path(place).as_uri() if Path(place).is_absolute() else quote(readable(place))
    chain = " -> ".join(finding.chain)
    return {
        "ruleId": finding.rule,
        "ruleIndex": number,
        "level": finding.severity,
        "message": {"text": readable(finding.message)},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": uri}},
                "logicalLocations": [
                    {"name": readable(finding.symbol), "fullyQualifiedName": readable(finding.demangled)}
                ],
            }
        ],
        "partialFingerprints": {"symbolFinding/v1": finding.fingerprint},
        "properties": {"chain": readable(chain)},
    }
