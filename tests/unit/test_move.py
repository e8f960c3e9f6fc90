"""A tree moved to the next release, in each of the ways that people have it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from patcher import cli
from patcher.git import changes, merge
from patcher.git.patches import merge_marked
from tests.conftest import git, snapshot

OPS = "ggml/src/ggml-cpu/ops.cpp"
OWN = "src/llama-quant.cpp"


def fresh(tree: Path, ref: str = "r2") -> dict[str, bytes]:
    """What a fresh apply on ``ref`` gives."""
    place = tree.parent / f"fresh-{ref}"
    git(tree, "worktree", "add", "-q", "--detach", str(place), ref)
    assert cli.run(["apply", str(place), "-q"]) == 0
    return snapshot(place)


def own_change(tree: Path, name: str = "notes.txt", text: str = "mine\n") -> None:
    (tree / name).write_text(text, encoding="utf-8")
    git(tree, "add", name)
    git(tree, "commit", "-qm", f"mine: {name}")


def run(*arguments: object, code: int = 0) -> None:
    assert cli.run([*map(str, arguments)]) == code


def without_own_file(found: dict[str, bytes]) -> dict[str, bytes]:
    return {path: data for path, data in found.items() if path not in ("notes.txt", ".git")}


def test_an_apply_that_is_not_committed(forked: Path) -> None:
    run("apply", forked)
    run("move", "r2", forked, "--dry-run")
    assert git(forked, "rev-parse", "HEAD") == git(forked, "rev-parse", "r1")
    run("move", "r2", forked)
    assert git(forked, "symbolic-ref", "--short", "HEAD") == "work"
    assert git(forked, "rev-parse", "HEAD") == git(forked, "rev-parse", "r2")
    assert without_own_file(snapshot(forked)) == without_own_file(fresh(forked))
    run("revert", forked)
    assert git(forked, "status", "--porcelain") == ""


def test_own_commits_stay_with_author_and_message(forked: Path) -> None:
    own_change(forked, "before.txt")
    run("apply", forked, "--commit")
    assert "Q8A8-Patch: q8_a8 " in git(forked, "log", "-1", "--format=%B")
    assert git(forked, "log", "-1", "--format=%an") == "Test"
    git(forked, "-c", "user.name=Other", "commit", "-q", "--allow-empty", "-m", "nothing")
    own_change(forked)
    run("move", "r2", forked)
    subjects = git(forked, "log", "--format=%s", "r2..HEAD").splitlines()
    assert subjects == ["add the Q8_A8 type", "mine: notes.txt", "nothing", "mine: before.txt"]
    assert git(forked, "log", "-1", "--format=%an", "HEAD~2") == "Other"
    assert git(forked, "status", "--porcelain") == ""
    expected = fresh(forked) | {"before.txt": b"mine\n", "notes.txt": b"mine\n"}
    assert {**snapshot(forked), ".git": b""} == {**expected, ".git": b""}


@pytest.mark.parametrize("way", ["merge", "rebase"])
def test_a_merge_that_stopped_in_the_types_lines(forked: Path, way: str) -> None:
    run("apply", forked, "--commit")
    own_change(forked)
    with pytest.raises(Exception, match=way):
        git(forked, way, "r2")
    assert changes.unmerged(forked)
    run("move", forked)
    assert not changes.unmerged(forked)
    git(
        forked,
        "-c",
        "core.editor=true",
        *(["commit", "--no-edit"] if way == "merge" else ["rebase", "--continue"]),
    )
    assert git(forked, "status", "--porcelain") == ""
    assert without_own_file(snapshot(forked)) == without_own_file(fresh(forked))
    assert (forked / "notes.txt").read_text(encoding="utf-8") == "mine\n"


@pytest.fixture
def split(mini: Path) -> Path:
    """Two releases, of which the first has in one file what the second has in two, with a place of ours in it."""
    old, new = mini / "convert_hf_to_gguf.py", mini / "conversion/base.py"
    both = old.read_text(encoding="utf-8"), new.read_text(encoding="utf-8")
    shutil.rmtree(mini / "conversion")
    old.write_text(both[1] + "\n\n" + both[0], encoding="utf-8")
    git(mini, "init", "-q", "-b", "main")
    git(mini, "add", "-A")
    git(mini, "commit", "-qm", "first release")
    git(mini, "tag", "r1")
    new.parent.mkdir()
    old.write_text(both[0], encoding="utf-8")
    new.write_text(both[1], encoding="utf-8")
    git(mini, "add", "-A")
    git(mini, "commit", "-qm", "second release")
    git(mini, "tag", "r2")
    git(mini, "checkout", "-qb", "work", "r1")
    return mini


@pytest.mark.parametrize("way", ["merge r2", "rebase r2", "cherry-pick work", "stash pop", "checkout -m r2"])
def test_what_stopped_where_upstream_moved_our_place_to_another_file(split: Path, way: str) -> None:
    verb = way.split()
    run("apply", split, *(["--commit"] if verb[0] in ("merge", "rebase", "cherry-pick") else []))
    if verb[0] == "stash":
        git(split, "stash", "-q", "--include-untracked")
    if verb[0] in ("stash", "cherry-pick"):
        git(split, "checkout", "-q", "r2")
    git_stops(split, *verb)
    assert set(changes.unmerged(split)) == {"convert_hf_to_gguf.py"}
    run("move", split)
    assert not changes.unmerged(split)
    if verb[0] in ("merge", "rebase", "cherry-pick"):
        git(
            split,
            *(
                ["commit", "--no-edit"]
                if verb[0] == "merge"
                else ["-c", "core.editor=true", verb[0], "--continue"]
            ),
        )
        assert git(split, "status", "--porcelain") == ""
    assert without_own_file(snapshot(split)) == without_own_file(fresh(split))
    assert (split / ".q8a8-patch.toml").read_bytes() == (
        split.parent / "fresh-r2/.q8a8-patch.toml"
    ).read_bytes()


def git_stops(repo: Path, *arguments: str) -> None:
    """Run git, which leaves something unmerged."""
    subprocess.run(["git", *arguments], cwd=repo, capture_output=True, check=False)
    assert changes.unmerged(repo)


def test_what_git_merges_is_not_for_the_user_to_settle() -> None:
    """The shortest difference, which ``git merge-file`` takes, makes a conflict here, and ``git merge`` none."""
    now, base, other = (
        ("\n".join(text) + "\n").encode() for text in ("}dz};}", "}d;}{cc}dbabc}", "}d;M}{cc}dbabc}")
    )
    assert not merge_marked(now, base=base, other=other)[1]
    assert merge(now, base=base, other=other) == b"}\nd\nz\n}\n;\nM\n}\n"
    assert merge(b"a\n", base=b"b\n", other=b"c\n") is None


@pytest.mark.parametrize("way", ["commits", "copy"])
def test_a_file_that_is_longer_than_any_source_is_carried(forked: Path, tmp_path: Path, way: str) -> None:
    """A vocabulary of upstream's has 16 MB: nobody parses it."""
    longer = b"\0" * ((8 << 20) + 1)
    if way == "commits":
        run("apply", forked, "--commit")
        (forked / "vocabulary.gguf").write_bytes(longer)
        git(forked, "add", "-A")
        git(forked, "commit", "-qm", "mine")
        run("move", "r2", forked)
        assert (forked / "vocabulary.gguf").read_bytes() == longer
        return
    git(forked, "checkout", "-q", "r2")
    (forked / "vocabulary.gguf").write_bytes(longer)
    git(forked, "add", "-A")
    git(forked, "commit", "-qm", "third release")
    git(forked, "tag", "r3")
    copy = tmp_path / "copy"
    git(forked, "worktree", "add", "-q", "--detach", str(copy), "r1")
    (copy / ".git").unlink()
    run("apply", copy)
    run("move", f"{forked}@r3", copy, "--base", f"{forked}@r1")
    assert (copy / "vocabulary.gguf").read_bytes() == longer
    run("move", f"{forked}@r2", copy, "--base", f"{forked}@r3")
    assert not (copy / "vocabulary.gguf").exists()


def test_a_branch_with_merges_is_merged_again(forked: Path) -> None:
    run("apply", forked, "--commit")
    git(forked, "checkout", "-qb", "side", "HEAD~1")
    own_change(forked, "side.txt")
    git(forked, "checkout", "-q", "work")
    git(forked, "merge", "-q", "--no-edit", "side")
    run("move", "r2", forked)
    assert len(git(forked, "log", "-1", "--format=%P", "HEAD~1").split()) == 2
    assert (forked / "side.txt").is_file()
    found = {path: data for path, data in snapshot(forked).items() if path != "side.txt"}
    assert without_own_file(found) == without_own_file(fresh(forked))


def meeting(forked: Path) -> None:
    """A commit of the user's own in the very line that the second release changes."""
    run("apply", forked, "--commit")
    place = forked / "include/llama.h"
    place.write_text(
        place.read_text(encoding="utf-8").replace("enum llama_ftype {", "/* mine */ enum llama_ftype {"),
        encoding="utf-8",
    )
    git(forked, "commit", "-qam", "mine: a header")
    own_change(forked)


@pytest.mark.parametrize("meets", [False, True])
def test_a_file_that_upstream_renamed_is_followed(forked: Path, meets: bool) -> None:
    lines = [f"line {number}" for number in range(40)]
    (forked / "plain.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    git(forked, "add", "-A")
    git(forked, "commit", "-qm", "first release")
    git(forked, "tag", "-f", "r1")
    git(forked, "checkout", "-qb", "next")
    git(forked, "mv", "plain.txt", "renamed.txt")
    (forked / "renamed.txt").write_text("\n".join(["upstream's", *lines[1:]]) + "\n", encoding="utf-8")
    git(forked, "commit", "-qam", "second release")
    git(forked, "checkout", "-q", "work")
    run("apply", forked, "--commit")
    at = 0 if meets else 20
    own = "\n".join([*lines[:at], "mine", *lines[at + 1 :]]) + "\n"
    own_change(forked, "plain.txt", own)
    run("move", "next", forked, code=3 if meets else 0)
    assert not (forked / "plain.txt").exists()
    found = (forked / "renamed.txt").read_text(encoding="utf-8").splitlines()
    if meets:
        assert {"upstream's", "mine"} < set(found)
        assert list(changes.unmerged(forked)) == ["renamed.txt"]
    else:
        assert found == ["upstream's", *lines[1:20], "mine", *lines[21:]]


def test_it_stops_where_an_own_commit_meets_upstream_and_goes_on(
    forked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meeting(forked)
    capsys.readouterr()
    run("move", "r2", forked, "--json", code=3)
    said = json.loads(capsys.readouterr().out)
    assert (said["state"], said["conflicts"], said["stopped_at"]) == (
        "stopped",
        ["include/llama.h"],
        "mine: a header",
    )
    assert list(changes.unmerged(forked)) == ["include/llama.h"]
    run("move", "r2", forked, code=2)  # one is under way
    run("move", "--continue", forked, code=2)  # unmerged still
    place = forked / "include/llama.h"
    text = place.read_text(encoding="utf-8")
    assert text.count("<<<<<<<") == text.count(">>>>>>>") == 1
    start, end = text.index("<<<<<<<"), text.index(">>>>>>>")
    settled = "// file types\n/* mine */ enum llama_ftype {\n"
    place.write_text(text[:start] + settled + text[text.index("\n", end) + 1 :], encoding="utf-8")
    git(forked, "add", "include/llama.h")
    run("move", "--continue", forked)
    subjects = git(forked, "log", "--format=%s", "r2..HEAD").splitlines()
    assert subjects == ["add the Q8_A8 type", "mine: notes.txt", "mine: a header"]
    assert git(forked, "symbolic-ref", "--short", "HEAD") == "work"
    assert git(forked, "status", "--porcelain") == ""
    assert "/* mine */ enum" in place.read_text(encoding="utf-8")


@pytest.mark.parametrize("committed", [True, False])
def test_abort_goes_back_to_the_byte(forked: Path, committed: bool) -> None:
    if committed:
        meeting(forked)
    else:
        git(forked, "checkout", "-q", "r1")
        text = (forked / "include/llama.h").read_text(encoding="utf-8")
        (forked / "include/llama.h").write_text(
            text.replace("enum llama_ftype {", "enum llama_ftype { // me")
        )
        git(forked, "commit", "-qam", "mine")
        run("apply", forked)
    before, head = snapshot(forked), git(forked, "rev-parse", "HEAD")
    run("move", "r2", forked, code=3)
    run("move", "--abort", forked)
    assert snapshot(forked) == before
    assert git(forked, "rev-parse", "HEAD") == head
    run("move", "--abort", forked, code=2)


def test_where_the_type_cant_be_placed_nothing_changes(forked: Path) -> None:
    git(forked, "checkout", "-q", "r2")
    place = forked / OPS
    place.write_text(place.read_text(encoding="utf-8").replace("GGML_TYPE_Q8_0", "GGML_TYPE_Q9_9"))
    git(forked, "commit", "-qam", "third release")
    git(forked, "tag", "r3")
    git(forked, "checkout", "-q", "work")
    run("apply", forked)
    before = snapshot(forked)
    run("move", "r3", forked, code=3)
    assert snapshot(forked) == before
    assert git(forked, "rev-parse", "HEAD") == git(forked, "rev-parse", "r1")


def test_changes_that_are_not_committed_are_named(forked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("apply", forked)
    (forked / "include/llama.h").write_text("mine\n", encoding="utf-8")
    run("move", "r2", forked, code=6)
    assert "include/llama.h has changes that aren't committed" in capsys.readouterr().err


def test_onto_a_new_branch(forked: Path) -> None:
    run("apply", forked, "--commit")
    old = git(forked, "rev-parse", "HEAD")
    run("move", "r2", forked, "--onto", "next")
    assert git(forked, "rev-parse", "work") == old
    assert git(forked, "symbolic-ref", "--short", "HEAD") == "next"
    run("move", "r2", forked, "--onto", "next", code=2)


def test_a_copy_without_a_history(forked: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "vendor").mkdir(parents=True)
    git(project, "init", "-q")
    copy = project / "vendor" / "llama.cpp"
    git(forked, "worktree", "add", "-q", "--detach", str(copy), "r1")
    (copy / ".git").unlink()
    git(forked, "worktree", "prune")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "a copy")
    run("apply", copy)
    with (copy / OWN).open("a", encoding="utf-8") as file:
        file.write("// mine\n")
    run("move", f"{forked}@r2", copy, code=2)  # what did it grow from?
    run("move", f"{forked}@r2", copy, "--base", f"{forked}@r1")
    expected = fresh(forked)
    expected[OWN] += b"// mine\n"
    assert without_own_file(snapshot(copy)) == without_own_file(expected)
    run("revert", copy)
    assert b"q8_a8" not in b"".join(snapshot(copy).values())


def test_a_move_that_was_cut_off_goes_on(forked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("apply", forked)
    real = changes.switch

    def cut(repo: Path, old: str, new: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(changes, "switch", cut)
    run("move", "r2", forked, code=130)
    monkeypatch.setattr(changes, "switch", real)
    run("move", "--continue", forked)
    assert without_own_file(snapshot(forked)) == without_own_file(fresh(forked))


def test_an_update_of_the_tool_itself(mini_repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier version wrote is known as ours, said, and brought to today's; the user's stays."""
    from patcher.engine import rendering

    real = rendering.ours

    def earlier(template: str, *rest: object) -> str:
        text: str = real(template, *rest)  # type: ignore[arg-type]
        return text.replace("GGML_UNUSED", "(void)").replace("#pragma once", "#pragma once\nint old;")

    monkeypatch.setattr(rendering, "ours", earlier)
    run("apply", mini_repo)
    old = snapshot(mini_repo)
    monkeypatch.setattr(rendering, "ours", real)
    run("status", mini_repo)
    run("apply", mini_repo)
    assert snapshot(mini_repo) == old
    with (mini_repo / OPS).open("a", encoding="utf-8") as file:
        file.write("// mine\n")
    run("apply", mini_repo, "--update")
    changed = {path for path, data in snapshot(mini_repo).items() if data != old.get(path)} - {
        OPS,
        ".q8a8-patch.toml",
    }
    assert changed
    assert not any(b"int old;" in data for data in snapshot(mini_repo).values())
    assert (mini_repo / OPS).read_text(encoding="utf-8").endswith("// mine\n")
    run("revert", mini_repo)
    assert git(mini_repo, "status", "--porcelain") == f"M {OPS}"
