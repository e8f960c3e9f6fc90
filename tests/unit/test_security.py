"""Attacks of the threat model that no other test has: each must be able to succeed, and must not."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
import zlib
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from patcher import cli
from patcher.base.console import ConsoleReporter, Output
from patcher.base.errors import UsageError
from patcher.base.printable import harmless, harmless_json, markdown
from patcher.symbols.emulate.commands import Command, linker_arguments
from tests.conftest import git

EVIL = "\x1b]0;title\x07\x1b[2J\x1b[8mhidden\x9b31m\r\x08\u202etxt.exe\x7f"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def trap(tmp_path: Path) -> Callable[[], bool]:
    """A program, ``tmp_path/trap``, that must not be run; says whether it was."""
    program = tmp_path / "trap"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n", encoding="utf-8")
    program.chmod(0o755)
    return (tmp_path / "sprung").exists


def q8a8_patch(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "q8a8-patch"
    return subprocess.run(
        [str(program), *map(str, arguments)],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


# ---------------------------------------------------------------- what lies in the folder that we are in


@pytest.mark.parametrize(
    "verb", [["doctor", "--offline"], ["status", "."], ["fetch", "--source", "pypi:a==1", "out"]]
)
def test_modules_of_the_folder_are_not_imported(verb: list[str], mini_repo: Path, tmp_path: Path) -> None:
    for name in ("pip", "json", "platform", "click", "jinja2", "sitecustomize"):
        (mini_repo / f"{name}.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n", encoding="utf-8")
    q8a8_patch(*verb, cwd=mini_repo, PIP_NO_INDEX="1", Q8A8_PATCH_CACHE=str(tmp_path / "cache"))
    assert not (tmp_path / "sprung").exists()
    # and they would be, by a Python that looks there
    subprocess.run([sys.executable, "-m", "pip", "--version"], cwd=mini_repo, capture_output=True)
    assert (tmp_path / "sprung").exists()


def test_npm_takes_no_settings_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = tmp_path / "seen"
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\npwd >{seen}\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    project = tmp_path / "project"
    project.mkdir()
    (project / ".npmrc").write_text("registry=http://127.0.0.1:1/\n", encoding="utf-8")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    done = q8a8_patch(
        "fetch", "--source", "npm:a@1", "out", cwd=project, Q8A8_PATCH_CACHE=str(tmp_path / "cache")
    )
    assert done.returncode == 4
    assert Path(seen.read_text(encoding="utf-8").strip()) == tmp_path / "cache"


# ---------------------------------------------------------------- repositories


def test_a_submodule_that_names_a_monitor(mini_repo: Path, tmp_path: Path, trap: Callable[[], bool]) -> None:
    """Git looks into submodules with a process of its own, to which settings of the command don't reach."""
    inner = mini_repo / "inner"
    git(mini_repo, "init", "-q", str(inner))
    git(inner, "commit", "-q", "--allow-empty", "-m", "x")
    modules = '[submodule "inner"]\n\tpath = inner\n\turl = ./inner\n\tignore = none\n'
    (mini_repo / ".gitmodules").write_text(modules, encoding="utf-8")
    git(mini_repo, "add", "-A")
    git(mini_repo, "commit", "-qm", "submodule")
    git(mini_repo, "config", "submodule.inner.ignore", "none")
    git(inner, "config", "core.fsmonitor", str(tmp_path / "trap"))
    assert cli.run(["fetch", "--source", str(mini_repo), str(tmp_path / "out"), "-q"]) == 0
    assert cli.run(["apply", str(mini_repo), "--commit", "-q"]) == 0
    assert cli.run(["guard", "check", "--static", "--source", str(mini_repo), "-q"]) == 0
    assert not trap()
    git(mini_repo, "status")
    assert trap()


@pytest.mark.parametrize("path", ["../victim", "/victim", "ggml/../../victim"])
@pytest.mark.parametrize("place", ["applied/0001", "pending"])
def test_a_journal_that_leads_out(path: str, place: str, mini_repo: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    path = str(victim) if path == "/victim" else path
    folder = mini_repo / ".git/q8a8-patch/top" / place
    folder.mkdir(parents=True)
    (folder / "0.before").write_bytes(zlib.compress(b"evil"))
    entry = {
        "path": path, "before": sha256(b"evil").hexdigest(), "after": sha256(b"precious").hexdigest(),
        "cuts": [["x", 0, 4, b64encode(b"precious").decode()]],
    }  # fmt: skip
    manifest = {"format": 1, "tool": "x", "entries": [entry]}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    for verb in ("status", "apply", "revert"):
        cli.run([verb, str(mini_repo), "-q"])
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["", "/top", "/top/lock", "/top/pending", "/top/applied"])
def test_records_are_not_kept_behind_a_link(name: str, mini_repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("precious", encoding="utf-8")
    link = mini_repo / f".git/q8a8-patch{name}"
    link.parent.mkdir(exist_ok=True, parents=True)
    link.symlink_to(elsewhere / "file" if name.endswith("lock") else elsewhere)
    assert cli.run(["apply", str(mini_repo)]) == 2
    assert "is a symbolic link" in capsys.readouterr().err
    assert [path.read_text(encoding="utf-8") for path in elsewhere.iterdir()] == ["precious"]
    assert not git(mini_repo, "status", "--porcelain")


@pytest.mark.parametrize(
    "arguments",
    [
        ["fetch", "--source", "ext::sh -c touch% {trap}", "out"],
        ["fetch", "--source", "--upload-pack={trap}", "out"],
        ["fetch", "--source", ".", "--ref=--upload-pack={trap}", "out"],
        ["fetch", "--source", "-c core.sshCommand={trap}", "out"],
        ["fetch", "--source", "ssh://-oProxyCommand={trap}/x@HEAD", "out"],
        ["fetch", "--source", "-oProxyCommand={trap}@host:x@HEAD", "out"],
        ["audit", ".", "--ref=--output={trap}"],
        ["audit", ".", "--ref", "HEAD --output={trap}"],
        ["drift", ".", "--refs=--output={trap}"],
        ["drift", ".", "--refs", "--output={trap}..HEAD"],
        ["drift", ".", "--since=x --output={trap}"],
        ["guard", "check", "--source=--upload-pack={trap}"],
        ["guard", "check", "--ref=--upload-pack={trap}"],
        ["guard", "watch", "--upstream=ext::{trap}"],
        ["guard", "watch", "--upstream", ".", "--refs=--output={trap}"],
    ],
)  # fmt: skip
def test_options_in_arguments(
    arguments: list[str], mini_repo: Path, tmp_path: Path, trap: Callable[[], bool]
) -> None:
    filled = [argument.replace("{trap}", str(tmp_path / "trap")) for argument in arguments]
    before = (tmp_path / "trap").read_bytes()
    done = q8a8_patch(*filled, cwd=mini_repo, GIT_SSH_COMMAND="")
    if "--since=" not in arguments[-1]:  # git takes any text as a date
        assert done.returncode in (2, 4), done.stdout
        assert done.stderr.startswith("error: ")
        assert "Traceback" not in done.stderr
    assert not trap()
    assert (tmp_path / "trap").read_bytes() == before


# ---------------------------------------------------------------- terminals


def test_what_comes_from_others_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = ConsoleReporter(quiet=False, verbose=1)
    reporter.note(EVIL)
    reporter.warn(EVIL)
    Output().emit({}, EVIL)
    Output(json=True).emit({EVIL: EVIL}, "")
    said = capsys.readouterr()
    assert not RAW.search(said.err)
    text, document = said.out.split("\n", 1)
    assert not RAW.search(said.out)
    assert "\\u202e" in text
    assert json.loads(document) == {EVIL: EVIL}


def test_our_own_colours_pass() -> None:
    ours = "\x1b[31m\x1b[1merror:\x1b[0m \x1b[1;38;5;114mx\x1b[0m\n\ttext"
    assert harmless(ours) == ours
    assert harmless("\x1b[8m\x1b[5m\x1b[38;5;m") == "\\x1b[8m\\x1b[5m\\x1b[38;5;m"
    assert json.loads(harmless_json(json.dumps("\x9b\udc80", ensure_ascii=False))) == "\x9b\udc80"


def test_an_error_with_a_name_from_the_tree(mini_repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["fetch", "--source", f"{mini_repo}/{EVIL}"]) in (2, 4)
    assert cli.run(["status", f"{mini_repo}/\x1b[2J\udc80"]) == 2
    assert not RAW.search(
        capsys.readouterr().err.replace("\x1b[31m", "").replace("\x1b[1m", "").replace("\x1b[0m", "")
    )


LINES = "x\n::add-mask::y\r##[group]z\u2028\x1b[2J\u202e"


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["apply"], ["revert"], ["diff"], ["build"], ["audit"], ["drift"], ["verify-symbols"], ["evaluate", "-q"], ["evaluate", "run"],
     ["export", "-o"], ["gguf"], ["calibrate"], ["fetch", "--source"], ["guard", "check", "--source"],
     ["apply", "--type"], ["status", "--no-such"], ["verify-symbols", "--ignore"], ["smooth"], ["quantize"], ["type"]],
)  # fmt: skip
def test_an_error_is_one_line_whatever_the_name(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line end in a name would begin a line of its own, which a CI service takes as a command."""
    monkeypatch.chdir(tmp_path)
    assert cli.run([*arguments, LINES]) != 0
    said = capsys.readouterr()
    lines = [*said.err.splitlines(), *said.out.splitlines()]
    assert lines
    assert not [line for line in lines if line.lstrip().startswith(("::", "##["))]
    assert said.err.count("\n") == 1
    assert not RAW.search(re.sub(r"\x1b\[\d*m", "", said.err))


def test_errors_of_a_folder_with_lines_in_its_name(
    mini_repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a\n::add-mask::b"
    mini_repo.rename(folder)
    header = folder / "include/llama.h"
    header.write_text(
        header.read_text(encoding="utf-8").replace("enum llama_ftype {", "enum x {"), encoding="utf-8"
    )
    (folder / "c\n::set-output name=x::y.so").write_bytes(b"\x7fELF")
    for verb in (
        ["status"],
        ["apply"],
        ["diff"],
        ["audit"],
        ["verify-symbols"],
        ["guard", "check", "--static", "--source"],
    ):
        cli.run([*verb, str(folder)])
        said = capsys.readouterr()
        for line in (said.out + "\n" + said.err).splitlines():
            # guard's own annotations are commands, and name files in the form that commands have
            assert not re.match(r"\s*(::(?!error |warning |notice )|##\[)", line), (verb, line)


def test_names_in_markdown_are_inert() -> None:
    evil = "@me #12 [a](http://x) https://evil.example www.evil.example <img> `x` **b** |\n# h $x$ &amp; \\ ~~s~~"
    said = markdown(evil)
    assert "\n" not in said
    assert not re.search(r"[@<>\[\]`*|~$\\]|://|www\.|(?<!&)#\d", said)
    assert markdown("Q8_A8, 1.5 GB (97.3 %): yes") == "Q8_A8, 1.5 GB (97.3 %): yes"
    assert markdown("_a_") == "&#95;a&#95;"


def test_subjects_of_commits(mini_repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = mini_repo / "include/llama.h"
    header.write_text(
        header.read_text(encoding="utf-8").replace("enum llama_ftype {", "enum x { // \x1b[2J"),
        encoding="utf-8",
    )
    git(mini_repo, "commit", "-qam", "subject \x1b]0;x\x07\x9b2J")
    assert cli.run(["drift", str(mini_repo)]) == 1
    said = capsys.readouterr().out
    assert "subject" in said
    assert not RAW.search(said)


def test_a_diff_on_a_terminal(mini_repo: Path) -> None:
    header = mini_repo / "include/llama.h"
    text = header.read_text(encoding="utf-8")
    start = text.index("enum llama_ftype {") + len("enum llama_ftype {")
    header.write_text(f"{text[:start]} // \x1b]0;x\x07\n{text[start:]}", encoding="utf-8")
    anchor = re.search(r"^.*LLAMA_FTYPE_GUESSED.*$", text, re.MULTILINE)
    assert anchor
    header.write_text(text.replace(anchor[0], f"{anchor[0]} // \x1b]0;x\x07"), encoding="utf-8")
    program = Path(sys.executable).parent / "q8a8-patch"
    plain = subprocess.run([str(program), "diff", str(mini_repo)], capture_output=True).stdout
    assert b"\x1b]0;x\x07" in plain  # for git apply, the bytes
    master, slave = pty.openpty()
    with subprocess.Popen([str(program), "diff", str(mini_repo)], stdout=slave, stderr=slave, env=os.environ | {"NO_COLOR": "1"}) as child:  # fmt: skip
        os.close(slave)
        said = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            if not part:
                break
            said += part
        child.wait()
    os.close(master)
    assert b"\\x1b]0;x\\x07" in said
    assert b"\x1b]0;x" not in said


def test_names_are_no_markup_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file called ``a[/b].c`` would end a style that never began."""
    reporter = ConsoleReporter(quiet=False, verbose=0)
    monkeypatch.setattr(reporter, "_interactive", True)
    with reporter.step("Auditing [/x]", total=2) as step:
        step.update(done=1, detail="a[/b][link=https://example.com]x.c")


# ---------------------------------------------------------------- builds that came from others


def test_a_compiler_that_came_with_the_build_is_not_run(tmp_path: Path, trap: Callable[[], bool]) -> None:
    for name in ("g++", "bin/clang++-19"):
        place = tmp_path / "build" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((tmp_path / "trap").read_bytes())
        place.chmod(0o755)
        for program in (str(place), f"./{name}"):
            words = (program, *shlex.split("-o a.out a.o"))
            with pytest.raises(UsageError, match="none that is installed"):
                linker_arguments(Command(words, tmp_path / "build"))
    assert not trap()


# ---------------------------------------------------------------- the threat model itself

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_that_the_threat_model_names_is_there() -> None:
    page = (ROOT / "docs/explanation/threat-model.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 15
    for row in rows:
        file = ""
        names = re.findall(r"`(?:(test_\w+\.py)(?:::(\w+))?|(test_\w+))`", row.rsplit("|", 2)[1])
        assert names, row
        for name, function, alone in names:
            file = name or file
            texts = [place.read_text(encoding="utf-8") for place in (ROOT / "tests").rglob(file)]
            assert texts, file
            wanted = function or alone
            assert not wanted or any(f"def {wanted}(" in text for text in texts), (file, wanted)
