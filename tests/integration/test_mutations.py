"""Whatever upstream does to a file: an edit lands where a human would put it, or it is a conflict.

The compiler is the judge: a plan without a conflict is applied, compiled and run, and the program checks
that the type is everywhere that its sibling is.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from patcher.engine.planning import make_plan
from tests.mutations.judge import PROGRAMS, Attempt, Files, attempts, verdict, write
from tests.mutations.program import Program
from tests.programs import need

pytestmark = pytest.mark.compiler
ALL = list(attempts())
ALONE = [attempt for attempt in ALL if len(attempt.mutations) == 1]
STYLED = [attempt for attempt in ALL if len(attempt.mutations) > 1]
SEED = 2026  # of the samples: the same tests on every machine; -m exhaustive runs them all


def sampled(attempts: list[Attempt], count: int) -> list[ParameterSet]:
    """All of ``attempts`` as parameters; all but ``count`` of them are exhaustive."""
    chosen = set(random.Random(SEED).sample(range(len(attempts)), count))  # noqa: S311 - the same sample each time
    return [
        pytest.param(one, id=one.name, marks=() if number in chosen else (pytest.mark.exhaustive,))
        for number, one in enumerate(attempts)
    ]


def judged(program: Program) -> None:
    """Skip where the program that judges isn't there; compilers are, or nothing works."""
    if program.paths[0] == "CMakeLists.txt":
        need("cmake")


@pytest.mark.parametrize("attempt", sampled(ALONE, len(ALONE) // 2) + sampled(STYLED, 60))
def test_it_lands_or_it_is_a_conflict(attempt: Attempt, tmp_path: Path) -> None:
    judged(attempt.program)
    assert verdict(attempt, tmp_path) == attempt.expected


def test_there_are_enough_and_each_changes_something() -> None:
    assert len(ALONE) >= 200
    for attempt in ALONE:
        stock = {attempt.program.paths[0]: attempt.program.text.encode()}
        assert attempt.files() != stock or attempt.name.endswith("as it is"), attempt.name


@pytest.mark.parametrize("attempt", sampled(ALONE, 40))
def test_the_mutation_itself_is_sound(attempt: Attempt, tmp_path: Path) -> None:
    """A mutation that breaks the program by itself would prove nothing."""
    judged(attempt.program)
    write(attempt.files(), tmp_path)
    unsound_on_purpose = attempt.name in ("Python: no Python", "Python: members by auto()")
    ours_is_known = attempt.kind != "the enum" and attempt.name.startswith("ours")
    assert bool(attempt.program.sound(tmp_path, ours_is_known)) == unsound_on_purpose


@pytest.mark.parametrize("program", [program for program, _, _ in PROGRAMS], ids=lambda one: one.paths[0])
def test_the_judge_can_say_no(program: Program, tmp_path: Path) -> None:
    """The program without the edits, and with one of them left out, fails its own check."""
    judged(program)
    templates = tmp_path / "templates"
    templates.mkdir()
    edits = program.patchset(templates)
    (whole,) = make_plan(Files({program.paths[0]: program.text.encode()}), edits).files
    ids = {edit.id for edit in edits.edits}
    for left_out in ids:
        folder = tmp_path / left_out
        folder.mkdir()
        write({program.paths[0]: whole.after(ids - {left_out})}, folder)
        code, said = program.run(folder)
        assert code != 0 or said, left_out


def test_the_page_names_every_mutation_with_its_verdict() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "mutations.md").read_text(encoding="utf-8")
    rows = [row for row in page.splitlines() if row.endswith((" lands |", " conflict |"))]
    assert rows == [f"| {attempt.name} | {attempt.expected} |" for attempt in ALONE], (
        "python -m benchmarks.mutations"
    )
