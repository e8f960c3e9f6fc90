"""Completion in the shells themselves: each reads its script and completes what is typed."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.programs import need

pytestmark = pytest.mark.system

PROGRAM = Path(sys.executable).parent / "q8a8-patch"
ENVIRONMENT = os.environ | {"PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}", "TERM": "dumb"}

TYPED = (
    (b"q8a8-patch ver", b"ify-symbols"),
    (b"q8a8-patch apply --dr", b"y-run"),
    (b"q8a8-patch gguf ret", b"ag"),
)


@pytest.fixture
def script(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The script for the shell that is asked for, as the tool prints it."""
    shell: str = request.param
    need(shell)
    done = subprocess.run([PROGRAM, "completion", shell], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    place = tmp_path / f"_q8a8-patch.{shell}"
    place.write_text(done.stdout, encoding="utf-8")
    return place


def lines(command: list[str], folder: Path) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=folder, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash(script: Path, tmp_path: Path) -> None:
    def complete(*words: str) -> list[str]:
        typed = " ".join(f"'{word}'" for word in words)
        asked = f'source "{script}"; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; '
        asked += '"$(complete -p q8a8-patch | sed "s/.*-F \\([^ ]*\\).*/\\1/")" q8a8-patch; printf "%s\\n" "${COMPREPLY[@]}"'
        # outside of a real completion compopt has nothing to set
        return lines(["bash", "-c", f"compopt() {{ :; }}; {asked}"], tmp_path)

    assert complete("q8a8-patch", "ver") == ["verify-symbols"]
    assert "apply" in complete("q8a8-patch", "")
    assert complete("q8a8-patch", "apply", "--dr") == ["--dry-run"]
    assert complete("q8a8-patch", "gguf", "re") == ["retag"]
    assert complete("q8a8-patch", "completion", "f") == ["fish"]


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish(script: Path, tmp_path: Path) -> None:
    def complete(typed: str) -> list[str]:
        asked = f"source '{script}'; complete -C '{typed}'"
        return [line.split("\t")[0] for line in lines(["fish", "--no-config", "-c", asked], tmp_path)]

    assert complete("q8a8-patch ver") == ["verify-symbols"]
    assert "apply" in complete("q8a8-patch ")
    assert complete("q8a8-patch apply --dr") == ["--dry-run"]
    assert complete("q8a8-patch completion z") == ["zsh"]


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh(script: Path, tmp_path: Path) -> None:
    """A terminal of its own: typed, then a tabulator; what stands there then is run by a program that tells."""
    folder = tmp_path / "functions"
    folder.mkdir()
    script.rename(folder / "_q8a8-patch")
    told = tmp_path / "told"
    (tmp_path / ".zshrc").write_text(
        f"fpath=('{folder}' $fpath)\nautoload -Uz compinit\ncompinit -u -D\nPS1='ready> '\n"
        f"accept() {{ print -r -- $BUFFER >> '{told}'; zle kill-whole-line }}\nzle -N accept\nbindkey '^X' accept\n",
        encoding="utf-8",
    )
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execvpe("zsh", ["zsh", "-i"], ENVIRONMENT | {"ZDOTDIR": str(tmp_path)})  # noqa: S606 - it is the shell
    try:
        _until(terminal, b"ready> ")
        # what the shell echoes is only what is missing; the second one found a fault of click's once
        for number, (typed, rest) in enumerate(TYPED, start=1):
            os.write(terminal, typed)
            _until(terminal, typed[-3:])
            os.write(terminal, b"\t")
            _until(terminal, rest)
            os.write(terminal, b"\x18")
            end = time.monotonic() + 90
            while not (told.exists() and told.read_text(encoding="utf-8").count("\n") == number):
                assert time.monotonic() < end
                time.sleep(0.05)
        os.write(terminal, b"exit\n")
    finally:
        os.close(terminal)
        os.waitpid(child, 0)
    assert [line.strip() for line in told.read_text(encoding="utf-8").splitlines()] == [
        "q8a8-patch verify-symbols",
        "q8a8-patch apply --dry-run",
        "q8a8-patch gguf retag",
    ]


def _until(terminal: int, wanted: bytes, seconds: float = 90) -> None:
    """Read what the shell writes until ``wanted`` is in it."""
    seen, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 65536)
        if wanted in seen:
            return
    raise AssertionError(f"no {wanted!r} in {seen[-500:]!r}")
