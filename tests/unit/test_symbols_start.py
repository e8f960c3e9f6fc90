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
