"""docs/how-to/by-hand.md: what people did before there was a tool, as plain commands, each executed."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.conftest import git
from tests.integration.conftest import NEWEST, copy_of, environment, stock_tree
from tests.integration.test_model_files import small
from tests.pages import blocks, walk
from tests.programs import need

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "by-hand.md"
PROGRAMS = ("llama-quantize", "llama-perplexity", "llama-bench")


@pytest.mark.llama
@pytest.mark.slow
@pytest.mark.compiler
@pytest.mark.usefixtures("work")  # compiles first
def test_by_hand(model: Path, text: Path, tmp_path: Path) -> None:
    """The commands, not the figures: the model has two layers of random weights.

    Next to nothing is compiled: what ``run`` has compiled for the other tests is in the compiler's cache, to
    which one tree is like another where it lies beside its build, and both are written for Ninja.
    """
    need("cmake", "ninja", "awk")
    copy_of(stock_tree(NEWEST), tmp_path / "llama.cpp")
    small(model, tmp_path / "model.gguf")
    (tmp_path / "wikitext-2.txt").write_bytes(text.read_bytes())
    reader = environment(
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        CMAKE_GENERATOR="Ninja",
        CCACHE_BASEDIR=str(tmp_path),
        CCACHE_NOHASHDIR="1",
        LC_ALL="C",  # ccache tells compilers of one language from those of another
    )
    assert sum(1 for _ in walk(PAGE, tmp_path, reader)) == 6
    said = (tmp_path / "q8a8_bench.txt").read_text(encoding="utf-8")
    assert re.search(r"\bQ8_A8\b.*\bpp512\b", said), said
    assert not git(tmp_path / "llama.cpp", "status", "--short", "--", "build")


def test_every_step_of_the_older_guide_has_its_command() -> None:
    """Build, quantize, perplexity, benchmark, comparison: with the names that the guide used."""
    commands = "".join(block.text for block in blocks(PAGE.read_text(encoding="utf-8")) if block.is_shell)
    assert "-DCMAKE_BUILD_TYPE=Release" in commands
    assert all(program in commands for program in PROGRAMS)
    for name in ("fp16_ppl.txt", "q8a8_ppl.txt", "fp16_bench.txt", "q8a8_bench.txt"):
        assert commands.count(name) >= 2, f"{name}: written and compared"
    assert "model_q8a8.gguf Q8_A8" in commands
    assert "-p 512 -n 128" in commands
    assert "allow-shlib-undefined" in commands
    assert not re.search(r"(?<!no-)allow-shlib-undefined", commands)
