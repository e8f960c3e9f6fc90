"""The patch engine on real llama.cpp: whole, refused whole, interrupted, taken back."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from patcher import cli
from patcher.engine.patchset import NEW_FILE, Edit, load
from patcher.engine.plan import State
from patcher.engine.planning import make_plan
from patcher.engine.tree import WorkTree
from patcher.engine.tree_record import PLACE
from tests.breaking import gone, place_of
from tests.conftest import git, worktree_tree
from tests.integration.conftest import RELEASES, copy_of, q8a8_patch, stock_tree

pytestmark = [pytest.mark.llama, pytest.mark.network]
PATCHSET = load()


def test_apply_apply_revert_gives_the_same_tree(tree: Path) -> None:
    before = worktree_tree(tree)
    first = q8a8_patch("apply", tree, "--json")
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    assert {edit["state"] for edit in report["edits"]} <= {"applied", "not-needed"}
    after = worktree_tree(tree)
    assert after != before
    second = q8a8_patch("apply", tree)
    assert "there already" in second.stdout
    assert worktree_tree(tree) == after
    assert json.loads(q8a8_patch("status", tree, "--json").stdout)["state"] == "applied"
    assert q8a8_patch("revert", tree).returncode == 0
    assert worktree_tree(tree) == before
    assert git(tree, "status", "--porcelain", "--ignored") == ""


def test_diff_and_export_give_what_apply_gives(tree: Path, tmp_path: Path) -> None:
    diff = q8a8_patch("diff", tree)
    (tmp_path / "plan.diff").write_text(diff.stdout, encoding="utf-8")
    exported = [q8a8_patch("export", tree, "-o", tmp_path / name) for name in ("one", "two")]
    assert [done.returncode for done in exported] == [0, 0]
    series = sorted((tmp_path / "one").iterdir())
    assert [path.read_bytes() for path in series] == [
        path.read_bytes() for path in sorted((tmp_path / "two").iterdir())
    ]
    q8a8_patch("apply", tree)
    (tree / PLACE).unlink()  # the record is this tree's own, and no part of a series for others
    wanted = worktree_tree(tree)
    git(tree, "checkout", "-q", ".")
    git(tree, "clean", "-qfd")
    git(tree, "apply", str(tmp_path / "plan.diff"))
    assert worktree_tree(tree) == wanted
    git(tree, "checkout", "-q", ".")
    git(tree, "clean", "-qfd")
    git(tree, "am", "-q", *map(str, series))
    assert worktree_tree(tree) == wanted


@pytest.fixture(scope="module", params=sorted(RELEASES), ids=RELEASES.get)
def broken_tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of(stock_tree(request.param), tmp_path_factory.mktemp("broken") / "llama.cpp")


@pytest.mark.parametrize("edit", PATCHSET.edits, ids=lambda edit: edit.id)
def test_an_anchor_that_is_gone_refuses_it_all(
    edit: Edit, broken_tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = place_of(edit, broken_tree)
    if name is None:
        assert edit.unless_missing, "a required edit has no file in a supported release"
        return
    path = broken_tree / name
    whole = path.read_bytes()
    if edit.kind == NEW_FILE:
        path.unlink()
        name = edit.files[0]
    else:
        text, count = re.subn(gone(edit), "GONE", whole.decode())
        if edit.when and not re.search(edit.when, text):
            return  # what made it needed is gone with it
        assert count, "the test took nothing away"
        path.write_text(text, encoding="utf-8")
    try:
        before = worktree_tree(broken_tree)
        if edit.optional is not None:  # a note, and the type goes in without it
            plan = make_plan(WorkTree(broken_tree), PATCHSET)
            assert {one.edit.id for one in plan.edits if one.state is State.UNPLACED} >= {edit.id}
            return
        assert cli.run(["apply", str(broken_tree)]) == 3
        said = capsys.readouterr().err
        assert f"{edit.id}: {name}: looked for" in said
        assert worktree_tree(broken_tree) == before
    finally:
        path.write_bytes(whole)


def test_all_conflicts_are_named_at_once(tree: Path) -> None:
    for name, old in (
        ("ggml/include/ggml.h", "enum ggml_type {"),
        ("include/llama.h", "enum llama_ftype {"),
        ("ggml/src/ggml-cpu/ops.cpp", "case GGML_TYPE_Q8_0"),
    ):
        path = tree / name
        path.write_text(path.read_text(encoding="utf-8").replace(old, "GONE"), encoding="utf-8")
    done = q8a8_patch("apply", tree)
    assert done.returncode == 3
    for edit in ("ggml-type", "llama-ftype", "cpu-ops"):
        assert f"{edit}: " in done.stderr
    assert "known to work: " in done.stderr


def test_a_kill_in_the_middle_of_the_writing(stock: Path, tmp_path: Path) -> None:
    """SIGKILL as soon as the first file has changed; what the next commands see is never half a tree."""
    whole, tree = copy_of(stock, tmp_path / "whole"), copy_of(stock, tmp_path / "tree")
    before = worktree_tree(tree)
    assert q8a8_patch("apply", whole).returncode == 0
    wanted = worktree_tree(whole)
    manifest = tree / ".git" / "q8a8-patch" / "top" / "pending" / "record"
    killed = 0
    for _ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-m", "patcher", "apply", str(tree)], stderr=subprocess.PIPE
        )
        while child.poll() is None and not manifest.exists():
            time.sleep(0.0005)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        killed += manifest.exists()
        healed = q8a8_patch("revert", tree)  # takes it back, or says that it was already
        assert healed.returncode in (0, 2), healed.stderr
        assert worktree_tree(tree) == before
    assert killed, "no kill hit the writing: the test proves nothing"
    assert q8a8_patch("apply", tree).returncode == 0
    assert worktree_tree(tree) == wanted
    assert q8a8_patch("revert", tree).returncode == 0
    assert worktree_tree(tree) == before


def test_two_runs_at_once_on_one_tree(tree: Path) -> None:
    command = [sys.executable, "-m", "patcher", "apply", str(tree)]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"
    ]
    said = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert sorted("there already" in out for out, _ in said) == [False, True]
    assert json.loads(q8a8_patch("status", tree, "--json").stdout)["state"] == "applied"


def test_line_endings_are_kept(stock: Path, tmp_path: Path) -> None:
    """A checkout with CRLF, as Windows has it, gets edits with CRLF, and goes back to the byte."""
    git(
        stock.parent,
        "clone",
        "-q",
        "--shared",
        "-c",
        "core.autocrlf=true",
        str(stock),
        str(tmp_path / "crlf"),
    )
    tree = tmp_path / "crlf"
    header = tree / "ggml/include/ggml.h"
    before = header.read_bytes()
    assert before.count(b"\r\n") == before.count(b"\n")
    assert q8a8_patch("apply", tree).returncode == 0
    after = header.read_bytes()
    assert after != before
    assert after.count(b"\r\n") == after.count(b"\n")
    assert q8a8_patch("revert", tree).returncode == 0
    assert header.read_bytes() == before
