"""Our bounds are true: with every dependency at its oldest, the tool does its work."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.network

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An environment with the lower bounds; runs its q8a8-patch."""
    if sys.version_info >= (3, 12):
        pytest.skip("the oldest numpy that we allow has no wheel for this Python")
    home = tmp_path_factory.mktemp("oldest")
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, str(home)], check=True)
    install = [
        *uv,
        "pip",
        "install",
        "-q",
        "--python",
        str(home / "bin/python"),
        "--resolution",
        "lowest-direct",
    ]
    done = subprocess.run([*install, str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [str(home / "bin/q8a8-patch"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True)

    listed = subprocess.run(
        [*uv, "pip", "list", "--python", str(home / "bin/python")], capture_output=True, text=True
    )
    there = dict(re.findall(r"^(\S+)\s+(\d\S*)", listed.stdout.lower(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for one in map(Requirement, project["dependencies"]):
        if one.marker is None or one.marker.evaluate():  # or it isn't for this system or Python
            (bound,) = one.specifier
            assert there[one.name.lower()].startswith(bound.version), (one, there[one.name.lower()])
    return run


def test_the_oldest_versions_do_the_work(oldest: Run, mini_repo: Path, tmp_path: Path) -> None:
    for arguments in (
        ("--version",),
        ("guard", "check", "--static", "--source", mini_repo),
        ("export", mini_repo, "-o", tmp_path / "series"),
        ("apply", mini_repo),
        ("status", mini_repo),
        ("audit", mini_repo, "--fail-on-new"),
        ("drift", mini_repo),
        ("revert", mini_repo),
        ("verify-symbols", sys.executable),
        ("doctor", "--offline"),
    ):
        done = oldest(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)


def test_nothing_that_is_installed_contradicts() -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
