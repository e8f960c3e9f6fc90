"""States of a repository that people have: nothing goes in by half, and nothing of theirs is lost."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from patcher import cli
from patcher.git import changes
from patcher.move.stripping import taken_out
from tests.conftest import FIXTURES, git, snapshot

pytestmark = pytest.mark.slow  # no build, but twenty moves and applies

HEADER = "ggml/include/ggml.h"


def run(*arguments: object, code: int = 0) -> None:
    assert cli.run([*map(str, arguments)]) == code


def checked_out_again(repo: Path) -> None:
    """Every file as git writes it now."""
    for path in git(repo, "ls-files").splitlines():
        (repo / path).unlink()
    git(repo, "checkout", "--", ".")


def stopped(repo: Path, *words: str) -> None:
    done = subprocess.run(["git", *words], cwd=repo, capture_output=True, check=False)
    assert done.returncode
    assert changes.unmerged(repo)


def beside_ours(repo: Path, name: str, old: str, new: str) -> None:
    """A commit that puts a line like ours below ours."""
    place = repo / name
    lines = place.read_text(encoding="utf-8").splitlines(keepends=True)
    (number,) = [number for number, line in enumerate(lines) if old in line][:1]
    place.write_text("".join([*lines[: number + 1], new, *lines[number + 1 :]]), encoding="utf-8")
    git(repo, "commit", "-qam", f"mine: beside {old}")


@pytest.mark.parametrize("how", ["core.autocrlf", "attributes"])
def test_line_ends_of_the_work_tree_are_its_own(mini_repo: Path, how: str) -> None:
    if how == "attributes":
        (mini_repo / ".gitattributes").write_text("* text=auto eol=crlf\n", encoding="utf-8")
        git(mini_repo, "add", "-A")
        git(mini_repo, "commit", "-qm", "attributes")
    else:
        git(mini_repo, "config", "core.autocrlf", "true")
    checked_out_again(mini_repo)
    assert b"\r\n" in (mini_repo / HEADER).read_bytes()
    run("apply", mini_repo, "--commit")
    assert git(mini_repo, "status", "--porcelain") == ""
    assert git(mini_repo, "show", "--numstat", "--format=", "HEAD", "--", HEADER).split()[:2] == ["3", "1"]
    assert b"\r\n" in (mini_repo / HEADER).read_bytes()
    run("revert", mini_repo)
    assert b"Q8_A8" not in (mini_repo / HEADER).read_bytes()


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_changes_that_git_is_told_to_pass_over(
    forked: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither is the rest committed without that file, nor is what was changed there lost by a move."""
    git(forked, "update-index", flag, HEADER)
    with (forked / HEADER).open("a", encoding="utf-8") as file:
        file.write("// mine\n")
    before = snapshot(forked)
    run("apply", forked, "--commit", code=6)
    assert f"{HEADER} has changes that aren't committed" in capsys.readouterr().err
    run("move", "r2", forked, code=6)
    assert snapshot(forked) == before
    git(forked, "update-index", flag.replace("--", "--no-"), HEADER)
    git(forked, "checkout", HEADER)
    git(forked, "update-index", flag, HEADER)
    run("apply", forked, "--commit")
    assert "GGML_TYPE_Q8_A8" in git(forked, "show", f"HEAD:{HEADER}")


@pytest.mark.parametrize("kept", ["ggml", "ggml src include"])
def test_a_sparse_checkout_is_no_tree_without_llama(
    mini_repo: Path, kept: str, capsys: pytest.CaptureFixture[str]
) -> None:
    git(mini_repo, "sparse-checkout", "set", *kept.split())
    before = snapshot(mini_repo)
    for command in ("status", "apply"):
        run(command, mini_repo, code=3)
        said = capsys.readouterr().err
        assert "a sparse checkout leaves out common/arg.cpp" in said
        assert "git sparse-checkout add common gguf-py/gguf " in said
    run("guard", "check", "--static", "--source", mini_repo, code=3)
    assert snapshot(mini_repo) == before
    git(mini_repo, "sparse-checkout", "disable")
    run("apply", mini_repo)


def test_what_is_staged_and_new_is_not_lost_by_a_move(
    forked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("apply", forked, "--commit")
    (forked / "staged.txt").write_text("mine\n", encoding="utf-8")
    git(forked, "add", "staged.txt")
    (forked / "new.txt").write_text("precious\n", encoding="utf-8")  # the release brings one
    run("move", "r2", forked, code=6)
    assert "staged.txt has changes" in capsys.readouterr().err
    git(forked, "rm", "-q", "--cached", "staged.txt")
    run("move", "r2", forked, code=2)
    assert (forked / "new.txt").read_text(encoding="utf-8") == "precious\n"
    assert (forked / "staged.txt").is_file()


def test_a_move_that_was_cut_off_overwrites_nothing_that_came_since(
    forked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run("apply", forked, "--commit")
    with monkeypatch.context() as patch:
        patch.setattr(changes, "switch", lambda *rest: (_ for _ in ()).throw(KeyboardInterrupt))
        run("move", "r2", forked, code=130)
    (forked / "new.txt").write_text("precious\n", encoding="utf-8")
    run("move", "--continue", forked, code=2)
    assert "new.txt: git doesn't know this file" in capsys.readouterr().err
    assert (forked / "new.txt").read_text(encoding="utf-8") == "precious\n"
    (forked / "new.txt").unlink()
    run("move", "--continue", forked)


def test_to_a_newer_release_and_back(forked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a straight history the older release is the newer one's own past."""
    run("apply", forked, "--commit")
    git(forked, "commit", "-q", "--allow-empty", "-m", "mine")
    before = snapshot(forked)
    run("move", "r1", forked, code=2)
    assert "--base names the release that you are on" in capsys.readouterr().err
    run("move", "r2", forked)
    run("move", "r1", forked)
    assert snapshot(forked) == before
    assert git(forked, "log", "--format=%s", "r1..HEAD").splitlines() == ["add the Q8_A8 type", "mine"]
    run("move", "r1", forked, code=2)
    assert "found that r1 is the one that it is on" in capsys.readouterr().err


def test_a_staged_apply_moves(forked: Path) -> None:
    run("apply", forked)
    git(forked, "add", "-A")
    run("move", "r2", forked)
    assert git(forked, "rev-parse", "HEAD") == git(forked, "rev-parse", "r2")
    run("revert", forked)
    assert git(forked, "status", "--porcelain") == ""


def test_what_somebody_put_beside_ours_is_told_from_ours(forked: Path) -> None:
    run("apply", forked, "--commit")
    beside_ours(forked, HEADER, "GGML_TYPE_Q8_A8 ", "        GGML_TYPE_MINE = 99,\n")
    run("move", "r2", forked)
    assert "GGML_TYPE_MINE = 99" in git(forked, "show", f"HEAD~1:{HEADER}")
    assert "Q8_A8" not in git(forked, "show", f"HEAD~1:{HEADER}")
    assert git(forked, "status", "--porcelain") == ""


def test_lines_are_taken_out_only_where_all_of_a_place_stands() -> None:
    stock, carried = b"a\nb = 1\nc\n", b"a\nours\nmore\nb = 2\nc\n"
    assert taken_out(b"a\nours\nmore\nmine\nb = 2\nc\n", carried, stock) == b"a\nmine\nb = 1\nc\n"
    assert taken_out(b"a\nmine\nours\nmore\nb = 2\nc2\n", carried, stock) == b"a\nmine\nb = 1\nc2\n"
    for changed in (b"a\nours\nmine\nmore\nb = 2\nc\n", b"a\nours\nmore\nb = 3\nc\n", b"a\nmore\nb = 2\nc\n"):
        assert taken_out(changed, carried, stock) is None


def test_a_commit_in_the_types_own_lines_is_named_with_the_way_out(
    forked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("apply", forked, "--commit")
    place = forked / "ggml/src/ggml-quants.c"
    text = place.read_text(encoding="utf-8")
    start = text.index("{", text.index("void dequantize_row_q8_a8")) + 1
    place.write_text(text[:start] + "\n    tune();" + text[start:], encoding="utf-8")
    git(forked, "commit", "-qam", "mine: tuned")
    tuned = git(forked, "rev-parse", "HEAD")
    git(forked, "commit", "-q", "--allow-empty", "-m", "mine: later")
    run("move", "r2", forked, code=3)
    said = capsys.readouterr().err
    assert f"in {tuned[:12]} 'mine: tuned'" in said
    assert f"'git rebase --onto {tuned[:12]}^ {tuned[:12]}'" in said
    git(forked, "rebase", "-q", "--onto", f"{tuned}^", tuned, "--keep-empty")
    run("move", "r2", forked)
    git(forked, "cherry-pick", tuned)
    assert "tune();" in place.read_text(encoding="utf-8")


def test_messages_in_any_encoding_and_signatures(forked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("apply", forked, "--commit")
    subject = "한국어"
    raw = (
        f"tree {git(forked, 'rev-parse', 'HEAD^{tree}')}\nparent {git(forked, 'rev-parse', 'HEAD')}\n"
        f"author {subject} <a@b> 1000000000 -0330\ncommitter C <c@d> 1000000000 +0000\nencoding EUC-KR\n"
        f"gpgsig -----BEGIN PGP SIGNATURE-----\n x\n -----END PGP SIGNATURE-----\n\n{subject}\n"
    ).encode("euc-kr")
    words = ["git", "hash-object", "-t", "commit", "-w", "--stdin"]
    made = (
        subprocess.run(words, cwd=forked, input=raw, capture_output=True, check=True).stdout.decode().strip()
    )
    git(forked, "reset", "-q", "--hard", made)
    run("move", "r2", forked)
    assert "1 signature can't come along" in capsys.readouterr().err
    assert git(forked, "log", "-1", "--format=%s %an %ad", "--date=raw", "HEAD~1") == (
        f"{subject} {subject} 1000000000 -0330"
    )


def test_mails_bisects_and_reverts_are_called_what_they_are(
    forked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("apply", forked, "--commit")
    mail = subprocess.run(
        ["git", "format-patch", "-1", "--stdout"], cwd=forked, capture_output=True, check=True
    )
    beside_ours(forked, HEADER, "GGML_TYPE_Q8_A8 ", "        GGML_TYPE_MINE = 99,\n")
    stopped(forked, "revert", "--no-edit", "HEAD~1")
    run("move", forked, code=2)
    assert "git is taking back the commit that put Q8_A8 in" in capsys.readouterr().err
    git(forked, "revert", "--abort")
    git(forked, "reset", "-q", "--hard", "r1")
    beside_ours(forked, HEADER, "GGML_TYPE_Q2_0", "        GGML_TYPE_MINE = 99,\n")
    (forked.parent / "mail").write_bytes(mail.stdout)
    stopped(forked, "am", "-q", "-3", str(forked.parent / "mail"))
    run("move", forked)
    assert "Next: git am --continue" in capsys.readouterr().out
    git(forked, "am", "--continue")
    run("status", forked)
    git(forked, "bisect", "start", "HEAD", "r1")
    run("move", "r2", forked, code=2)
    assert "a bisect is in progress; 'git bisect reset' ends it" in capsys.readouterr().err


def test_a_repository_of_sha256(tmp_path: Path) -> None:
    tree = tmp_path / "mini"
    shutil.copytree(FIXTURES / "mini", tree)
    git(tree, "init", "-q", "-b", "main", "--object-format=sha256")
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "base")
    before = snapshot(tree)
    run("apply", tree, "--commit")
    assert git(tree, "status", "--porcelain") == ""
    run("revert", tree)
    assert snapshot(tree) == before
