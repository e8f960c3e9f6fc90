"""The documented example of a type of one's own, on real llama.cpp: placed, compiled, bit by bit as in Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import worktree_tree
from tests.integration.conftest import NEWEST, copy_of, environment, q8a8_patch, stock_tree
from tests.pages import walk

Q6_X = Path(__file__).parents[2] / "docs" / "examples" / "q6_x" / "q6_x.toml"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "own-type.md"
DOT = Path(__file__).parent / "own_type" / "dot.c"
pytestmark = [pytest.mark.llama, pytest.mark.network]

# gguf-py against the library: prints how many bytes and weights differ, and how many there are
COMPARE = """
import ctypes, sys
import numpy as np
import gguf
library = ctypes.CDLL(sys.argv[1])
kind = gguf.GGMLQuantizationType.Q6_X
library.ggml_quantize_chunk.restype = ctypes.c_size_t
rows = np.random.default_rng(1).standard_normal((40, 1536)).astype(np.float32)
rows[3] = 0
rows[4] *= 1e-6
rows[5] *= 1e4
python = gguf.quants.quantize(rows, kind)
mine = np.zeros_like(python)
floats = ctypes.POINTER(ctypes.c_float)
size = library.ggml_quantize_chunk(
    ctypes.c_int(kind.value), rows.ctypes.data_as(floats), mine.ctypes.data_as(ctypes.c_void_p),
    ctypes.c_int64(0), ctypes.c_int64(rows.shape[0]), ctypes.c_int64(rows.shape[1]), None,
)
assert size == mine.size, (size, mine.size)
back = np.zeros_like(rows)
library.dequantize_row_q6_x(
    mine.ctypes.data_as(ctypes.c_void_p), back.ctypes.data_as(floats), ctypes.c_int64(rows.size)
)
again = gguf.quants.dequantize(python, kind)
print((python != mine).sum(), (back != again).sum(), mine.size)
"""


def test_the_example_is_placed_and_taken_back_beside_the_type_that_ships(tree: Path) -> None:
    before = worktree_tree(tree)
    assert q8a8_patch("apply", tree).returncode == 0
    with_one = worktree_tree(tree)
    done = q8a8_patch("apply", tree, "--type", Q6_X, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["type"] == "Q6_X"
    assert {edit["id"] for edit in report["edits"] if edit["state"] == "not-needed"} == set()
    assert {edit["state"] for edit in report["edits"]} <= {"applied", "not-needed"}
    assert q8a8_patch("audit", tree, "--type", Q6_X, "--fail-on-new").returncode == 0
    refused = q8a8_patch("revert", tree, "--type", "q8_a8")
    assert refused.returncode == 6
    assert "q6_x was applied after q8_a8" in refused.stderr
    assert q8a8_patch("revert", tree, "--type", Q6_X).returncode == 0
    assert worktree_tree(tree) == with_one
    assert q8a8_patch("revert", tree).returncode == 0
    assert worktree_tree(tree) == before


def test_the_page_that_explains_it(tmp_path: Path) -> None:
    copy_of(stock_tree(NEWEST), tmp_path / "llama.cpp")
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    walked = list(walk(PAGE, tmp_path, environment(PATH=programs)))
    assert sum(block.is_shell for block, _ in walked) == 6
    # what the page shows is what is tested here, and what readers copy
    for path in Q6_X.parent.iterdir():
        text = path.read_text(encoding="utf-8")
        shown = (tmp_path / "q6_x" / path.name).read_text(encoding="utf-8")
        assert shown == text.removeprefix("#:schema ../../../patches/type.schema.json\n\n"), path.name


@pytest.mark.compiler
def test_the_example_computes_what_it_says(tmp_path: Path) -> None:
    tree = copy_of(stock_tree(NEWEST), tmp_path / "llama.cpp")
    assert q8a8_patch("apply", tree, "--type", Q6_X).returncode == 0
    # the library that holds the reference: nine files, where the whole has 130
    done = q8a8_patch("build", tree, "--build-dir", tmp_path / "build", "--target", "ggml-base", "--json")
    assert done.returncode == 0, done.stderr
    library = tmp_path / "build" / "bin" / "libggml-base.so"

    python = subprocess.run(
        [sys.executable, "-c", COMPARE, library],
        capture_output=True, text=True, env=environment(PYTHONPATH=str(tree / "gguf-py")),
    )  # fmt: skip
    assert python.returncode == 0, python.stderr
    bytes_differ, weights_differ, size = map(int, python.stdout.split())
    assert size == 40 * 1536 // 64 * 50
    assert (bytes_differ, weights_differ) == (0, 0)

    source = tree / "ggml" / "src"
    compiler = os.environ.get("CC") or shutil.which("cc") or "gcc"
    built = subprocess.run(
        [
            compiler, "-O2", "-std=gnu11", "-ffunction-sections", "-I", tree / "ggml" / "include", "-I", source,
            "-I", source / "ggml-cpu", DOT, source / "ggml-cpu" / "quants.c", "-Wl,--gc-sections",
            library, f"-Wl,-rpath,{library.parent}", "-lm", "-o", tmp_path / "dot",
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    said = subprocess.run([tmp_path / "dot"], capture_output=True, text=True, check=True).stdout
    dot, worst, rmse = map(float, said.split())
    assert dot < 1e-6  # of the sum of the products' magnitudes
    assert worst < 1.02  # of a step: the end opposite the extreme is cut off; the rest is f16's rounding
    assert rmse < 0.31  # of a step: 1/sqrt(12) is what rounding alone costs
