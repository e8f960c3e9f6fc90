"""The Action's dry run, step by step, on real llama.cpp: green on the good tree, red on the broken ones."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.action_runner import Job, run
from tests.conftest import git
from tests.integration.conftest import NEWEST, Work, copy_of, q8a8_patch, stock_tree

pytestmark = [pytest.mark.llama, pytest.mark.network]

ROOT = Path(__file__).resolve().parents[2]
ACTION = ROOT / "ci/action.yml"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Upstream as it is, carried by a project as a folder of its own."""
    (tmp_path / "project").mkdir()
    return copy_of(stock_tree(NEWEST), tmp_path / "project" / "llama.cpp")


@pytest.fixture
def carried(good: Path) -> Path:
    """A fork that has the type in its history."""
    done = q8a8_patch("apply", good, "--commit", "-q")
    assert done.returncode == 0, done.stderr
    return good


def act(tree: Path, tmp_path: Path, *, own_environment: bool = False, **inputs: str) -> Job:
    """The Action in the project around ``tree``, with this very q8a8-patch unless it is to install its own."""
    program = Path(sys.executable).parent / "q8a8-patch"
    environment = {} if own_environment else {"Q8A8_PATCH": str(program)}
    return run(
        ACTION, inputs, workspace=tree.parent, temp=tmp_path / "temp", environment=environment,
        github={"repository": "o/n"},
    )  # fmt: skip


def restore_cache(place: Path) -> None:
    """What the Action's step "Compiler cache" does: here what ``run`` has compiled for other tests."""
    place.mkdir(parents=True)
    if shutil.which("ccache"):
        said = subprocess.run(["ccache", "-k", "cache_dir"], capture_output=True, text=True, check=True)
        (place / "ccache").symlink_to(said.stdout.strip())


def replaced(tree: Path, file: str, pattern: str, by: str) -> None:
    """A commit that breaks ``file``."""
    text = (tree / file).read_text(encoding="utf-8")
    changed, count = re.subn(pattern, by, text, flags=re.MULTILINE)
    assert count
    (tree / file).write_text(changed, encoding="utf-8")
    git(tree, "commit", "-qam", "broken")


@pytest.mark.compiler
@pytest.mark.slow
def test_green_on_the_good_tree(good: Path, work: Work, tmp_path: Path) -> None:
    before = git(good, "status", "--porcelain", "--ignored")
    restore_cache(tmp_path / "temp/q8a8-guard")
    job = act(good, tmp_path, own_environment=True)
    assert job.green, job.step("Check").log
    steps = {step.name: step.outcome for step in job.steps}
    assert steps["Watch upstream"] == "skipped"
    assert set(steps.values()) == {"success", "skipped"}
    upload = job.step("Upload the findings")
    sarif = json.loads(Path(upload.inputs["sarif_file"]).read_text(encoding="utf-8"))
    assert not [one for one in sarif["runs"][0]["results"] if one["level"] == "error"]
    assert not [line for line in job.step("Check").annotations if line.startswith("::error")]
    assert "Green" in job.summary
    for stage in ("edits", "siblings", "apply", "build", "symbols"):
        assert f"| {stage} | ✅ ok |" in job.summary
    assert "ccache" in job.summary or "no compiler cache" in job.summary
    assert git(good, "status", "--porcelain", "--ignored") == before


BROKEN = {
    "instantiations removed": (
        "carried", "src/llama-model-loader.cpp", r"^.*get_key<\w.*\(const std::string & key,.*\n", "",
        ["edit 'get-key-instantiations' is missing", "file=llama.cpp/src/llama-model-loader.cpp,line="],
    ),
    "a sibling case removed": (
        "carried", "ggml/src/ggml-cpu/ops.cpp",
        r"(void ggml_compute_forward_clamp\((?:.|\n)*?)^ *case GGML_TYPE_Q8_A8:\n", r"\1",
        ["edit 'cpu-ops' is missing (ggml_compute_forward_clamp)", "file=llama.cpp/ggml/src/ggml-cpu/ops.cpp,line="],
    ),
    "an upstream id collision": (
        "good", "ggml/include/ggml.h", r"^( *)GGML_TYPE_COUNT *= *\d+,",
        r"\1GGML_TYPE_Q3_9   = 120,\n\1GGML_TYPE_COUNT  = 121,",
        ["edit 'ggml-type' can't be placed", "found it taken by GGML_TYPE_Q3_9", "file=llama.cpp/ggml/include/ggml.h"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_red_on_a_broken_branch(what: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    kind, file, pattern, by, names = BROKEN[what]
    tree: Path = request.getfixturevalue(str(kind))
    replaced(tree, str(file), str(pattern), str(by))
    job = act(tree, tmp_path)
    assert not job.green
    check = job.step("Check")
    assert check.outcome == "failure"
    errors = [line for line in check.annotations if line.startswith("::error")]
    assert len(errors) == 1, check.log
    for name in names:
        assert name in errors[0]
    # the findings are uploaded although the check has failed; no time was spent on a build
    upload = job.step("Upload the findings")
    assert upload.outcome == "success"
    sarif = json.loads(Path(upload.inputs["sarif_file"]).read_text(encoding="utf-8"))
    (found,) = [one for one in sarif["runs"][0]["results"] if one["level"] == "error"]
    assert found["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == f"llama.cpp/{file}"
    assert "Red" in job.summary
    assert "| build | ⏭️ skipped |" in job.summary


@pytest.mark.compiler
@pytest.mark.slow
def test_the_linker_names_the_missing_instantiation(carried: Path, work: Work, tmp_path: Path) -> None:
    _, file, pattern, by, _ = BROKEN["instantiations removed"]
    replaced(carried, str(file), str(pattern), str(by))
    done = q8a8_patch(
        "guard", "check", "--source", carried, "--work", tmp_path / "w", "--keep-going", "--json"
    )
    assert done.returncode == 1, done.stderr
    problems = json.loads(done.stdout)["problems"]
    (failed,) = [one for one in problems if one["rule"] == "build-failed"]
    assert "undefined reference to bool llama_model_loader::get_key<" in failed["message"]
    assert "template bool llama_model_loader::get_key<" in failed["hint"]


def test_a_schedule_watches(good: Path, tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "q8a8-patch"
    job = run(
        ACTION, {"upstream": str(good), "issue": "false"}, workspace=good.parent, temp=tmp_path / "temp",
        environment={"Q8A8_PATCH": str(program)}, github={"event_name": "schedule"},
    )  # fmt: skip
    assert job.green, job.step("Watch upstream").log
    assert job.step("Check").outcome == "skipped"
    assert job.step("Upload the findings").outcome == "skipped"
    assert "Q8_A8 fits upstream's newest" in job.step("Watch upstream").log
    replaced(good, "include/llama.h", "enum llama_ftype {", "enum llama_file_type {")
    job = run(
        ACTION, {"upstream": str(good), "issue": "false"}, workspace=good.parent, temp=tmp_path / "temp",
        environment={"Q8A8_PATCH": str(program)}, github={"event_name": "schedule"},
    )  # fmt: skip
    assert not job.green
    assert "llama-ftype" in job.step("Watch upstream").log
    assert git(good, "rev-parse", "HEAD")[:12] in job.summary
