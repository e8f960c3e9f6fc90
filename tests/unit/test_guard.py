"""The guard on a pocket-sized tree: what is found, where a tree lies, how findings are written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from patcher import cli
from patcher.base.errors import UsageError
from patcher.guard import CheckRequest, Judgement, Problem, Stage, check, outputs
from patcher.guard.place import carried_tree, copy_to
from tests.conftest import git, snapshot


def static(source: Path, *, expect: str = "auto", fail_on: str = "error") -> Judgement:
    return check(CheckRequest(str(source), static=True, expect=expect, fail_on=fail_on))


@pytest.fixture(autouse=True)
def no_pull_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that runs for a pull request audits its merges; these repositories are none of it."""
    for name in ("GITHUB_BASE_REF", "CI_MERGE_REQUEST_DIFF_BASE_SHA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def carried(mini_repo: Path) -> Path:
    """The small tree with the type, committed by its owner."""
    assert cli.run(["apply", str(mini_repo), "--commit", "-q"]) == 0
    return mini_repo


def without(file: Path, pattern: str) -> None:
    """Take the one line that matches ``pattern`` out of ``file``."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not re.search(pattern, line)]
    assert len(kept) == len(lines) - 1
    file.write_text("".join(kept), encoding="utf-8")


def errors(found: Judgement) -> list[Problem]:
    return [one for one in found.problems if one.severity == "error"]


def test_a_stock_tree_is_green_and_untouched(mini_repo: Path) -> None:
    before = snapshot(mini_repo)
    found = static(mini_repo)
    assert not errors(found)
    assert not found.carried
    assert [stage.state for stage in found.stages] == ["ok", "ok", "skipped", "skipped"]
    assert snapshot(mini_repo) == before


def test_where_the_type_is_left_out_nobody_asks_for_it_beside_its_sibling(mini_repo: Path) -> None:
    """Only the kernels, which Q8_0 is faster with."""
    assert cli.run(["apply", str(mini_repo), "--only", "accelerate-q8_0", "--commit", "-q"]) == 0
    found = static(mini_repo)
    assert found.carried
    assert found.problems == ()
    edits, siblings, *_ = found.stages
    assert "has what is chosen for it" in edits.detail
    assert (siblings.name, siblings.state) == ("siblings", "skipped")


def test_a_tree_that_carries_the_type_is_green(carried: Path) -> None:
    found = static(carried)
    assert found.carried
    assert not errors(found)


def test_a_case_that_is_gone_is_named_with_its_place(carried: Path) -> None:
    ops = carried / "ggml/src/ggml-cpu/ops.cpp"
    text = ops.read_text(encoding="utf-8")
    start = text.index("case GGML_TYPE_Q8_A8:")
    line = text.count("\n", 0, start) + 1
    ops.write_text(text[: text.rindex("\n", 0, start)] + text[text.index("\n", start) :], encoding="utf-8")
    (one,) = errors(static(carried))
    assert (one.rule, one.file) == ("edit-missing", "ggml/src/ggml-cpu/ops.cpp")
    assert one.line is not None
    assert abs(one.line - line) <= 1
    assert "'cpu-ops' is missing (" in one.message


def test_instantiations_that_are_gone_are_named(carried: Path) -> None:
    loader = carried / "src/llama-model-loader.cpp"
    lines = loader.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not ("get_key<" in line and "const std::string & key" in line)]
    assert len(kept) < len(lines)
    loader.write_text("".join(kept), encoding="utf-8")
    (one,) = errors(static(carried))
    assert one.file == "src/llama-model-loader.cpp"
    assert "'get-key-instantiations' is missing" in one.message


def test_a_number_that_upstream_has_taken_is_named(mini_repo: Path) -> None:
    header = mini_repo / "ggml/include/ggml.h"
    text = header.read_text(encoding="utf-8")
    header.write_text(
        re.sub(r"(\n *)GGML_TYPE_COUNT", r"\1GGML_TYPE_NEW = 120,\1GGML_TYPE_COUNT", text), encoding="utf-8"
    )
    found = errors(static(mini_repo))
    assert [one for one in found if one.rule == "edit-conflict" and "taken by GGML_TYPE_NEW" in one.message]


def test_most_of_the_type_without_its_number_is_carried_all_the_same(carried: Path) -> None:
    without(carried / "ggml/include/ggml.h", r"\bGGML_TYPE_Q8_A8\s*=\s*120")
    found = static(carried)
    assert found.carried
    assert [one for one in errors(found) if "'ggml-type' is missing" in one.message]


def test_what_is_expected_can_be_said(mini_repo: Path) -> None:
    assert len(errors(static(mini_repo, expect="carried"))) > 50


def test_a_new_place_of_the_sibling_is_a_warning(carried: Path) -> None:
    with (carried / "ggml/src/ggml-quants.c").open("a", encoding="utf-8") as file:
        file.write(
            "\nint brand_new(int t) {\n    switch (t) {\n        case GGML_TYPE_Q8_0: return 1;\n    }\n    return 0;\n}\n"
        )
    found = static(carried, fail_on="warning")
    new = [one for one in found.problems if one.rule == "unhandled-sibling" and "brand_new" in one.message]
    assert [one.file for one in new] == ["ggml/src/ggml-quants.c"]
    assert new[0] in found.failing
    assert new[0] not in static(carried).failing


# ---------------------------------------------------------------- where a tree lies


def test_a_project_that_vendors_the_tree(mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    (project / "third_party").mkdir(parents=True)
    mini.rename(project / "third_party" / "llama.cpp")
    assert carried_tree(project) == project / "third_party" / "llama.cpp"
    (project / "third_party/llama.cpp/include/llama.h").write_text("gone\n", encoding="utf-8")
    monkeypatch.chdir(project)
    found = static(Path())
    assert found.prefix == "third_party/llama.cpp"
    assert {found.seen_from_here(one) for one in errors(found)} == {"third_party/llama.cpp/include/llama.h"}


def test_two_trees_are_one_too_many(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in ("a", "b"):
        for file in ("ggml/include/ggml.h", "include/llama.h"):
            (project / name / file).parent.mkdir(parents=True)
            (project / name / file).touch()
    with pytest.raises(UsageError, match="found 2: a, b; name one with --source"):
        carried_tree(project)


def test_a_submodule_that_is_not_checked_out(tmp_path: Path) -> None:
    text = '[submodule "llama"]\n\tpath = deps/llama.cpp\n\turl = https://example.com/llama.cpp\n'
    (tmp_path / ".gitmodules").write_text(text, encoding="utf-8")
    (tmp_path / "deps/llama.cpp").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"git submodule update --init deps/llama\.cpp"):
        carried_tree(tmp_path)


def test_a_real_submodule(mini_repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = tmp_path / "project"
    git(tmp_path, "init", "-q", str(project))
    git(
        project,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(mini_repo),
        "llama.cpp",
    )
    assert cli.run(["guard", "check", "--source", str(project), "--static", "-q"]) == 0
    assert "green" in capsys.readouterr().out


def test_nothing_is_found_by_following_links(mini: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "llama.cpp").symlink_to(mini)
    with pytest.raises(UsageError, match="found none"):
        carried_tree(project)


# ---------------------------------------------------------------- how it is written

EVIL = "a\x1b[31m\n::error::x|`<b>@you\u202e"


@pytest.fixture
def evil() -> Judgement:
    """Findings whose every text comes from somebody who means harm."""
    problems = tuple(Problem(rule, EVIL, EVIL, 3, EVIL) for rule in ("edit-missing", "unhandled-sibling"))
    return Judgement(
        EVIL, None, "0" * 40, True, "", "error", (Stage("edits", "failed", 1.0, EVIL),), problems
    )


@pytest.mark.parametrize("form", ["text", "github", "sarif", "gitlab", "markdown"])
def test_no_form_lets_control_characters_through(form: str, evil: Judgement) -> None:
    said = getattr(outputs, form)(evil)
    assert not re.search(
        r"[\x00-\x08\x0b-\x1f\u202e]", re.sub(r"\x1b\[[0-9;]*m", "", said) if form == "text" else said
    )
    assert "a\x1b[31m" not in said


def test_a_text_begins_no_workflow_command(evil: Judgement) -> None:
    for form in (outputs.text, outputs.markdown):
        assert not [line for line in form(evil).splitlines() if line.lstrip().startswith("::")]
    lines = outputs.github(evil).splitlines()
    assert len(lines) == 2
    assert [line.split(" ")[0] for line in lines] == ["::error", "::warning"]


def test_markdown_is_inert(evil: Judgement) -> None:
    said = outputs.markdown(evil)
    assert "<b>" not in said
    assert "@you" not in said
    assert len([line for line in said.splitlines() if line.startswith("| error")]) == 1


def test_ten_annotations_of_a_level() -> None:
    many = tuple(Problem("edit-missing", f"m{number}", "a.c", number) for number in range(1, 30))
    found = Judgement("s", None, None, True, "", "error", (), many)
    lines = outputs.github(found).splitlines()
    assert len(lines) == 10
    assert lines[0] == "::error file=a.c,line=1,title=edit-missing::m1"
    assert "20 more" in lines[-1]


def test_sarif_has_what_code_scanning_takes(evil: Judgement) -> None:
    (run,) = json.loads(outputs.sarif(evil))["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert place["region"]["startLine"] == 3
        assert re.fullmatch(r"[\w%./:@~+!*'(),;=&$-]+", place["artifactLocation"]["uri"])
    prints = [result["partialFingerprints"]["guardProblem/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)


def test_files_and_exit_codes(mini_repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(mini_repo)
    files = [tmp_path / name for name in ("a.sarif", "a.json", "a.md")]
    arguments = ["guard", "check", "--static", "--sarif", str(files[0]), "--gitlab", str(files[1])]
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(files[2]))
    assert cli.run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["red"] is False
    assert json.loads(files[0].read_text(encoding="utf-8"))["version"] == "2.1.0"
    assert "Green" in files[2].read_text(encoding="utf-8")
    (mini_repo / "include/llama.h").write_text("gone\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert cli.run(arguments) == 1
    said = capsys.readouterr()
    assert "::error file=include/llama.h,title=edit-conflict::Q8_A8: edit 'llama-ftype'" in said.err
    assert "RED" in said.out
    assert json.loads(files[1].read_text(encoding="utf-8"))[0]["location"]["path"] == "include/llama.h"
    assert cli.run([*arguments, "--fail-on", "never"]) == 0


def test_a_folder_that_is_not_there_is_said_before_the_work(mini_repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    assert (
        cli.run(["guard", "check", "--source", str(mini_repo), "--sarif", str(tmp_path / "no/a.sarif")]) == 2
    )
    assert "looked for the folder" in capsys.readouterr().err


def test_static_reads_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["guard", "check", "--static", "--source", "npm:node-llama-cpp"]) == 2
    assert "leave --static out" in capsys.readouterr().err


def test_a_checkout_that_is_no_copy_of_ours_stays(mini_repo: Path, tmp_path: Path) -> None:
    """``run`` and ``fetch`` lay their trees where ``guard check --work`` does: somebody may work there."""
    work = tmp_path / "work"
    assert cli.run(["fetch", "-q", "--source", str(mini_repo), str(work / "llama.cpp")]) == 0
    note = work / "llama.cpp" / "note.txt"
    note.write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match=r"llama\.cpp: is not the copy of an earlier check; name another"):
        copy_to(work, str(mini_repo), None)
    assert note.read_text(encoding="utf-8") == "mine"
    assert [copy_to(tmp_path / "other", str(mini_repo), None).path.is_dir() for _ in "ab"] == [True, True]
