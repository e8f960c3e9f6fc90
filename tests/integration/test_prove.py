"""A type in a tree of somebody's, and the same type put into upstream: the same, and what isn't, is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from patcher.prove.architecture import names
from tests import schemas
from tests.conftest import worktree_tree
from tests.integration.conftest import NEWEST, copy_of, q8a8_patch, stock_tree

Q6_X = Path(__file__).parents[2] / "docs" / "examples" / "q6_x"
pytestmark = [pytest.mark.llama, pytest.mark.network, pytest.mark.slow, pytest.mark.compiler]


def proof(tree: Path, code: int, arch: str) -> dict[str, Any]:
    base, work = stock_tree(NEWEST), tree.parent / "work"
    done = q8a8_patch(
        "type", "prove", Q6_X, "--tree", tree, "--base", base, "--work", work, "--json", "--arch", arch
    )
    assert done.returncode == code, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert schemas.errors("type-prove", document) == []
    return document


def changed(tree: Path, path: str, old: str, new: str) -> None:
    text = (tree / path).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (tree / path).write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.exhaustive  # parts of llama.cpp twice for each; the whole way in seconds is tests/unit/test_prove.py's
@pytest.mark.parametrize("arch", names())
def test_a_type_by_hand_is_the_same_and_a_changed_one_is_told_apart(tmp_path: Path, arch: str) -> None:
    tree = copy_of(stock_tree(NEWEST), tmp_path / "fork")
    assert q8a8_patch("apply", tree, "--type", Q6_X / "q6_x.toml").returncode == 0
    before = worktree_tree(tree)
    said = proof(tree, 0, arch)
    assert worktree_tree(tree) == before
    (one,) = said["architectures"]
    assert (said["equal"], one["name"], one["lacking"]) == (True, arch, "")
    assert one["comparisons"] > 100

    # one bit of one weight, in the dot product alone: the files and what is in them stay the same
    old, new = ((f"((l0 >> 4)   |  (h & 0x{bits}))" + " " * 7 + "- 32") for bits in ("30", "10"))
    changed(tree, "ggml/src/ggml-cpu/quants.c", old, new)
    said = proof(tree, 1, arch)
    found = {part["what"].split(".")[0] for part in said["architectures"][0]["differing"]}
    assert found == {"vec_dot", "mul_mat", "mul_mat_id"}
