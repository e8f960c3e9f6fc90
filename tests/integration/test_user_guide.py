"""docs/how-to/by-hand.md: what people did before there was a tool, as plain commands, each executed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from patcher.base.cache import cache_dir
from patcher.engine.patchset import load
from patcher.engine.planning import make_plan
from patcher.engine.tree import CommitTree
from tests.conftest import git
from tests.integration.conftest import NEWEST, copy_of, stock_tree
from tests.pages import blocks, walk
from tests.programs import need

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "by-hand.md"
PROGRAMS = ("llama-quantize", "llama-perplexity", "llama-bench")


@pytest.mark.llama
@pytest.mark.slow
@pytest.mark.compiler
def test_by_hand(f16: Path, text: Path) -> None:
    """In one place for each patch set, so that the compiler's cache knows the files of the last time."""
    need("cmake", "make", "awk")
    stock = stock_tree(NEWEST)
    plan = make_plan(CommitTree(stock, "HEAD"), load())
    key = hashlib.sha256(plan.diff().encode("utf-8", "surrogateescape")).hexdigest()[:16]
    home = cache_dir("tests", "by-hand")
    folder = home / key
    with FileLock(home / ".lock"):
        for old in home.iterdir():
            if old.is_dir():
                shutil.rmtree(old)
        folder.mkdir()
        copy_of(stock, folder / "llama.cpp")
        (folder / "model.gguf").symlink_to(f16)
        (folder / "wikitext-2.txt").write_bytes(text.read_bytes())
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        assert sum(1 for _ in walk(PAGE, folder, os.environ | {"PATH": path})) == 6
        said = (folder / "q8a8_bench.txt").read_text(encoding="utf-8")
        assert re.search(r"\bQ8_A8\b.*\bpp512\b", said), said
        assert not git(folder / "llama.cpp", "status", "--short", "--", "build")
        shutil.rmtree(folder / "build")


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
