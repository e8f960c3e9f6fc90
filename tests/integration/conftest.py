"""Real llama.cpp and a real model: fetched once into the user's cache, built once for each patch set."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from patcher.base.cache import cache_dir
from patcher.engine.patchset import load
from patcher.engine.planning import make_plan
from patcher.engine.tree import CommitTree
from patcher.programs.q8a8_stats import TOOL
from patcher.source import fetch
from patcher.source.wheel import model_from_wheel
from tests.conftest import FIXTURES, git
from tests.programs import need

# npm release of node-llama-cpp -> the release of llama.cpp that it ships
RELEASES = {"3.22.1": "v0.5.0", "3.18.1": "b8390"}
NEWEST = "3.22.1"


def q8a8_patch(*arguments: str | Path, **keywords: Any) -> subprocess.CompletedProcess[str]:
    """The tool as users run it: a process of its own."""
    command = [sys.executable, "-m", "patcher", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **keywords)


def stock_tree(package: str) -> Path:
    """A checkout of upstream, shared by all tests and never written."""
    need("npm")  # real llama.cpp comes with a package of its registry
    home = cache_dir("tests", "trees")
    with FileLock(home / f"{package}.lock"):
        fetch(f"npm:node-llama-cpp@{package}", home / package)
    return home / package


@pytest.fixture(params=sorted(RELEASES), ids=RELEASES.get)
def stock(request: pytest.FixtureRequest) -> Path:
    """Upstream at each release in turn."""
    return stock_tree(request.param)


def copy_of(stock: Path, place: Path) -> Path:
    """A clone that a test may write in."""
    git(stock.parent, "clone", "-q", "--shared", "-c", "core.autocrlf=false", str(stock), str(place))
    return place


@pytest.fixture
def tree(stock: Path, tmp_path: Path) -> Path:
    """Upstream at each release in turn, to be written in."""
    return copy_of(stock, tmp_path / "llama.cpp")


@dataclass(frozen=True)
class Work:
    """What ``q8a8-patch run`` left: the checkout, the programs, its report."""

    tree: Path
    bin: Path
    report: dict[str, Any]

    def run(self, program: str, *arguments: str | Path, timeout: float = 1200) -> str:
        """Run one of the programs to its end; all that it says."""
        command = [str(self.bin / program), *map(str, arguments)]
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout[-2000:]}"
        return done.stdout


def _work(package: str) -> Work:
    """``run``, kept in the cache under the hash of what it would write: built anew when that changes."""
    stock = stock_tree(package)
    plan = make_plan(CommitTree(stock, "HEAD"), load())
    key = hashlib.sha256(plan.diff().encode("utf-8", "surrogateescape")).hexdigest()[:16]
    home = cache_dir("tests", "work")
    place = home / f"{package}-{key}"
    with FileLock(home / f"{package}.lock"):
        for old in home.glob(f"{package}-*"):
            if old != place:
                shutil.rmtree(old)
        done = q8a8_patch(
            "run",
            "--source",
            f"npm:node-llama-cpp@{package}",
            "--work",
            place,
            "--json",
        )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    return Work(place / "llama.cpp", place / "build" / "bin", report)


@pytest.fixture(scope="session")
def work() -> Work:
    """The newest release, patched, built, verified."""
    return _work(NEWEST)


@pytest.fixture(scope="session")
def tool(work: Work) -> Path:
    """The calibration program, which ``run`` builds beside llama.cpp's own."""
    place = work.bin / TOOL
    assert place.is_file()
    return place


_EACH = [
    # one build serves all tests; the other releases' builds are ci/matrix' and the weekly run's
    pytest.param(package, id=name, marks=[] if package == NEWEST else pytest.mark.exhaustive)
    for package, name in RELEASES.items()
]


@pytest.fixture(scope="session", params=_EACH)
def each_work(request: pytest.FixtureRequest) -> Work:
    """Each release, patched, built, verified."""
    return _work(request.param)


@pytest.fixture(scope="session")
def model() -> Path:
    """SmolLM2-135M as its package ships it (Q4_1)."""
    with FileLock(cache_dir("tests") / "model.lock"):
        return model_from_wheel()


@pytest.fixture(scope="session")
def f16(work: Work, model: Path) -> Path:
    """The model in F16, which everything is compared with."""
    place = cache_dir("tests") / "f16.gguf"
    with FileLock(place.with_suffix(".lock")):
        if not place.is_file():
            draft = place.with_suffix(".draft")
            work.run("llama-quantize", "--allow-requantize", model, draft, "F16")
            draft.replace(place)
    return place


@pytest.fixture(scope="session")
def quantized(work: Work, f16: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The model in a type by name, made once a session."""
    folder = tmp_path_factory.mktemp("quantized")

    def make(name: str) -> Path:
        place = folder / f"{name}.gguf"
        if not place.is_file():
            work.run("llama-quantize", f16, place, name)
        return place

    return make


@pytest.fixture(scope="session")
def text() -> Path:
    """A little English of our own, then its words at random: long enough for four chunks of 512 tokens."""
    return FIXTURES / "text.txt"


def environment(**values: str) -> dict[str, str]:
    """This process's environment with ``values``."""
    return os.environ | values
