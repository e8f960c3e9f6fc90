"""ci/matrix without a build: its table, the page made of it, and what CI asks of it."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def matrix() -> ModuleType:
    loader = SourceFileLoader("matrix", str(ROOT / "ci/matrix"))
    spec = importlib.util.spec_from_loader("matrix", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["matrix"] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module


def rows(page: str) -> dict[str, list[str]]:
    """The first table of ``page``, that of the releases: another one is of forks."""
    lines = itertools.dropwhile(lambda line: line[:1] != "|", page.splitlines())
    table = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in itertools.takewhile(lambda line: line[:1] == "|", lines)
    ]
    return {cells[0]: cells for cells in table[2:]}


def test_the_page_has_every_release_and_no_other(matrix: ModuleType) -> None:
    page = rows((ROOT / "docs/compatibility.md").read_text(encoding="utf-8"))
    assert {name: cells[1].strip("`") for name, cells in page.items()} == matrix.RELEASES


def test_every_release_that_was_tried_works_and_loses_next_to_nothing(matrix: ModuleType) -> None:
    page = rows((ROOT / "docs/compatibility.md").read_text(encoding="utf-8"))
    tried = {name: cells for name, cells in page.items() if cells[-1] != "not tried"}
    assert len(tried) >= 8
    for name, cells in tried.items():
        assert cells[-1] == "works", name
        f16, ours = float(cells[7]), float(cells[8])
        assert abs(ours / f16 - 1) <= matrix.TOLERANCE, name


def test_ci_builds_two_that_there_are_and_plans_all(matrix: ModuleType) -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/releases.yml").read_text(encoding="utf-8"))["jobs"]
    built = jobs["build"]["strategy"]["matrix"]["release"]
    assert len(built) == 2
    assert set(built) <= set(matrix.RELEASES)
    assert [step["run"] for step in jobs["plan"]["steps"] if "matrix" in step.get("run", "")] == [
        "ci/matrix --plan-only"
    ]


def test_a_row_says_what_failed_and_what_was_not_tried(matrix: ModuleType) -> None:
    good = {
        "mails": 8,
        "series": "abcd",
        "objects": 7,
        "f16": 18.5,
        "q8_a8": 18.6,
        "kld": 0.004,
        "text": "a.txt",
    }
    results = [
        matrix.Result("one", "npm:x@1", 60, **good),
        matrix.Result("two", "npm:x@2", 61, failure="block: looked for it; found none"),
        matrix.Result("three", "npm:x@3", 62),
        matrix.Result("four", "npm:x@4"),
        matrix.Result("five", "npm:x@5", 60, **good | {"errors": 2}),
    ]
    page = matrix.table(results)
    said = [cells[-1] for cells in rows(page).values()]
    assert said[:4] == ["works", "block: looked for it; found none", "planned", "not tried"]
    assert said[4] == "2 symbols missing"
    assert len({len(cells) for cells in rows(page).values()}) == 1, "every row has every column"
    assert "chunks of 512 tokens of `a.txt`" in page


def test_known_results_are_the_newest_of_each_release(matrix: ModuleType, tmp_path: Path) -> None:
    place = tmp_path / "v0.5.0"
    place.mkdir()
    for age, number in enumerate((1, 2)):
        file = place / f"result-{number}.json"
        file.write_text(json.dumps({"release": "v0.5.0", "source": "x", "edits": number}), encoding="utf-8")
        os.utime(file, (age, age))
    known = matrix.one("v0.5.0", tmp_path, ROOT / "README.md", plan_only=False, known_only=True)
    assert known.edits == 2
    assert matrix.one("b4980", tmp_path, ROOT / "README.md", plan_only=False, known_only=True).edits == 0
