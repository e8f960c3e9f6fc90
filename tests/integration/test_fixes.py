"""The fix of AMX's tile configuration on real llama.cpp: what GCC makes of it, without and with."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

import pytest

from patcher.build.toolchain import require_compiler
from patcher.engine import build_fixes, transaction
from patcher.engine.patchset import load
from patcher.engine.plan import State
from tests.integration.conftest import NEWEST, RELEASES, q8a8_patch

pytestmark = [
    pytest.mark.compiler,
    pytest.mark.llama,
    pytest.mark.network,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="AMX is of x86-64"),
]
NAME = "amx-tile-config"
FLAGS = "-O3 -std=c++17 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c -mamx-tile -mamx-int8"


def stores(tree: Path) -> int:
    """How many instructions store to bytes 16 to 63 of what ldtilecfg reads."""
    cpu = tree / "ggml/src/ggml-cpu"
    command = [
        require_compiler("CXX"),
        *FLAGS.split(),
        f"-I{cpu}",
        f"-I{cpu.parent}",
        f"-I{tree / 'ggml/include'}",
    ]
    command += ["-S", "-o", "-", str(cpu / "amx/mmq.cpp")]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    (at,) = (number for number, line in enumerate(lines) if "ldtilecfg" in line)
    place = re.search(r"ldtilecfg\s+(-?\d*)\((%\w+)\)", lines[at])
    assert place, lines[at]
    base, register = int(place[1] or 0), re.escape(place[2])
    begin = max(number for number, line in enumerate(lines[:at]) if "ggml_tile_config_init" in line)
    wrote = [re.search(rf"\tv?mov\w*\s+[^,]+, (-?\d*)\({register}\)$", line) for line in lines[begin:at]]
    return sum(16 <= int(found[1] or 0) - base < 64 for found in wrote if found)


@pytest.mark.parametrize(
    "stock", [NEWEST], ids=RELEASES.get, indirect=True
)  # AMX's file takes long to compile
def test_the_configuration_reaches_memory(tree: Path) -> None:
    fix = build_fixes.find(NAME)
    assert fix.probe is not None
    fails = fix.probe.fails(require_compiler("CXX"))
    if fails is None:
        pytest.skip(f"{require_compiler('CXX')} doesn't compile for AMX")
    assert (stores(tree) == 0) == fails, "the probe says of the compiler what upstream's own file shows"
    assert fix.state(transaction.tree_at(tree), load()) is State.MISSING
    before = (tree / "ggml/src/ggml-cpu/amx/mmq.cpp").read_bytes()
    applied = q8a8_patch("apply", tree, "--with-fix", NAME)
    assert applied.returncode == 0, applied.stderr
    assert stores(tree) > 0
    assert q8a8_patch("apply", tree, "--with-fix", NAME).stdout.endswith("nothing to write\n")
    assert q8a8_patch("revert", tree).returncode == 0
    assert (tree / "ggml/src/ggml-cpu/amx/mmq.cpp").read_bytes() == before
