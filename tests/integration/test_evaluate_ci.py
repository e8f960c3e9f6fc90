"""The workflow that ``ci/evaluate-matrix`` writes: linted, and its steps run here as a runner would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.conftest import environment
from tests.integration.test_ci_files import actionlint
from tests.unit.evaluate_fakes import calls, fake_programs, write_gguf

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = """
bin = "bin"
text = "text.txt"
types = "F16,Q8_A8"
rounds = 2
threads = [1]
[[model]]
path = "one.gguf"
[[model]]
path = "two.gguf"
name = "the second: \\"quoted\\""
"""
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the steps are a shell's")


def made(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "ci" / "evaluate-matrix"), "grid.toml", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "grid.toml").write_text(MANIFEST, encoding="utf-8")
    return tmp_path


def test_the_workflow_is_one(folder: Path) -> None:
    done = made(folder, "--runner", "self-hosted", "--models", "cp /models/* .")
    assert done.returncode == 0, done.stderr
    place = folder / "evaluate.yml"
    place.write_text(done.stdout, encoding="utf-8")
    jobs = yaml.safe_load(done.stdout)["jobs"]
    assert jobs["measure"]["strategy"]["matrix"]["job"] == ["one", 'the second: "quoted"']
    assert jobs["measure"]["runs-on"] == "self-hosted"
    assert "cp /models/* ." in [step.get("run") for step in jobs["measure"]["steps"]]
    assert (
        made(
            folder, "--runner", "self-hosted", "--models", "cp /models/* .", "--check", str(place)
        ).returncode
        == 0
    )
    changed = made(folder, "--check", str(place))
    assert changed.returncode == 1
    assert '-    runs-on: "self-hosted"' in changed.stdout


@pytest.mark.network
def test_the_workflow_is_linted(folder: Path) -> None:
    place = folder / "evaluate.yml"
    place.write_text(made(folder).stdout, encoding="utf-8")
    done = actionlint(place)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_manifest_that_cannot_be_a_matrix(folder: Path) -> None:
    (folder / "grid.toml").write_text(
        "[[model]]\npath = 'a/x.gguf'\n[[model]]\npath = 'b/x.gguf'\n", encoding="utf-8"
    )
    done = made(folder)
    assert done.returncode == 2
    assert done.stderr == "error: grid.toml: x is the name of two jobs; give each [[model]] a name\n"


def test_its_steps_measure_and_merge(folder: Path) -> None:
    fake_programs(folder / "bin")
    (folder / "text.txt").write_text("some words " * 100, encoding="utf-8")
    for name in ("one", "two"):
        write_gguf(folder / f"{name}.gguf", "F16", name=name)
    shim = folder / "path" / "q8a8-patch"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m patcher "$@"\n', encoding="utf-8")
    shim.chmod(0o755)
    jobs: dict[str, Any] = yaml.safe_load(made(folder).stdout)["jobs"]
    summary = folder / "summary.md"
    env = environment(
        PATH=f"{shim.parent}:{os.environ['PATH']}", Q8A8_PATCH_CACHE=str(folder / "cache"),
        PYTHONPATH=str(ROOT), GITHUB_STEP_SUMMARY=str(summary),
    )  # fmt: skip

    def step(job: str, words: str, **more: str) -> None:
        (run,) = [step["run"] for step in jobs[job]["steps"] if words in step.get("run", "")]
        done = subprocess.run(
            ["bash", "-e", "-c", run], cwd=folder, env=env | more, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    for number, job in enumerate(jobs["measure"]["strategy"]["matrix"]["job"], 1):
        step("measure", "evaluate grid", JOB=job)
        assert len(list((folder / "results").glob("*.json"))) == number
    step("merge", "evaluate show results")
    step("merge", "GITHUB_STEP_SUMMARY")
    merged = json.loads((folder / "evaluate.json").read_text(encoding="utf-8"))["reports"]
    assert sorted(report["title"] for report in merged) == ["one", "two"]
    rows = [line for line in summary.read_text(encoding="utf-8").splitlines() if "| Q8_A8 |" in line]
    assert [row.split("|")[1].strip() for row in sorted(rows)] == ["one", "two"]
    assert all("2.000x" in row for row in rows)
    before = len(calls(folder / "bin"))
    step("measure", "evaluate grid", JOB="one")
    assert len(calls(folder / "bin")) == before  # its result is there
