"""Manifests, and jobs that are run once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from patcher import cli
from patcher.base.errors import BuildError, ExitCode, UsageError
from patcher.evaluate import grid
from tests.unit.evaluate_fakes import calls, fake_programs, write_gguf

RUNNER = "tests.unit.test_evaluate_grid:fake_job"
MANIFEST = """
text = "text.txt"
rounds = 2
types = "F16,Q8_A8"

[[model]]
path = "one.gguf"

[[model]]
path = "two.gguf"
name = "second"
rounds = 1
"""


def fake_job(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Notes that it ran; fails where the model is called so."""
    model = Path(settings["model"])
    with (model.parent / "ran.txt").open("a", encoding="utf-8") as file:
        file.write(model.stem + "\n")
    if (model.parent / f"{model.stem}.fails").exists():
        raise BuildError(f"{model.stem} does not want to")
    return {"model": model.stem}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text("words " * 2000, encoding="utf-8")
    write_gguf(tmp_path / "one.gguf", "F16")
    write_gguf(tmp_path / "two.gguf", "F16", name="Two")
    place = tmp_path / "grid.toml"
    place.write_text(MANIFEST, encoding="utf-8")
    return place


def ran(manifest: Path) -> list[str]:
    place = manifest.parent / "ran.txt"
    return place.read_text(encoding="utf-8").split() if place.exists() else []


def test_a_manifest_is_a_list_of_jobs(manifest: Path) -> None:
    first, second = grid.load(manifest)
    assert (first.name, second.name) == ("one", "second")
    assert first.settings["text"] == str(manifest.parent / "text.txt")
    assert (first.settings["rounds"], second.settings["rounds"]) == (2, 1)
    assert first.id != second.id


def test_an_id_is_of_contents_not_of_places(manifest: Path, tmp_path: Path) -> None:
    before = [job.id for job in grid.load(manifest)]
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in manifest.parent.glob("*.*"):
        if path.is_file():
            (moved / path.name).write_bytes(path.read_bytes())
    assert [job.id for job in grid.load(moved / "grid.toml")] == before
    (moved / "text.txt").write_text("other words " * 2000, encoding="utf-8")
    assert not set(before) & {job.id for job in grid.load(moved / "grid.toml")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"\[\[model\]\]"),
        ("model = 3", r"\[\[model\]\]"),
        ("[[model]]\nname = 'x'", "path of a"),
        ("[[model]]\npath = 'one.gguf'\nspeed = 3", "one of text"),
        ("[[model]]\npath = 'one.gguf'\nrounds = 'many'", "looked for a int"),
        ("[[model]]\npath = 'none.gguf'", "none.gguf: can't be read"),
        ("[[model]]\npath = 'one.gguf'\n[[model]]\npath = 'one.gguf'", "there twice"),
        ("[[model]", "grid.toml: looked for a manifest"),
    ],
)
def test_a_manifest_that_is_none(manifest: Path, text: str, said: str) -> None:
    manifest.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        grid.load(manifest)


def test_jobs_run_once_and_failures_are_tried_again(manifest: Path, tmp_path: Path) -> None:
    jobs = grid.load(manifest)
    (tmp_path / "one.fails").touch()
    outcomes = grid.run(jobs, tmp_path / "results", runner=RUNNER)
    assert [item.failure for item in outcomes] == ["one does not want to", ""]
    (tmp_path / "one.fails").unlink()
    again = grid.run(jobs, tmp_path / "results", runner=RUNNER)
    assert [(item.failure, item.found) for item in again] == [("", False), ("", True)]
    assert ran(manifest) == ["one", "two", "one"]
    assert json.loads(again[0].file.read_text(encoding="utf-8")) == {"model": "one"}


def test_a_result_that_was_cut_off_counts_as_none(manifest: Path, tmp_path: Path) -> None:
    jobs = grid.load(manifest)[:1]
    (outcome,) = grid.run(jobs, tmp_path / "results", runner=RUNNER)
    outcome.file.write_text('{"model": ', encoding="utf-8")
    (outcome,) = grid.run(jobs, tmp_path / "results", runner=RUNNER)
    assert outcome.found is False
    assert ran(manifest) == ["one", "one"]


def test_results_that_cannot_be_kept(manifest: Path, tmp_path: Path) -> None:
    jobs = grid.load(manifest)
    (tmp_path / "results").write_text("a file", encoding="utf-8")
    with pytest.raises(UsageError, match="results: no folder for results"):
        grid.run(jobs, tmp_path / "results", runner=RUNNER)
    assert ran(manifest) == []


def test_the_command_runs_a_grid(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "evaluate", ("evaluate", "Is it half the size, as fast, as accurate?"))
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    folder = fake_programs(tmp_path / "bin")
    manifest.write_text(f'bin = "{folder}"\n' + MANIFEST, encoding="utf-8")
    line = ["evaluate", "grid", str(manifest), "--results", str(tmp_path / "results"), "--json"]
    assert cli.run([*line, "--list"]) == ExitCode.OK
    matrix = json.loads(capsys.readouterr().out)["include"]
    assert [entry["name"] for entry in matrix] == ["one", "second"]
    assert cli.run([*line, "--only", matrix[1]["job"]]) == ExitCode.OK
    (entry,) = json.loads(capsys.readouterr().out)["jobs"]
    assert json.loads(Path(entry["file"]).read_text(encoding="utf-8"))["models"][1]["type"] == "Q8_A8"
    before = len(calls(folder))
    assert cli.run(line) == ExitCode.OK
    assert [entry["found"] for entry in json.loads(capsys.readouterr().out)["jobs"]] == [False, True]
    assert len(calls(folder)) > before
    assert cli.run([*line, "--only", "third"]) == ExitCode.USAGE
