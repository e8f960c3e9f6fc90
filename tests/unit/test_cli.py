"""The command line: exit codes, one-line errors, one JSON document."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from patcher import cli
from patcher.base.console import ConsoleReporter, Output
from patcher.base.errors import (
    BuildError,
    ConflictError,
    ExitCode,
    PatcherError,
    SourceError,
    TreeChangedError,
    UsageError,
)


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, ctx, name: command)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2), (ConflictError("x"), 3), (SourceError("x"), 4), (BuildError("x"), 5),
        (TreeChangedError("x"), 6), (PatcherError("x"), 70), (KeyboardInterrupt(), 130),
    ],
)  # fmt: skip
def test_each_error_has_its_exit_code_and_one_line(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, error)
    assert cli.run(["any"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"\n?error: (x|interrupted)\n", said.err)  # click ends the ^C line


def test_a_bug_is_one_line_and_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path))
    raising(monkeypatch, ZeroDivisionError("by zero"))
    assert cli.run(["any"]) == ExitCode.INTERNAL
    said = capsys.readouterr().err
    log = re.fullmatch(
        r"error: unexpected ZeroDivisionError: by zero; the traceback lies in (\S+), please report it\n", said
    )
    assert log is not None
    assert "ZeroDivisionError" in Path(log[1]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "arguments",
    [["no-such-verb"], ["apply", "--no-such-option"], ["build", "--jobs", "0"], ["apply", "a", "b"]],
)
def test_wrong_usage_is_exit_2_and_says_where_help_is(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 2
    assert "--help')" in capsys.readouterr().err


@pytest.mark.parametrize("verb", sorted(cli.COMMANDS))
def test_every_verb_has_help_with_an_example_and_json(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([verb, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"q8a8-patch {verb}" in said.replace("\n", " ").replace("  ", " ")
    assert "--json" in said
    assert "Example" in said


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(re.search(rf"^  {verb} ", said, re.MULTILINE) for verb in cli.COMMANDS)


@pytest.mark.parametrize("verb", ["apply", "status", "diff", "revert", "export", "build"])
def test_what_is_no_llama_cpp_is_refused(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [verb, str(tmp_path)] + (["-o", str(tmp_path / "out")] if verb == "export" else [])
    assert cli.run(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["apply", "status", "diff"])
def test_json_is_one_document_on_stdout(
    verb: str, mini_repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([verb, str(mini_repo), "--json"]) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert set(document) >= {"tree", "base", "edits", "state"}
    assert {"id", "file", "state", "detail"} <= set(document["edits"][0])
    assert said.err == ""


def test_a_conflict_is_exit_3(mini_repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mini_repo / "include/llama.h").write_text("gone\n", encoding="utf-8")
    assert cli.run(["apply", str(mini_repo)]) == 3
    assert "llama-ftype: include/llama.h: looked for" in capsys.readouterr().err


def test_the_reader_of_our_output_may_leave(mini_repo: Path) -> None:
    command = f"{sys.executable} -m patcher diff {mini_repo} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)  # noqa: S602 - a pipe is the point
    assert done.returncode == 0
    assert done.stdout.startswith("diff --git ")
    assert done.stderr == ""


def test_colors_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for value, colored in (("", True), ("1", False)):
        stream = Terminal()
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("NO_COLOR", value)
        ConsoleReporter(quiet=False, verbose=0).warn("text")
        assert ("\x1b[" in stream.getvalue()) is colored
        assert "text" in stream.getvalue()


def test_progress_is_drawn_on_a_terminal_only(capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleReporter(quiet=False, verbose=0).step("Working", total=2) as step:
        step.update(done=1, detail="half")
    assert capsys.readouterr().err == ""


def test_quiet_hides_notes_and_keeps_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = ConsoleReporter(quiet=True, verbose=0)
    reporter.note("a note")
    reporter.warn("a warning")
    assert capsys.readouterr().err == "warning: a warning\n"


def test_output_is_text_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    Output().emit({"a": 1}, "text")
    Output(json=True).emit(lambda: {"a": "ä"}, lambda: "text")
    assert capsys.readouterr().out == 'text\n{\n  "a": "ä"\n}\n'


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_help_waits_for_nothing_big(command: str) -> None:
    """What takes a tenth of a second to load is loaded by those who work, not by ``--help``."""
    script = (
        "import sys\n"
        f"from patcher import cli\ncli.run([{command!r}, '--help'])\n"
        "big = {'patcher.engine.patchset', 'patcher.engine.plan', 'patcher.symbols', 'jinja2', 'numpy', 'git', 'rich.console',"
        " 'tree_sitter', 'elftools'}\n"
        "print('LOADED', *sorted(big & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED"
