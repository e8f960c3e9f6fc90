"""The short way into verify-symbols says what the long way says, and leaves the rest to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from patcher import __version__, cli, start
from tests.elf_files import Elf


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Elf(soname="libx.so", uses=["gone", "_Z3goni", "maybe?"]).write(tmp_path / "bin" / "libx.so")
    Elf(soname="liby.so", defines=["y"]).write(tmp_path / "bin" / "liby.so")
    return tmp_path / "bin"


@pytest.mark.parametrize("options", [[], ["-q"], ["--quiet"], ["--json"], ["--json", "-q"]])
@pytest.mark.parametrize("name", ["", "libx.so", "liby.so"])
def test_both_ways_say_the_same(
    folder: Path, options: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["verify-symbols", *options, str(folder / name)]
    code = start.in_a_hurry(arguments)
    short = capsys.readouterr()
    assert cli.run(arguments) == code == (0 if name == "liby.so" else 1)
    assert capsys.readouterr() == short
    assert "\x1b" not in short.out


@pytest.mark.parametrize("arguments", [
    [], ["--help"], ["doctor"], ["verify-symbols"], ["verify-symbols", "--help"], ["verify-symbols", "-v", "@"],
    ["verify-symbols", "--format", "sarif", "@"], ["verify-symbols", "/no/such/file"], ["verify-symbols", __file__],
    ["verify-symbols", "--jso", "@"],
])  # fmt: skip
def test_what_goes_the_long_way(
    folder: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert start.in_a_hurry([str(folder) if word == "@" else word for word in arguments]) is None
    assert capsys.readouterr() == ("", "")


def test_no_option_parser_is_loaded(folder: Path) -> None:
    code = (
        "import sys; from patcher import start; print(start.in_a_hurry(sys.argv[1:]));"
        " print(sorted({'click', 'dataclasses', 'inspect', 'rich', 'ctypes', 'tree_sitter'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "verify-symbols", "-q", str(folder / "liby.so")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["0", "[]"], done


def test_the_process_ends_with_the_verdict(folder: Path) -> None:
    command = [sys.executable, "-m", "patcher", "verify-symbols", "--json", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.endswith("}\n")
    version = subprocess.run(
        [sys.executable, "-m", "patcher", "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout == f"q8a8-patch, version {__version__}\n"


def elfproof(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = "import sys; from patcher.start import elfproof; elfproof()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_name_of_its_own(folder: Path) -> None:
    """The same answers as verify-symbols gives, by the short way and the long one; its own name in all it says."""
    for options in ([], ["--json"], ["-v"], ["--format", "gitlab"]):
        command = [sys.executable, "-m", "patcher", "verify-symbols", *options, str(folder)]
        theirs = subprocess.run(command, capture_output=True, text=True)
        ours = elfproof(*options, folder)
        assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
    assert elfproof("--version").stdout == f"elfproof, version {__version__}\n"
    said = elfproof("--help").stdout
    assert said.startswith("Usage: elfproof [OPTIONS] [PATHS]...")
    assert "elfproof ./build/bin" in said
    assert "q8a8-patch" not in said
    wrong = elfproof("--no-such", folder)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "(see 'elfproof --help')" in wrong.stderr
    assert elfproof(folder / "nothing").returncode == 2
    assert elfproof("--explain", "too-new").returncode == 0
