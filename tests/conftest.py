"""Fixtures for every test: trees to patch, and a cache that is not the user's."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parent / "fixtures"

# a job in the background of a script inherits that interruptions are ignored, one of nohup that hanging up is, and so
# would what tests interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Two workers run programs of two threads each on two processors: threads that spin for one another at every
# barrier take from those that they wait for, and llama-perplexity takes twice its time.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Exhaustive tests run where ``-m`` names them, and not otherwise."""
    if "exhaustive" not in (config.getoption("markexpr") or ""):
        left_out = [item for item in items if item.get_closest_marker("exhaustive")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture(scope="session", autouse=True)
def _isolated_git(tmp_path_factory: pytest.TempPathFactory, records_home: Path) -> Iterator[None]:
    """No test sees the user's git settings, and none needs an identity to be set up.

    For the session, so that what modules make once for all of their tests has an identity as well.
    """
    config = tmp_path_factory.mktemp("git") / "config"
    config.write_text("[user]\n\tname = Test\n\temail = test@localhost\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(records_home))
        patch.setenv("GIT_CONFIG_GLOBAL", str(config))
        patch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_disk_is_waited_for() -> Iterator[None]:
    """Nothing that a test writes has to outlive a power cut; a tenth of the tests' time was the disk's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def records_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this run's secret for records lies: not with the user's, and one for all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    """A pocket-sized tree with all the shapes that the edits look for; not a repository."""
    tree = tmp_path / "mini"
    shutil.copytree(FIXTURES / "mini", tree)
    return tree


@pytest.fixture
def mini_repo(mini: Path) -> Path:
    """The pocket-sized tree as a git checkout with one commit."""
    git(mini, "init", "-q", "-b", "main")
    git(mini, "add", "-A")
    git(mini, "commit", "-qm", "base")
    return mini


@pytest.fixture
def forked(mini_repo: Path) -> Path:
    """Two releases, tagged, the later one with changes right where the type goes; a branch on the first."""
    git(mini_repo, "tag", "r1")
    for name, old, new in (
        (
            "ggml/src/ggml-cpu/ops.cpp",
            "case GGML_TYPE_Q8_0:\n        case GGML_TYPE_Q2_0:",
            "case GGML_TYPE_Q8_0:\n        case GGML_TYPE_Q1_0:",
        ),
        (
            "gguf-py/gguf/constants.py",
            "class GGMLQuantizationType(IntEnum):\n",
            "class GGMLQuantizationType(IntEnum):\n    # numbers\n",
        ),
        ("include/llama.h", "enum llama_ftype {", "// file types\nenum llama_ftype {"),
    ):
        place = mini_repo / name
        text = place.read_text(encoding="utf-8")
        assert old in text, name
        place.write_text(text.replace(old, new), encoding="utf-8")
    (mini_repo / "new.txt").write_text("of the second release\n", encoding="utf-8")
    git(mini_repo, "add", "-A")
    git(mini_repo, "commit", "-qm", "second release")
    git(mini_repo, "tag", "r2")
    git(mini_repo, "checkout", "-qb", "work", "r1")
    return mini_repo


def git(folder: Path, *arguments: str) -> str:
    """Run git for a test and return what it prints."""
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def worktree_tree(repo: Path) -> str:
    """Git's own hash of a work tree as it is, new files included; the index is not touched."""
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"GIT_INDEX_FILE": f"{folder}/index"}
        for words in (["read-tree", "HEAD"], ["add", "--all", "."]):
            subprocess.run(["git", *words], cwd=repo, env=env, capture_output=True, check=True)
        done = subprocess.run(["git", "write-tree"], cwd=repo, env=env, capture_output=True, check=True)
    return done.stdout.decode().strip()


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file of a tree by its path, the .git folder left out."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }
