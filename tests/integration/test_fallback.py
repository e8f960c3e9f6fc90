"""A backend that doesn't know the type leaves it to the CPU: shown with a pretended device in ggml's scheduler."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import Work

pytestmark = [pytest.mark.llama, pytest.mark.network, pytest.mark.compiler, pytest.mark.slow]
SOURCE = Path(__file__).parent / "fallback" / "fallback.cpp"


def test_what_a_device_does_not_know_is_computed_by_the_cpu(work: Work, tmp_path: Path) -> None:
    program = tmp_path / "fallback"
    command = ["g++", "-std=c++17", "-O1", "-o", str(program), str(SOURCE)]
    command += [f"-I{work.tree / folder}" for folder in ("ggml/include", "ggml/src")]
    command += [f"-L{work.bin}", "-lggml", "-lggml-cpu", "-lggml-base", f"-Wl,-rpath,{work.bin}"]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[:3000]
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    said = {
        name: (int(known), int(unknown), float(worst))
        for name, known, unknown, worst in re.findall(
            r"(\w+): device computed (\d+) known, (\d+) unknown, difference (\S+)", done.stdout
        )
    }
    assert said["honest"][:2] == (1, 0)
    assert said["honest"][2] < 1e-3
    # had it claimed to know the type, the result would have been garbage: the test can tell
    assert said["claimed"][:2] == (1, 1)
    assert said["claimed"][2] > 1
