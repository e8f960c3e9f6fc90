"""Plans over a row of commits: what breaks, since when, by which hunk; and how little is looked at."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from patcher import cli
from patcher.base.errors import UsageError
from patcher.drift import Drift, drift, paths_of, verdicts
from patcher.drift.halving import halved, near
from patcher.drift.picture import svg
from patcher.engine.patchset import PatchSet, load
from patcher.engine.plan import State
from patcher.engine.planning import make_plan
from patcher.engine.tree import CommitTree
from patcher.git.history import commits, hunks
from tests.conftest import git

PATCHSET = load()
EXISTING = 31  # files that the edits change, the new ones left out
OPS = "ggml/src/ggml-cpu/ops.cpp"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))


def commit(repo: Path, subject: str, path: str = "notes.txt", old: str = "", new: str = "") -> str:
    file = repo / path
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    assert old in text
    file.write_text(text.replace(old, new) if old else text + subject + "\n", encoding="utf-8")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", subject)
    return git(repo, "rev-parse", "HEAD")


@pytest.fixture
def history(mini_repo: Path) -> tuple[Path, list[str]]:
    """Eight commits; the fifth renames an enum, the sixth takes a case away."""
    made = [git(mini_repo, "rev-parse", "HEAD")]
    made.append(commit(mini_repo, "one"))
    made.append(commit(mini_repo, "a comment in ops", OPS, "switch", "/* here */ switch"))
    made.append(commit(mini_repo, "two"))
    made.append(
        commit(mini_repo, "rename the enum", "include/llama.h", "enum llama_ftype", "enum llama_file_type")
    )
    made.append(commit(mini_repo, "no more clamp", OPS, "case GGML_TYPE_Q8_0", "case GGML_TYPE_OTHER"))
    made.append(commit(mini_repo, "three"))
    made.append(commit(mini_repo, "four"))
    return mini_repo, made


def test_it_says_what_a_plan_of_each_commit_says(history: tuple[Path, list[str]]) -> None:
    repo, made = history
    found = drift(repo, PATCHSET)
    assert [one.commit for one in found.revisions] == made
    for one in found.revisions:
        plan = make_plan(CommitTree(repo, one.commit), PATCHSET)
        wanted = {edit.edit.id: edit.detail for edit in plan.edits if edit.state is State.CONFLICT}
        assert {conflict.edit: conflict.detail for conflict in one.conflicts} == wanted
    assert found.last_good is not None
    assert found.first_bad is not None
    assert (found.last_good.commit, found.first_bad.commit) == (made[3], made[4])


def test_each_content_is_judged_once(
    history: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, _ = history
    seen: list[str] = []
    real = verdicts.judge

    def judge(patchset: PatchSet, path: str, data: bytes) -> verdicts.Verdicts:
        seen.append(path)
        return real(patchset, path, data)

    monkeypatch.setattr(verdicts, "judge", judge)
    found = drift(repo, PATCHSET, jobs=1)
    assert found.judged == len(seen) == EXISTING + 3  # every file once, ops.cpp and llama.h as they changed
    drift(repo, PATCHSET, jobs=1)
    assert len(seen) == EXISTING + 3  # the second time nothing
    commit(repo, "five", OPS, "/* here */", "/* there */")
    drift(repo, PATCHSET, jobs=1)
    assert len(seen) == EXISTING + 4


@pytest.mark.parametrize("bisect", [False, True])
def test_the_cause_is_the_commit_and_its_hunk(history: tuple[Path, list[str]], bisect: bool) -> None:
    repo, made = history
    causes = {cause.edit: cause for cause in drift(repo, PATCHSET, bisect=bisect).causes}
    assert causes["llama-ftype"].commit == made[4]
    assert causes["llama-ftype"].subject == "rename the enum"
    assert "-enum llama_ftype" in causes["llama-ftype"].hunk.replace("    ", "")
    assert causes["cpu-ops"].commit == made[5]
    assert "case GGML_TYPE_Q8_0" in causes["cpu-ops"].hunk


def test_bisect_judges_few_and_names_the_same(mini_repo: Path) -> None:
    for number in range(40):
        commit(mini_repo, f"before {number}")
    bad = commit(mini_repo, "rename", "include/llama.h", "enum llama_ftype", "enum llama_file_type")
    for number in range(40):
        commit(mini_repo, f"after {number}")
    found = drift(mini_repo, PATCHSET, bisect=True)
    assert len(found.revisions) < 20
    assert found.first_bad is not None
    assert found.first_bad.commit == bad
    assert [cause.commit for cause in found.causes] == [bad]


def test_ranges_refs_and_their_names(history: tuple[Path, list[str]]) -> None:
    repo, made = history
    git(repo, "tag", "b1", made[1])
    git(repo, "tag", "b2", made[5])
    found = drift(repo, PATCHSET, refs=("b1", "b2"))
    assert [(one.ref, one.state) for one in found.revisions] == [("b1", "ok"), ("b2", "conflict")]
    ranged = drift(repo, PATCHSET, refs=(f"{made[1]}..{made[3]}",))
    assert [one.commit for one in ranged.revisions] == made[2:4]
    with pytest.raises(UsageError, match="no-such"):
        drift(repo, PATCHSET, refs=("no-such",))
    with pytest.raises(UsageError, match="looked for commits"):
        drift(repo, PATCHSET, refs=("b1..b1",))


def test_a_file_that_comes_back_and_one_that_goes(mini_repo: Path) -> None:
    text = (mini_repo / OPS).read_text(encoding="utf-8")
    (mini_repo / OPS).unlink()
    gone = commit(mini_repo, "gone")
    (mini_repo / OPS).write_text(text, encoding="utf-8")
    commit(mini_repo, "back")
    states = [one.state for one in drift(mini_repo, PATCHSET).revisions]
    assert states == ["ok", "conflict", "ok"]
    (mini_repo / OPS).unlink()
    last = commit(mini_repo, "gone again")
    (cause,) = [cause for cause in drift(mini_repo, PATCHSET).causes if cause.edit == "cpu-ops"]
    assert cause.commit == last != gone
    assert cause.hunk == f"{OPS} is gone"


def test_the_picture_has_a_row_an_edit_and_a_bar_a_run(history: tuple[Path, list[str]]) -> None:
    repo, _ = history
    picture = ET.fromstring(svg(drift(repo, PATCHSET), PATCHSET))  # noqa: S314 - our own text
    bars = picture.findall("{http://www.w3.org/2000/svg}rect")
    assert sum(bar.get("fill") == "#d1242f" for bar in bars) >= 2
    texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {edit.id for edit in PATCHSET.edits} <= set(texts)
    assert svg(Drift("x", ()), PATCHSET).startswith("<svg")


def test_the_command(
    history: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repo, made = history
    picture = tmp_path / "drift.svg"
    assert cli.run(["drift", str(repo), "--json", "--picture", str(picture)]) == 1
    document = json.loads(capsys.readouterr().out)
    assert set(document) >= {"revisions", "last_good", "first_bad"}
    assert document["first_bad"] == made[4][:12]
    assert picture.exists()
    assert cli.run(["drift", str(repo), "--refs", f"..{made[3]}"]) == 0
    assert cli.run(["drift", str(tmp_path)]) == 2
    assert "looked for a git repository" in capsys.readouterr().err
    assert git(repo, "status", "--porcelain") == ""


def test_history_of_merges_follows_the_first_parent(mini_repo: Path) -> None:
    git(mini_repo, "checkout", "-qb", "side")
    commit(mini_repo, "side", OPS, "switch", "/* side */ switch")
    git(mini_repo, "checkout", "-q", "main")
    commit(mini_repo, "main")
    git(mini_repo, "merge", "-q", "--no-ff", "-m", "merged", "side")
    row = commits(mini_repo, "HEAD", paths_of(PATCHSET))
    assert [one.subject for one in row] == ["base", "main", "merged"]
    assert list(row[2].changes) == [OPS]
    assert any("/* side */" in hunk for hunk in hunks(mini_repo, row[2].id, OPS))


@pytest.mark.parametrize("fits", [[2, 3, 4, 5, 6], [6], [0, 1, 2, 3, 4, 5, 6], [3, 4, 5, 6]])
def test_the_break_is_found_though_history_begins_unfit(fits: list[int]) -> None:
    """The break is one commit below the newest; the oldest were never fit for the type."""
    asked: list[int] = []

    def refused(position: int) -> bool:
        asked.append(position)
        return position not in fits

    assert halved(refused, 7) == (6, 7)
    assert halved(lambda position: True, 7) is None
    assert len(set(asked)) <= 4


def test_what_was_good_for_a_short_while_is_found_between_the_steps() -> None:
    """Positions 0 to 8; steps from the newest ask about 7, 6, 4 and 0."""
    assert halved(lambda position: position != 5, 8) is None
    assert near(lambda position: position != 5, 8, range(8)) == (5, 6)
    assert near(lambda position: True, 8, range(8)) is None


def test_what_the_tree_has_decided_holds_for_its_history(
    mini_repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = "void quantize_row_q8_a8_ref(const double * x, void * y, int64_t k) {\n}\n\nbool ggml_validate"
    commit(mini_repo, "their own", "ggml/src/ggml-quants.c", "bool ggml_validate", theirs)
    commit(mini_repo, "more of it")
    found = drift(mini_repo, PATCHSET)
    assert [[one.edit for one in revision.conflicts] for revision in found.revisions[1:]] == [
        ["quantize-row-ref"]
    ] * 2
    record = '[q8a8-patch]\nformat = 1\n\n[q8_a8]\ntool = "0.1.0"\nkeep = ["quantize-row-ref"]\n'
    (mini_repo / ".q8a8-patch.toml").write_text(record, encoding="utf-8")
    for bisect in (False, True):
        assert not any(one.conflicts for one in drift(mini_repo, PATCHSET, bisect=bisect).revisions)
    assert drift(mini_repo, PATCHSET, refs=("HEAD~1",)).revisions[0].state == "ok"
    commit(mini_repo, "the record")
    bare = mini_repo.parent / "bare.git"
    git(mini_repo, "clone", "-q", "--bare", ".", str(bare))
    assert drift(bare, PATCHSET).revisions[-1].state == "ok"
    (mini_repo / ".q8a8-patch.toml").write_text("[q8_a8", encoding="utf-8")
    assert cli.run(["drift", str(mini_repo)]) == 2
    assert ".q8a8-patch.toml: looked for TOML, found none" in capsys.readouterr().err


def test_ggml_without_llama_is_judged_by_what_goes_there(
    mini_repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = len(drift(mini_repo, PATCHSET).revisions[-1].conflicts)
    git(mini_repo, "rm", "-rqf", "include", "src", "common", "tools", "tests", "gguf-py", "conversion")
    git(mini_repo, "rm", "-qf", "convert_hf_to_gguf.py", "convert_lora_to_gguf.py")
    commit(mini_repo, "ggml alone")
    assert cli.run(["drift", str(mini_repo), "--refs", "HEAD"]) == whole == 0
    assert "ggml without llama; " in capsys.readouterr().err
    git(mini_repo, "rm", "-rqf", "ggml/src/ggml-cpu")
    commit(mini_repo, "of the old days")
    assert cli.run(["drift", str(mini_repo)]) == 3
    said = capsys.readouterr().err
    assert "from before November 2024" in said
    assert said.count("\n") == 1


def test_a_copy_in_another_project_has_a_history_too(mini_repo: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    copy = project / "vendor" / "llama.cpp"
    project.mkdir()
    (project / "README").write_text("ours\n")
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "a project")
    shutil.copytree(mini_repo, copy, ignore=shutil.ignore_patterns(".git"))
    git(project, "add", "-A")
    git(project, "commit", "-qm", "with a copy")
    good = git(project, "rev-parse", "HEAD")
    header = copy / "include/llama.h"
    header.write_text(header.read_text("utf-8").replace("enum llama_ftype {", "enum llama_kind {"), "utf-8")
    git(project, "commit", "-qam", "updated")
    bad = git(project, "rev-parse", "HEAD")
    for bisect in (True, False):
        found = drift(copy, load(), bisect=bisect)
        assert {conflict.edit for conflict in found.revisions[-1].conflicts} == {"llama-ftype"}
        assert [cause.commit for cause in found.causes] == [bad]
        assert found.last_good is not None
        assert found.last_good.commit == good
        assert "-    enum llama_ftype {" in found.causes[0].hunk
    with pytest.raises(UsageError) as refused:
        drift(project, load())
    assert "vendor/llama.cpp" in str(refused.value.hint)
