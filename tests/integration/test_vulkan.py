"""A GPU's backend that nothing of ours touches, run on Mesa's software device: it computes a Q8_A8 file as Q8_0."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import NEWEST, q8a8_patch
from tests.programs import need

pytestmark = [
    pytest.mark.network,
    pytest.mark.compiler,
    pytest.mark.llama,
    pytest.mark.slow,
    pytest.mark.exhaustive,  # a thousand shaders are compiled
]
TARGETS = ("llama-perplexity", "test-backend-ops")
# without a name upstream takes GPUs alone, and Mesa's device is a processor
DEVICE = {"GGML_VK_VISIBLE_DEVICES": os.environ.get("GGML_VK_VISIBLE_DEVICES", "0")}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a build with Vulkan, by the command that users type."""
    need("glslc", "npm", "vulkaninfo")
    said = subprocess.run(["glslc", "--version"], capture_output=True, text=True).stdout
    version = re.search(r"shaderc v?(\d{4})", said)
    if version is None or int(version[1]) < 2024:
        pytest.skip(f"glslc: upstream's shaders want one of 2024 or later, found {said.splitlines()[:1]}")
    devices = subprocess.run(["vulkaninfo", "--summary"], capture_output=True, text=True).stdout
    if "deviceName" not in devices:
        pytest.skip("vulkaninfo: names no device (Mesa's software device is mesa-vulkan-drivers)")
    where = os.environ.get("VULKAN_CMAKE_ARGS", "").split()  # where newer headers and a newer glslc are
    work = tmp_path_factory.mktemp("vulkan")
    options = [f"--cmake-arg={word}" for word in ("-DGGML_VULKAN=ON", *where)]
    options += [word for target in TARGETS for word in ("--target", target)]
    done = q8a8_patch("run", "--source", f"npm:node-llama-cpp@{NEWEST}", "--work", work, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert shutil.which("llama-perplexity", path=str(work / "build/bin")) is not None
    return work / "build/bin"


def test_the_answer_is_that_of_q8_0(programs: Path, quantized: Callable[[str], Path], text: Path) -> None:
    """Equal to the last digit: the device was given the same shaders and the same bytes."""
    found = {}
    for name in ("Q8_0", "Q8_A8"):
        command = [programs / "llama-perplexity", "-m", quantized(name), "-f", text, "-ngl", "99", "-v"]
        command += ["-c", "64", "-b", "64", "--chunks", "1"]
        done = subprocess.run(
            [*map(str, command)], capture_output=True, text=True, timeout=3600, env=os.environ | DEVICE
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said[-3000:]
        held = re.findall(r"Vulkan0\S* model buffer size =\s+(\d+\.\d+) MiB", said)
        assert max(map(float, held), default=0) > 30, said[-3000:]
        found[name] = re.findall(r"Final estimate: PPL = (\d+\.\d+)", said)
    assert found["Q8_A8"] == found["Q8_0"] != []


def test_its_operators_pass_upstreams_test(programs: Path) -> None:
    """A tensor that is made as Q8_A8 is refused by the device, which is an answer; Q8_0's products pass."""
    command = [str(programs / "test-backend-ops"), "test", "-b", "Vulkan0", "-o", "MUL_MAT"]
    for name, computed in (("q8_0", True), ("q8_a8", False)):
        words = [*command, "-p", f"type_a={name},type_b=f32,m=16,n=1,k=256,"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=3600, env=os.environ | DEVICE)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said[-3000:]
        assert "FAIL" not in said, said[-3000:]
        assert ("OK" in re.sub(r"\x1b\[\d+m", "", said)) or not computed, said[-3000:]
        if not computed:
            assert "not supported" in said, said[-3000:]
