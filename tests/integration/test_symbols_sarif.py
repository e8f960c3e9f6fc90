"""SARIF against the schema of its standard, which a package of the registry ships."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from filelock import FileLock

from patcher.base.cache import cache_dir
from patcher.symbols import RULES, SymbolFinding, SymbolReport
from patcher.symbols.formats import sarif

PACKAGE, MEMBER = "@microsoft/jest-sarif@1.0.0-beta.0", "package/lib/schemas/sarif-2.1.0-rtm.5.json"

pytestmark = [
    pytest.mark.system,
    pytest.mark.network,
    pytest.mark.skipif(shutil.which("npm") is None, reason="the schema comes from npm, and there is none"),
]

NASTY = 'na%me,\n:\x1b[31m\udcff<&">'


@pytest.fixture(scope="module")
def schema() -> Any:
    place = cache_dir("tests", "schemas") / Path(MEMBER).name
    with FileLock(place.with_suffix(".lock")):
        if not place.is_file():
            _fetch(place)
    return json.loads(place.read_text(encoding="utf-8"))


def _fetch(place: Path) -> None:
    command = [shutil.which("npm") or "npm", "pack", "--silent", PACKAGE]
    packed = subprocess.run(command, cwd=place.parent, capture_output=True, text=True, check=True)
    archive = place.parent / packed.stdout.split()[-1]
    with tarfile.open(archive) as file:
        member = file.extractfile(MEMBER)
        assert member is not None
        place.write_bytes(member.read())
    archive.unlink()


def everything() -> SymbolReport:
    """A finding of each rule, with all that a name may hold."""
    findings = [
        SymbolFinding(rule, symbol, place, ("main", "liba.so"), "nowhere", "link it")
        for rule in RULES
        for symbol, place in (
            ("_Z3fooi", "/x/lib a.so"),
            (NASTY, "relative/libb.so"),
            ("f@V1", f"/{NASTY}/c.so"),
        )
    ]
    return SymbolReport(3, 40, tuple(findings))


@pytest.mark.parametrize("report", [everything(), SymbolReport(3, 40)], ids=["all rules", "clean"])
def test_sarif_is_valid(schema: Any, report: SymbolReport) -> None:
    jsonschema.Draft4Validator.check_schema(schema)
    problems = list(jsonschema.Draft4Validator(schema).iter_errors(json.loads(sarif(report))))
    assert not problems, problems[0].message


def test_the_schema_would_notice(schema: Any) -> None:
    document = json.loads(sarif(everything()))
    document["runs"][0]["results"][0]["level"] = "fatal"
    del document["runs"][0]["results"][1]["message"]
    problems = [problem.message for problem in jsonschema.Draft4Validator(schema).iter_errors(document)]
    assert len(problems) == 2, problems
