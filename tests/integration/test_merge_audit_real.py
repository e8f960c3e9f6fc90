"""A merge of two real releases, one with the type: silent as git makes it, and what is taken out is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from patcher import git
from patcher.engine import transaction
from patcher.engine.patchset import load
from patcher.git.changes import FileVersion, write_blob, write_commit
from patcher.merge_audit import audit_commit
from tests.conftest import git as run_git

pytestmark = [pytest.mark.llama, pytest.mark.network]


def test_the_type_merged_with_a_change_of_upstream(tree: Path) -> None:
    """Ours has the type; theirs drops an operator's case and gives a type another name for the eye."""
    base = git.resolve(tree, "HEAD")
    there = git.entries(tree, base)

    def changed(path: str, old: str, new: str, on: str) -> dict[str, FileVersion | None]:
        mode, blob = git.entries(tree, on)[path]
        text = git.read_blob(tree, blob).decode("utf-8")
        assert text.count(old) >= 1, (path, old)
        return {path: FileVersion(mode, write_blob(tree, text.replace(old, new, 1).encode()))}

    assert "ggml/src/ggml.c" in there
    removed = changed("ggml/src/ggml.c", "    GGML_ASSERT(ggml_is_contiguous(a));\n", "", base)
    theirs = write_commit(tree, on=base, changes=removed, message=b"theirs")
    transaction.apply(transaction.tree_at(tree), load())
    run_git(tree, "add", "-A")
    run_git(tree, "commit", "-qm", "the type")
    run_git(tree, "merge", "-q", "--no-edit", theirs)
    assert audit_commit(tree, "HEAD").findings == ()
    lost = changed("ggml/src/ggml.c", "[GGML_TYPE_Q8_A8]", "[GGML_TYPE_OTHER]", "HEAD")
    parents = [git.resolve(tree, "HEAD^1"), git.resolve(tree, "HEAD^2")]
    seeded = write_commit(tree, on="HEAD", changes=lost, message=b"merged", parents=parents)
    found = audit_commit(tree, seeded).findings
    assert any("GGML_TYPE_Q8_A8" in one.text and one.subject == "the type" for one in found)
