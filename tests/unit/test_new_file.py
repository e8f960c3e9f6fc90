"""Edits that add a whole file: planned, written, reverted, exported, and refused where one is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from patcher.base.errors import ConflictError, TreeChangedError
from patcher.engine import journal as journal_module
from patcher.engine import step
from patcher.engine.export import export
from patcher.engine.patchset import Edit, PatchSet, load
from patcher.engine.plan import State
from patcher.engine.planning import make_plan
from patcher.engine.transaction import apply, heal, revert
from patcher.engine.tree import WorkTree
from tests.conftest import git, snapshot

PATH = "ggml/src/ggml-cpu/q8-a8/kernels.c"
BESIDE = "ggml/src/ggml-cpu/quants.c"


@pytest.fixture
def patchset(tmp_path: Path) -> PatchSet:
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "kernels.j2").write_text("// kernels of {{ type.name }}\nint n = 1;\n", encoding="utf-8")
    edit = Edit(
        "kernels", "ggml-cpu", "A file of ours.", (PATH,), "new-file", {"beside": BESIDE}, "kernels.j2"
    )
    return replace(load(), edits=(edit,), templates=templates)


def test_it_is_written_where_it_is_missing_and_reverted_with_its_folder(
    mini_repo: Path, patchset: PatchSet
) -> None:
    before = snapshot(mini_repo)
    applied = apply(WorkTree(mini_repo), patchset)
    assert applied.written == (PATH,)
    assert (mini_repo / PATH).read_text() == "// kernels of q8_a8\nint n = 1;\n"
    assert apply(WorkTree(mini_repo), patchset).written == ()
    revert(WorkTree(mini_repo))
    assert snapshot(mini_repo) == before
    assert not (mini_repo / PATH).parent.exists()


def test_a_file_of_the_users_in_our_folder_survives_the_revert(mini_repo: Path, patchset: PatchSet) -> None:
    apply(WorkTree(mini_repo), patchset)
    (mini_repo / PATH).with_name("own.c").write_text("own")
    revert(WorkTree(mini_repo))
    assert not (mini_repo / PATH).exists()
    assert (mini_repo / PATH).with_name("own.c").read_text() == "own"


def test_a_revert_refuses_where_our_file_was_edited(mini_repo: Path, patchset: PatchSet) -> None:
    apply(WorkTree(mini_repo), patchset)
    (mini_repo / PATH).write_text("edited")
    with pytest.raises(TreeChangedError, match=r"kernels\.c \(kernels\)"):
        revert(WorkTree(mini_repo))
    assert (mini_repo / PATH).read_text() == "edited"


def test_the_diff_is_one_that_git_applies(mini_repo: Path, patchset: PatchSet, tmp_path: Path) -> None:
    diff = make_plan(WorkTree(mini_repo), patchset).diff()
    assert "new file mode 100644\n--- /dev/null\n" in diff
    (tmp_path / "diff").write_text(diff)
    git(mini_repo, "apply", str(tmp_path / "diff"))
    plan = make_plan(WorkTree(mini_repo), patchset)
    assert [edit.state for edit in plan.edits] == [State.PRESENT]


def test_the_export_adds_it(mini_repo: Path, patchset: PatchSet, tmp_path: Path) -> None:
    _, patches = export(mini_repo, "HEAD", patchset, tmp_path / "series")
    git(mini_repo, "am", *map(str, patches))
    assert (mini_repo / PATH).read_text() == "// kernels of q8_a8\nint n = 1;\n"


def test_another_file_of_that_name_is_a_conflict(mini_repo: Path, patchset: PatchSet) -> None:
    (mini_repo / PATH).parent.mkdir(parents=True)
    (mini_repo / PATH).write_text("int m = 2;\n")
    with pytest.raises(ConflictError, match="found one as 'int m"):
        apply(WorkTree(mini_repo), patchset)
    assert (mini_repo / PATH).read_text() == "int m = 2;\n"


def test_without_the_file_to_put_it_beside_it_is_a_conflict(mini_repo: Path, patchset: PatchSet) -> None:
    (mini_repo / BESIDE).unlink()
    with pytest.raises(ConflictError, match=r"looked for ggml/src/ggml-cpu/quants\.c, to put it beside"):
        apply(WorkTree(mini_repo), patchset)


def test_a_condition_that_its_neighbour_does_not_meet_makes_it_unneeded(
    mini_repo: Path, patchset: PatchSet
) -> None:
    edit = replace(patchset.edits[0], when="no such text")
    plan = make_plan(WorkTree(mini_repo), replace(patchset, edits=(edit,)))
    assert [edit.state for edit in plan.edits] == [State.NOT_NEEDED]


def test_a_crash_behind_it_takes_it_away(
    mini_repo: Path, patchset: PatchSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(mini_repo)

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    # a kill leaves no chance to clean up: neither does this, where nothing is taken back
    with monkeypatch.context() as patched:
        patched.setattr(journal_module.Journal, "finish", die)
        patched.setattr(step, "undo", die)
        with pytest.raises(Killed):
            apply(WorkTree(mini_repo), patchset)
    tree = WorkTree(mini_repo)
    assert (mini_repo / PATH).exists()
    journal = journal_module.Journal(tree)
    with journal.lock():
        heal(journal)
    assert snapshot(mini_repo) == before
