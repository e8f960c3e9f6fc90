"""The series: git am takes it, it is the same every time, and it is what apply writes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from patcher import cli
from patcher import git as patcher_git
from patcher.base.errors import ConflictError, TreeChangedError, UsageError
from patcher.engine import export, transaction
from patcher.engine.commit import apply_and_commit
from patcher.engine.patchset import load
from patcher.engine.tree import WorkTree
from patcher.engine.tree_record import PLACE
from patcher.git import changes
from tests.conftest import git, snapshot
from tests.unit.test_plan import FILES

PATCHSET = load()


def test_git_am_gives_what_apply_gives(mini_repo: Path, tmp_path: Path) -> None:
    _, patches = export.export(mini_repo, "HEAD", PATCHSET, tmp_path / "series")
    assert [path.name[:5] for path in patches] == [
        f"{number:04}-" for number in range(1, len(PATCHSET.groups) + 1)
    ]
    git(mini_repo, "checkout", "-q", "-b", "am")
    git(mini_repo, "am", "-q", *map(str, patches))
    by_am = snapshot(mini_repo)
    git(mini_repo, "checkout", "-q", "main")
    transaction.apply(WorkTree(mini_repo), PATCHSET)
    applied = snapshot(mini_repo)
    # what was decided for this tree is not for others
    assert applied.pop(PLACE)
    assert applied == by_am


def test_the_repository_is_only_read(mini_repo: Path, tmp_path: Path) -> None:
    """It may lie on a disk that nobody can write to, and stray objects are nothing that export should leave."""
    before = snapshot(mini_repo / ".git")
    export.export(mini_repo, "HEAD", PATCHSET, tmp_path / "out")
    assert snapshot(mini_repo / ".git") == before
    assert len(list((tmp_path / "out").iterdir())) > 5


def test_every_commit_of_the_series_stands_alone(mini_repo: Path, tmp_path: Path) -> None:
    _, patches = export.export(mini_repo, "HEAD", PATCHSET, tmp_path / "series")
    first = patches[0].read_text(encoding="utf-8")
    assert "GGML_TYPE_Q8_A8   = 120" in first
    assert "ops.cpp" not in first


def test_the_same_bytes_whatever_the_user_has_set(mini_repo: Path, tmp_path: Path) -> None:
    _, patches = export.export(mini_repo, "HEAD", PATCHSET, tmp_path / "one")
    plain = {path.name: path.read_bytes() for path in patches}
    for setting in (
        "diff.noprefix=true", "diff.mnemonicPrefix=true", "diff.context=9", "diff.algorithm=histogram",
        "format.signature=me", "format.subjectPrefix=RFC", "format.numbered=true", "core.quotePath=false",
        "diff.renames=copies", "format.signOff=true", "core.abbrev=40",
    ):  # fmt: skip
        git(mini_repo, "config", *setting.split("=", 1))
    transaction.apply(WorkTree(mini_repo), PATCHSET)  # the work tree does not matter, commits do
    _, patches = export.export(mini_repo, "HEAD", PATCHSET, tmp_path / "two")
    assert {path.name: path.read_bytes() for path in patches} == plain


def test_what_was_decided_for_the_tree_is_so_in_the_series(
    mini_repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quants = mini_repo / "ggml/src/ggml-quants.c"
    theirs = "void quantize_row_q8_a8_ref(const double * x, void * y, int64_t k) {\n}\n\nbool ggml_validate"
    header = mini_repo / "ggml/include/ggml.h"
    quants.write_text(quants.read_text().replace("bool ggml_validate", theirs))
    header.write_text(header.read_text().replace("GGML_TYPE_Q2_0    = 42", "GGML_TYPE_Q8_A8 = 77"))
    git(mini_repo, "commit", "-qam", "half done")
    series = tmp_path / "series"
    assert cli.run(["export", str(mini_repo), "-o", str(series)]) == 3
    decided = ["--adopt-id", "--keep", "quantize-row-ref", "--without", "gguf-py"]
    assert cli.run(["apply", str(mini_repo), *decided]) == 0
    wanted = {path: data for path, data in snapshot(mini_repo).items() if path != PLACE}
    capsys.readouterr()
    assert cli.run(["export", str(mini_repo), "-o", str(series)]) == 0, capsys.readouterr().err
    git(mini_repo, "stash", "-qu")
    git(mini_repo, "am", "-q", *map(str, sorted(series.iterdir())))
    assert {path: data for path, data in snapshot(mini_repo).items() if path != PLACE} == wanted


def test_a_vendored_tree(mini_repo: Path, tmp_path: Path) -> None:
    """The series is for the repository that llama.cpp lies in."""
    git(mini_repo, "checkout", "-q", "-b", "outer")
    (mini_repo / "vendor" / "llama.cpp").mkdir(parents=True)
    for path in git(mini_repo, "ls-files").splitlines():
        place = mini_repo / "vendor" / "llama.cpp" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        (mini_repo / path).rename(place)
    git(mini_repo, "add", "-A")
    git(mini_repo, "commit", "-q", "-m", "vendored")
    _, patches = export.export(mini_repo, "HEAD", PATCHSET, tmp_path / "series", prefix="vendor/llama.cpp/")
    git(mini_repo, "am", "-q", *map(str, patches))
    applied = transaction.apply(WorkTree(mini_repo / "vendor" / "llama.cpp"), PATCHSET)
    assert not applied.written
    with pytest.raises(UsageError, match=r"vendor/llama\.cpp@\w+: has all of Q8_A8"):
        export.export(mini_repo, "HEAD", PATCHSET, tmp_path / "none", prefix="vendor/llama.cpp/")
    assert not (tmp_path / "none").exists()


def test_a_folder_with_something_else_in_it_is_left_alone(mini_repo: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        export.export(mini_repo, "HEAD", PATCHSET, tmp_path / "mine")


def test_a_conflict_exports_nothing(mini_repo: Path, tmp_path: Path) -> None:
    git(mini_repo, "rm", "-q", "ggml/src/ggml-quants.h")
    git(mini_repo, "commit", "-qm", "gone")
    with pytest.raises(ConflictError, match=r"ggml-quants\.h"):
        export.export(mini_repo, "HEAD", PATCHSET, tmp_path / "series")
    assert not (tmp_path / "series").exists()


def test_commit_takes_only_what_was_written(mini_repo: Path) -> None:
    (mini_repo / "note.txt").write_text("mine", encoding="utf-8")
    apply_and_commit(WorkTree(mini_repo), PATCHSET)
    assert git(mini_repo, "status", "--porcelain") == "?? note.txt"
    assert git(mini_repo, "log", "--format=%s") == "add the Q8_A8 type\nbase"
    assert len(git(mini_repo, "diff", "--name-only", "HEAD~1").splitlines()) == FILES + 1  # and the record


def test_commit_refuses_a_file_that_has_changes(mini_repo: Path) -> None:
    path = mini_repo / "src/llama-quant.cpp"
    path.write_bytes(path.read_bytes() + b"// mine\n")
    before = snapshot(mini_repo)
    with pytest.raises(TreeChangedError, match=r"src/llama-quant\.cpp has changes"):
        apply_and_commit(WorkTree(mini_repo), PATCHSET)
    assert snapshot(mini_repo) == before
    assert patcher_git.head(mini_repo) == git(mini_repo, "rev-parse", "HEAD")


def test_the_plan_of_a_commit_is_the_plan_of_its_checkout(mini_repo: Path) -> None:
    from patcher.engine.planning import make_plan
    from patcher.engine.tree import CommitTree

    there = make_plan(WorkTree(mini_repo), PATCHSET)
    stored = make_plan(CommitTree(mini_repo, "HEAD"), PATCHSET)
    assert {file.path: file.after() for file in there.files} == {
        file.path: file.after() for file in stored.files
    }


def test_an_export_removes_only_mails_that_we_wrote(mini_repo: Path, tmp_path: Path) -> None:
    out = tmp_path / "series"
    first = export.export(mini_repo, "HEAD", PATCHSET, out)[1]
    again = export.export(mini_repo, "HEAD", PATCHSET, out)[1]  # over one of ours, which is the same
    assert first == again == sorted(out.iterdir())
    theirs = out / "0010-mine.patch"

    def mail() -> None:
        theirs.write_text("From 0123 Mon Sep 17 00:00:00 2001\nFrom: me <me@localhost>\n", encoding="utf-8")

    def folder() -> None:
        theirs.unlink()
        theirs.mkdir()
        (theirs / "thesis.tex").write_text("x", encoding="utf-8")

    def link() -> None:
        shutil.rmtree(theirs)
        theirs.symlink_to(first[0])

    for put in (mail, folder, link):
        put()
        before = {path.name: path.is_file() and path.read_bytes() for path in out.iterdir()}
        with pytest.raises(UsageError, match=r"holds 0010-mine\.patch, which is not of an earlier export"):
            export.export(mini_repo, "HEAD", PATCHSET, out)
        assert {path.name: path.is_file() and path.read_bytes() for path in out.iterdir()} == before
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_commit_that_was_cut_off_is_made_by_the_next_run(
    mini_repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = WorkTree(mini_repo)

    def interrupted(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(changes, "write_commit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            apply_and_commit(tree, PATCHSET)
    assert git(mini_repo, "log", "--format=%s") == "base"
    assert not apply_and_commit(tree, PATCHSET).written
    assert git(mini_repo, "log", "--format=%s") == "add the Q8_A8 type\nbase"
    assert git(mini_repo, "status", "--porcelain") == ""
    apply_and_commit(tree, PATCHSET)  # and not twice
    assert git(mini_repo, "log", "--format=%s") == "add the Q8_A8 type\nbase"


def test_what_somebody_changed_since_is_not_committed_as_ours(mini_repo: Path) -> None:
    tree = WorkTree(mini_repo)
    transaction.apply(tree, PATCHSET)
    path = mini_repo / "src/llama-quant.cpp"
    path.write_bytes(path.read_bytes() + b"// mine\n")
    apply_and_commit(tree, PATCHSET)
    assert git(mini_repo, "status", "--porcelain") == "M src/llama-quant.cpp"
