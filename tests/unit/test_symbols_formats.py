"""The report formats, each taken apart again by what reads it; the command's exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Tree

import pytest

from patcher.cli import run
from patcher.commands import verify_symbols
from patcher.symbols import SymbolFinding, SymbolReport
from patcher.symbols.baseline import without_known, write_baseline
from patcher.symbols.formats import FORMATS, github, gitlab, junit, sarif
from patcher.symbols.report import text
from patcher.symbols.rules import RULES
from tests.elf_files import Elf

NASTY = 'na%me,\n:\x1b[31m\udcff<&">'
REPORT = SymbolReport(
    3,
    40,
    (
        SymbolFinding("undefined-symbol", "_Z3fooi", "/x/liba.so", ("main", "liba.so"), "nowhere", "link it"),
        SymbolFinding("undefined-symbol", NASTY, "/x/libb.so", ("libb.so",), "nowhere"),
        SymbolFinding("underlinked", "bar", "/x/libb.so", ("libb.so",), "elsewhere"),
        SymbolFinding("loader-ok", "baz", "/x/libb.so", ("libb.so",), "weak"),
    ),
)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    Elf(soname="libx.so", uses=["gone", "maybe?"]).write(tmp_path / "bin" / "libx.so")
    return tmp_path / "bin"


def test_sarif_has_what_the_standard_requires() -> None:
    document = json.loads(sarif(REPORT))
    assert document["version"] == "2.1.0"
    (one,) = document["runs"]
    rules = one["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(RULES)
    for result, finding in zip(one["results"], REPORT.findings, strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == finding.rule
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"].isprintable()
        assert re.fullmatch(r"[0-9a-f]{64}", result["partialFingerprints"]["symbolFinding/v1"])
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"[\w:/.%-]+", uri)


def test_sarif_paths_are_relative_to_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = SymbolReport(
        1, 1, (SymbolFinding("undefined-symbol", "x", str(tmp_path / "bin" / "a b.so"), ("a",)),)
    )
    result = json.loads(sarif(report))["runs"][0]["results"][0]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "bin/a%20b.so"


def test_junit_counts_and_names() -> None:
    top = Tree.fromstring(junit(REPORT))  # noqa: S314 - our own text
    assert (top.get("tests"), top.get("failures")) == ("4", "2")
    cases = [(case.get("classname"), case.get("name")) for case in top.iter("testcase")]
    assert len(set(cases)) == len(cases) == 4
    assert len(list(top.iter("failure"))) == 2
    for suite in top.iter("testsuite"):
        assert int(suite.get("tests") or 0) == len(suite.findall("testcase"))
    clean = Tree.fromstring(junit(SymbolReport(3, 40)))  # noqa: S314 - our own text
    assert [case.get("name") for case in clean.iter("testcase")] == ["3 objects without a finding"]


def test_github_lines_are_escaped_and_few() -> None:
    lines = github(REPORT).split("\n")
    assert len(lines) == 4
    assert lines[0] == "::error file=/x/liba.so,title=undefined-symbol::foo(int): nowhere; link it"
    assert "na%25me" in lines[1]
    assert "\x1b" not in lines[1]
    many = SymbolReport(
        1, 1, tuple(SymbolFinding("underlinked", f"s{n}", "/x/a,b:c", ("a",)) for n in range(30))
    )
    lines = github(many).split("\n")
    assert len(lines) == 10
    assert "and 21 more" in lines[-1]
    assert "file=/x/a%2Cb%3Ac," in lines[0]


def test_gitlab_fingerprints_are_unique() -> None:
    twice = SymbolReport(
        1, 1, (REPORT.findings[0], SymbolFinding("undefined-symbol", "_Z3fooi", "/y/liba.so", ("a",)))
    )
    issues: list[dict[str, Any]] = json.loads(gitlab(twice))
    assert len({issue["fingerprint"] for issue in issues}) == 2
    assert {issue["severity"] for issue in issues} == {"critical"}
    assert issues[0]["location"] == {"path": "/x/liba.so", "lines": {"begin": 1}}


def test_each_format_can_be_asked_for() -> None:
    assert ("text", *FORMATS) == verify_symbols.FORMATS


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_no_format_lets_control_characters_through(form: str) -> None:
    assert "\x1b" not in FORMATS[form](REPORT)
    FORMATS[form](REPORT).encode("utf-8")


def test_text_groups_and_ends_in_a_summary() -> None:
    same = tuple(
        SymbolFinding("undefined-symbol", "f", f"/x/lib{n}.so", (f"lib{n}.so",), "nowhere") for n in range(9)
    )
    shown = text(SymbolReport(9, 9, same))
    assert shown.count("undefined-symbol") == 1
    assert "/x/lib0.so and 8 more" in shown
    assert shown.splitlines()[-1] == "9 objects, 9 references checked: 9 errors found"
    many = tuple(
        SymbolFinding("undefined-symbol", f"f{n}", f"/x/{n % 8}.so", ("a.so",), "nowhere") for n in range(40)
    )
    assert len(text(SymbolReport(9, 9, many)).splitlines()) < 45
    assert "28 more findings" in text(SymbolReport(9, 9, many))
    assert "\x1b[31m\\udcff" not in text(REPORT)
    assert "\x1b" not in text(REPORT, color=False)


def test_an_object_that_lacks_much_is_one_paragraph() -> None:
    plugin = tuple(
        SymbolFinding("undefined-symbol", f"f{n}", "/x/p.so", ("p.so",), "nowhere", "link x" if n else None)
        for n in range(40)
    )
    lines = text(SymbolReport(9, 9, plugin), color=False).splitlines()
    assert lines[:4] == [
        "error: undefined-symbol: 40 symbols, f0, f1, f2 ...", "    in /x/p.so", "    nowhere",
        "    link x (39 of them)",
    ]  # fmt: skip
    assert len(lines) == 5


def test_a_baseline_leaves_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    write_baseline(path, SymbolReport(1, 1, REPORT.findings[:1]))
    new = without_known(REPORT, path)
    assert (new.known, new.findings) == (1, REPORT.findings[1:])
    # one more of the same kind, in another folder, is new too
    twice = SymbolReport(
        1, 1, (REPORT.findings[0], SymbolFinding("undefined-symbol", "_Z3fooi", "/y/liba.so", ("a",)))
    )
    assert len(without_known(twice, path).findings) == 1


def test_exit_codes(broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = Elf(soname="liby.so", defines=["y"]).write(tmp_path / "good" / "liby.so")
    verify = "verify-symbols"
    assert run([verify, str(broken)]) == 1
    assert run([verify, str(good)]) == 0
    assert run([verify, str(broken), "--ignore", "gone"]) == 0
    assert run([verify, str(broken), "--ignore", "gone", "--fail-on", "note"]) == 1
    assert run([verify, str(broken), "--write-baseline", str(tmp_path / "b.json")]) == 0
    assert run([verify, str(broken), "--baseline", str(tmp_path / "b.json")]) == 0
    assert run([verify, "--explain", "underlinked"]) == 0
    capsys.readouterr()
    junk = tmp_path / "junk"
    junk.write_bytes(b"\x7fELF junk")
    (tmp_path / "empty").mkdir()
    for arguments in (
        [], [str(tmp_path / "gone")], [str(junk)], [str(tmp_path / "empty")], [__file__],
        ["--explain", "no-such"], [str(good), "--baseline", str(junk)], [str(good), "--ignore-file", str(junk)],
        [str(good), "--write-baseline", str(tmp_path / "no" / "b.json")],
    ):  # fmt: skip
        assert run([verify, *arguments]) == 2, arguments
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert captured.err.startswith("error: ")


def test_json_is_one_document(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--json"], ["--format", "json"]):
        assert run(["verify-symbols", str(broken), *arguments]) == 1
        document = json.loads(capsys.readouterr().out)
        assert document["objects"] == 1
        assert [(one["rule"], one["symbol"]) for one in document["findings"]] == [
            ("undefined-symbol", "gone"),
            ("loader-ok", "maybe"),
        ]


@pytest.mark.parametrize("form", ["sarif", "junit", "github", "gitlab"])
def test_formats_on_the_command_line(broken: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify-symbols", str(broken), "--format", form]) == 1
    assert "gone" in capsys.readouterr().out
