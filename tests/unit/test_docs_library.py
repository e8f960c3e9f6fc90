"""The program on the page about the library runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.elf_files import Elf
from tests.pages import blocks

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "library.md"


def test_the_program_runs(
    mini_repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(mini_repo, tmp_path / "llama.cpp")
    (program,) = [
        block.text for block in blocks(PAGE.read_text(encoding="utf-8")) if block.language == "python"
    ]
    exec(program, {})  # noqa: S102 - ours
    assert "build/bin" in capsys.readouterr().out  # what isn't there is an error of ours
    Elf(soname="libx.so").write(tmp_path / "build" / "bin" / "libx.so")
    exec(program, {})  # noqa: S102 - ours
    assert "'objects': 1" in capsys.readouterr().out
