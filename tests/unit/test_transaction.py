"""Writing and taking back: all or nothing, to the byte, whatever happens in between."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from patcher import git as patcher_git
from patcher.base.errors import ConflictError, TreeChangedError, UsageError
from patcher.base.folder import Folder
from patcher.engine import transaction
from patcher.engine.journal import Journal
from patcher.engine.patchset import load
from patcher.engine.tree import WorkTree
from tests.conftest import git, snapshot
from tests.unit.test_plan import FILES

PATCHSET = load()


def apply(tree: Path) -> transaction.Applied:
    return transaction.apply(WorkTree(tree), PATCHSET)


def test_apply_twice_is_apply_once(mini_repo: Path) -> None:
    first = apply(mini_repo)
    assert len(first.written) == FILES
    after = snapshot(mini_repo)
    second = apply(mini_repo)
    assert second.written == ()
    assert snapshot(mini_repo) == after


def test_revert_gives_the_identical_tree(mini_repo: Path) -> None:
    before = patcher_git.worktree_tree(mini_repo)
    modes = {path: path.stat().st_mode for path in mini_repo.rglob("*.py")}
    apply(mini_repo)
    assert patcher_git.worktree_tree(mini_repo) != before
    transaction.revert(WorkTree(mini_repo))
    assert patcher_git.worktree_tree(mini_repo) == before
    assert {path: path.stat().st_mode for path in mini_repo.rglob("*.py")} == modes
    assert git(mini_repo, "status", "--porcelain") == ""


def test_revert_without_git(mini: Path) -> None:
    before = snapshot(mini)
    apply(mini)
    transaction.revert(WorkTree(mini))
    after = {path: data for path, data in snapshot(mini).items() if not path.startswith(".q8a8-patch/")}
    assert after == before


def test_two_applies_are_both_reverted(mini_repo: Path) -> None:
    before = snapshot(mini_repo)
    transaction.apply(WorkTree(mini_repo), PATCHSET.select(("ggml",)))
    apply(mini_repo)
    assert transaction.revert(WorkTree(mini_repo)).transactions == 2
    assert snapshot(mini_repo) == before


def test_a_conflict_writes_nothing(mini_repo: Path) -> None:
    (mini_repo / "ggml/src/ggml.c").write_text("int type_traits;\n", encoding="utf-8")
    before = snapshot(mini_repo)
    with pytest.raises(ConflictError, match="type-traits"):
        apply(mini_repo)
    assert snapshot(mini_repo) == before
    assert not Journal(WorkTree(mini_repo)).applied


def test_what_the_user_changed_elsewhere_survives_a_revert(mini_repo: Path) -> None:
    apply(mini_repo)
    ops = mini_repo / "ggml/src/ggml-cpu/ops.cpp"
    ops.write_bytes(b"// mine\n" + ops.read_bytes() + b"// mine too\n")
    transaction.revert(WorkTree(mini_repo))
    assert (
        ops.read_bytes() == b"// mine\n" + git_blob(mini_repo, "ggml/src/ggml-cpu/ops.cpp") + b"// mine too\n"
    )


def git_blob(repo: Path, path: str) -> bytes:
    data = patcher_git.read_file(repo, "HEAD", path)
    assert data is not None
    return data


def test_revert_refuses_where_the_user_edited_our_lines(mini_repo: Path) -> None:
    apply(mini_repo)
    header = mini_repo / "ggml/include/ggml.h"
    header.write_text(
        header.read_text(encoding="utf-8").replace("= 120, // 8-bit", "= 77, // 8-bit"), encoding="utf-8"
    )
    before = snapshot(mini_repo)
    with pytest.raises(TreeChangedError, match=r"ggml/include/ggml\.h \(ggml-type"):
        transaction.revert(WorkTree(mini_repo))
    assert snapshot(mini_repo) == before


def test_revert_without_a_record(mini_repo: Path) -> None:
    with pytest.raises(UsageError, match="record of an apply"):
        transaction.revert(WorkTree(mini_repo))


@pytest.mark.parametrize("at", [1, 2, 15, FILES, FILES + 1])
def test_a_kill_between_any_two_writes_is_healed(
    mini_repo: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies (as far as the tree can tell) before write number ``at``; the next command heals."""
    before = snapshot(mini_repo)
    whole = mini_repo.parent / "whole"
    shutil.copytree(mini_repo, whole)
    apply(whole)
    script = textwrap.dedent(
        f"""
        import os, signal, sys
        from pathlib import Path
        from patcher.engine import journal, step, transaction
        from patcher.engine.patchset import load
        from patcher.engine.tree import WorkTree
        count, real = 0, step._swap
        def swap(*arguments):
            global count
            count += 1
            if count == {at}:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)
        step._swap = swap
        if {at} == {FILES + 1}:
            journal.Journal.finish = lambda self, record: os.kill(os.getpid(), signal.SIGKILL)
        transaction.apply(WorkTree(Path(sys.argv[1])), load())
        """
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, str(mini_repo)], env=os.environ | {"PYTHONPATH": "."}
    )
    assert killed.returncode == -signal.SIGKILL
    now = {path: data for path, data in snapshot(mini_repo).items() if ".q8a8-patch-" not in path}
    written = sum(1 for path, data in now.items() if data != before.get(path))
    assert written == at - 1  # it did die half-way
    journal = Journal(WorkTree(mini_repo))
    with journal.lock():
        transaction.heal(journal)
    assert not list(mini_repo.rglob("q8-a8"))  # nor the folder that was made
    assert snapshot(mini_repo) == before
    assert journal.pending is None
    apply(mini_repo)
    assert snapshot(mini_repo) == snapshot(whole)


def test_a_write_that_fails_undoes_the_others(mini_repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(mini_repo)
    real, count = Folder.rename, 0

    def rename(self: Folder, name: str, to: str) -> None:
        nonlocal count
        count += 1
        if count == 10:
            raise OSError(errno.EIO, "broken")
        real(self, name, to)

    monkeypatch.setattr(Folder, "rename", rename)
    with pytest.raises(TreeChangedError, match=r"can't be written \(Input/output error\)"):
        apply(mini_repo)
    assert snapshot(mini_repo) == before


def test_an_interrupted_tree_that_was_edited_is_not_guessed_at(
    mini_repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Journal, "finish", lambda self, record: None)  # dies just before the end
    apply(mini_repo)
    header = mini_repo / "include/llama.h"
    header.write_bytes(header.read_bytes() + b"// edited\n")
    before = snapshot(mini_repo)
    with pytest.raises(TreeChangedError, match=r"include/llama\.h: changed by another hand"):
        transaction.apply(WorkTree(mini_repo), PATCHSET)
    assert snapshot(mini_repo) == before


def test_a_file_that_changes_while_we_plan_is_noticed(
    mini_repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Journal.begin

    def begin(self: Journal, files: object, facts: object) -> object:
        path = mini_repo / "tools/quantize/quantize.cpp"
        path.write_bytes(path.read_bytes() + b"// now\n")
        return real(self, files, facts)  # type: ignore[arg-type]

    monkeypatch.setattr(Journal, "begin", begin)
    with pytest.raises(TreeChangedError):
        apply(mini_repo)
    assert (mini_repo / "ggml/src/ggml.c").read_bytes() == git_blob(mini_repo, "ggml/src/ggml.c")


def test_two_runs_at_once_take_turns(mini_repo: Path) -> None:
    command = [sys.executable, "-m", "patcher", "apply", str(mini_repo)]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], said
    assert sum("applied" in out for out, _ in said) == 1
    assert sum("there already" in out for out, _ in said) == 2
    assert len(Journal(WorkTree(mini_repo)).applied) == 1


def test_a_link_out_of_the_tree_is_never_followed(mini_repo: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.h"
    shutil.move(mini_repo / "include/llama.h", outside)
    (mini_repo / "include/llama.h").symlink_to(outside)
    before = outside.read_bytes()
    with pytest.raises(UsageError, match="symbolic link"):
        apply(mini_repo)
    assert outside.read_bytes() == before
    with pytest.raises(UsageError, match="leads out"):
        WorkTree(mini_repo).locate("../outside.h")


def test_status_tells_ours_from_theirs(mini_repo: Path) -> None:
    transaction.apply(WorkTree(mini_repo), PATCHSET.select(("ggml",)))
    arg = mini_repo / "common/arg.cpp"
    arg.write_text(
        arg.read_text(encoding="utf-8").replace("Q8_0,", "Q8_0,\n    GGML_TYPE_Q8_A8,"), encoding="utf-8"
    )
    plan = transaction.observed(WorkTree(mini_repo), PATCHSET)
    states = {edit.edit.id: edit.state.value for edit in plan.edits}
    assert states["ggml-type"] == "applied"
    assert states["cache-types"] == "present"
    assert states["cpu-ops"] == "missing"
    assert plan.state == "partial"


def test_a_work_tree_beside_its_repository_has_a_state_of_its_own(mini_repo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    git(mini_repo, "worktree", "add", "-q", "--detach", str(other))
    apply(other)
    assert Journal(WorkTree(other)).applied
    assert not Journal(WorkTree(mini_repo)).applied
    transaction.revert(WorkTree(other))
    assert git(other, "status", "--porcelain") == ""


def test_a_line_that_we_wrote_is_known_by_its_edit(mini_repo: Path) -> None:
    apply(mini_repo)
    header = mini_repo / "ggml/include/ggml.h"
    lines = header.read_text(encoding="utf-8").splitlines()
    for text, edit in (("GGML_TYPE_Q8_A8 ", "ggml-type"), ("GGML_TYPE_COUNT ", "ggml-type-count")):
        number = next(number for number, line in enumerate(lines, 1) if text in line)
        assert transaction.explain(mini_repo, header, number) == f"our edit '{edit}' stands there"
    assert transaction.explain(mini_repo, header, 1) is None
    quants = mini_repo / "ggml/src/ggml-quants.c"
    inside = (
        quants.read_text(encoding="utf-8").splitlines().index("        const float scale   = w_max / 127.0f;")
    )
    assert transaction.explain(mini_repo, quants, inside + 1) == "our edit 'quantize-row-ref' stands there"
    header.write_bytes(header.read_bytes() + b"// mine\n")
    assert transaction.explain(mini_repo, header, 1) is None
