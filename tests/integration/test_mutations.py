"""Whatever upstream does to a file: an edit lands where a human would put it, or it is a conflict.

The compiler is the judge: a plan without a conflict is applied, compiled and run, and the program checks
that the type is everywhere that its sibling is.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from patcher.drift.verdicts import OneFile
from patcher.plan import State, make_plan
from tests import mutations as m

pytestmark = pytest.mark.compiler
ALL = list(m.combinations())


def verdict(chosen: tuple[m.Mutation, ...], folder: Path) -> str:
    """``lands``, ``conflict``, or what is wrong."""
    templates = folder / "templates"
    templates.mkdir()
    edits = m.patchset(templates)
    plan = make_plan(OneFile(m.PATH, m.mutated(chosen)), edits)
    if plan.conflicts:
        assert all("looked for" in edit.detail and "found" in edit.detail for edit in plan.conflicts)
        return "conflict"
    (file,) = plan.files
    after = file.after()
    again = make_plan(OneFile(m.PATH, after), edits)
    if [edit.state for edit in again.edits] != [State.PRESENT] * len(edits.edits):
        return f"not idempotent: {[(edit.edit.id, edit.state.value, edit.detail) for edit in again.edits]}"
    (folder / m.PATH).write_bytes(after)
    (folder / "check.c").write_text(m.CHECK, encoding="utf-8")
    program = folder / "check"
    done = subprocess.run(
        ["gcc", "-std=gnu11", "-w", "-o", str(program), str(folder / "check.c")],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        return f"does not compile: {done.stderr[:400]}"
    code = subprocess.run([str(program)]).returncode
    return "lands" if code == 0 else f"silently wrong: check {code}"


@pytest.mark.parametrize("chosen", ALL, ids=m.name_of)
def test_it_lands_or_it_is_a_conflict(chosen: tuple[m.Mutation, ...], tmp_path: Path) -> None:
    found = verdict(chosen, tmp_path)
    wanted = "lands" if all(mutation.lands for mutation in chosen) else "conflict"
    assert found == wanted


def test_there_are_enough_and_each_changes_something() -> None:
    assert len(ALL) >= 200
    for mutation in m.MUTATIONS[1:]:
        assert mutation.change(m.PROGRAM.encode()) != m.PROGRAM.encode(), mutation.name


def test_the_judge_can_say_no(tmp_path: Path) -> None:
    """The program without the edits, and with one of them left out, fails its own check."""
    templates = tmp_path / "templates"
    templates.mkdir()
    edits = m.patchset(templates)
    whole = make_plan(OneFile(m.PATH, m.PROGRAM.encode()), edits).files[0]
    for left_out in ("case", "fast", "list", "traits", "quantize", "count"):
        data = whole.after({edit.id for edit in edits.edits} - {left_out})
        (tmp_path / m.PATH).write_bytes(data)
        (tmp_path / "check.c").write_text(m.CHECK, encoding="utf-8")
        done = subprocess.run(
            ["gcc", "-std=gnu11", "-w", "-o", str(tmp_path / "check"), str(tmp_path / "check.c")]
        )
        assert done.returncode != 0 or subprocess.run([str(tmp_path / "check")]).returncode != 0, left_out
