"""The edit that makes attention's tile faster: the same bits as upstream's own, on real llama.cpp."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from patcher.base.machine import cpu_flags
from patcher.engine import build_fixes
from patcher.engine.patchset import load
from patcher.engine.planning import make_plan
from patcher.engine.tree import WorkTree
from tests.integration.conftest import Work, environment
from tests.integration.test_kernels import HERE, native
from tests.integration.test_kernels_build import relinked

pytestmark = [pytest.mark.network, pytest.mark.compiler, pytest.mark.llama, pytest.mark.slow]
NAME = "fast-attention-tile"
OPS = "ggml/src/ggml-cpu/ops.cpp"


@pytest.fixture(scope="module")
def program(work: Work, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Computes attention with whatever CPU library it finds, and prints a hash of the bits."""
    place = tmp_path_factory.mktemp("attention") / "attention"
    command = [native(), "-std=c++17", "-O2", str(HERE / "attention.cpp"), "-o", str(place)]
    command += ["-I", str(work.tree / "ggml/include"), "-L", str(work.bin), f"-Wl,-rpath,{work.bin}"]
    done = subprocess.run([*command, "-lggml-cpu", "-lggml-base"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return place


def library_with(work: Work, folder: Path, *, break_it: bool = False) -> Path:
    """The folder of a CPU library whose operators have the edits."""
    made = make_plan(WorkTree(work.tree), build_fixes.with_fixes(load(), [NAME]))
    assert not made.conflicts
    for file in made.files:
        if file.path in (OPS, "ggml/src/ggml-cpu/vec.h"):
            text = file.after().decode("utf-8")
            if break_it:
                text = text.replace("fours[i + 4], 0x31", "fours[i + 4], 0x20")
            (folder / Path(file.path).name).write_text(text, encoding="utf-8")
    (entry,) = (
        entry
        for entry in json.loads((work.bin.parent / "compile_commands.json").read_text(encoding="utf-8"))
        if entry["file"].endswith(OPS)
    )
    command = shlex.split(entry["command"])
    command[command.index("-o") + 1] = str(folder / "ops.o")
    command[command.index(entry["file"])] = str(folder / "ops.cpp")
    command += ["-I", str(Path(entry["file"]).parent)]
    done = subprocess.run(command, cwd=entry["directory"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return relinked(work, folder, {"ops.cpp.o": folder / "ops.o"})


def bits(program: Path, libraries: Path | None = None) -> str:
    env = environment(**({"LD_LIBRARY_PATH": str(libraries)} if libraries else {}))
    done = subprocess.run([program, "1"], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_same_bits(work: Work, program: Path, tmp_path: Path) -> None:
    if not {"avx2", "f16c"} <= cpu_flags():
        pytest.skip("needs a CPU with AVX2 and F16C")
    upstream = bits(program)
    assert upstream.count("\n") == 5
    assert bits(program, library_with(work, tmp_path)) == upstream


def test_the_test_sees_what_is_broken(work: Work, program: Path, tmp_path: Path) -> None:
    if not {"avx2", "f16c"} <= cpu_flags():
        pytest.skip("needs a CPU with AVX2 and F16C")
    assert bits(program, library_with(work, tmp_path, break_it=True)) != bits(program)


def test_where_there_is_no_tile_nothing_is_needed(work: Work) -> None:
    fix = build_fixes.find(NAME)
    assert fix.probe is None
    assert not fix.is_met_by(native())
    assert fix.state(WorkTree(work.tree), load()).value == "missing"
