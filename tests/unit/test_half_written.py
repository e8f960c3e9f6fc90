"""The type begun by hand in the ways that people begin it: never half theirs and half ours, and a way out by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from patcher import cli
from patcher.engine.numbering import numbers
from patcher.engine.patchset import load
from patcher.engine.planning import make_plan
from patcher.engine.tree import WorkTree
from tests.conftest import snapshot

PATCHSET = load()
HEADER = "ggml/include/ggml.h"
COMMON = "ggml/src/ggml-common.h"
QUANTS = "ggml/src/ggml-quants.c"
BLOCK = "typedef struct { ggml_half d; int8_t qs[32]; }"

# file, what is put at its end, the edit that it is in the way of, what is said
WRITTEN = [
    (HEADER, "#define GGML_TYPE_Q8_A8 ((enum ggml_type) 39)", "ggml-type", "another meaning of the name"),
    (COMMON, f"{BLOCK} block_mine;\ntypedef block_mine block_q8_a8;", "block", "another meaning of the name"),
    (COMMON, "typedef block_q8_0 block_q8_a8;", "block", "another meaning of the name"),
    (COMMON, "#define block_q8_a8 block_q8_0", "block", "another meaning of the name"),
    ("ggml/src/q8/q8_a8.h", f"{BLOCK} block_q8_a8;", "block", "line 1: another meaning"),
    (QUANTS, "#define quantize_q8_a8 quantize_q8_0", "quantize", "another meaning of the name"),
    (
        QUANTS,
        "static void quantize_row_q8_a8_ref(const float * x, block_q8_a8 * y, int64_t k) { work(x, y, k); }",
        "quantize-row-ref",
        "static, where other files call it",
    ),
]


@pytest.mark.parametrize(("path", "text", "edit", "says"), WRITTEN)
def test_another_meaning_of_a_name_is_a_conflict(
    mini_repo: Path, path: str, text: str, edit: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = mini_repo / path
    place.parent.mkdir(exist_ok=True)
    with place.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
    before = snapshot(mini_repo)
    plan = make_plan(WorkTree(mini_repo), PATCHSET)
    assert [one.edit.id for one in plan.conflicts] == [edit]
    assert says in plan.conflicts[0].detail
    assert cli.run(["apply", str(mini_repo)]) == 3
    assert f"--replace {edit}" in capsys.readouterr().err
    assert cli.run(["apply", str(mini_repo), "--replace", edit]) == 0
    assert not make_plan(WorkTree(mini_repo), PATCHSET).conflicts
    assert text.encode() not in place.read_bytes()
    assert cli.run(["revert", str(mini_repo)]) == 0
    assert snapshot(mini_repo) == before


def test_a_case_under_a_condition_of_its_own_can_be_kept_and_replaced(mini_repo: Path) -> None:
    assert cli.run(["apply", str(mini_repo), "-q"]) == 0
    place = mini_repo / QUANTS
    label = "        case GGML_TYPE_Q8_A8:\n"
    text = place.read_text(encoding="utf-8")
    assert label in text
    place.write_text(text.replace(label, f"#ifdef MINE\n{label}#endif\n"), encoding="utf-8")
    plan = make_plan(WorkTree(mini_repo), PATCHSET)
    (found,) = plan.conflicts
    assert found.choosable
    assert "'case GGML_TYPE_Q8_A8:' under a condition of its own" in found.detail
    assert cli.run(["apply", str(mini_repo), "--replace", found.edit.id]) == 0
    assert f"#ifdef MINE\n{label}" not in place.read_text(encoding="utf-8")
    assert not make_plan(WorkTree(mini_repo), PATCHSET).conflicts


@pytest.mark.parametrize("written", ["GGML_TYPE_Q8_A8,", "GGML_TYPE_Q8_A8 = GGML_TYPE_Q2_0 + 1,"])
def test_a_number_that_isnt_written_out_is_read_all_the_same(mini_repo: Path, written: str) -> None:
    place = mini_repo / HEADER
    text = place.read_text(encoding="utf-8")
    place.write_text(
        text.replace("GGML_TYPE_COUNT   = 43,", f"{written}\n        GGML_TYPE_COUNT,"), encoding="utf-8"
    )
    assert [(one.fact, one.value) for one in numbers(WorkTree(mini_repo), PATCHSET)] == [("id", 43)]
    assert cli.run(["apply", str(mini_repo), "--adopt-id", "-q"]) == 0
    assert "Q8_A8" in (mini_repo / "gguf-py/gguf/constants.py").read_text(encoding="utf-8")
    assert {one.value for one in numbers(WorkTree(mini_repo), PATCHSET) if one.fact == "id"} == {43}


def test_one_of_two_numbers_isnt_kept(mini_repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """C would say 39, and Python 120."""
    place = mini_repo / HEADER
    text = place.read_text(encoding="utf-8")
    place.write_text(
        text.replace("GGML_TYPE_COUNT ", "GGML_TYPE_Q8_A8 = 39,\n        GGML_TYPE_COUNT "), encoding="utf-8"
    )
    assert cli.run(["apply", str(mini_repo), "--keep", "ggml-type"]) == 2
    assert "--adopt-id keeps it in all of them" in capsys.readouterr().err


def test_an_anchor_that_is_hidden_can_be_gone_without(mini: Path) -> None:
    place = mini / "ggml/src/ggml-cpu/ops.cpp"
    text = place.read_text(encoding="utf-8")
    place.write_text(
        "#define Q8S case GGML_TYPE_Q8_0: case GGML_TYPE_Q8_A8:\n"
        + text.replace("case GGML_TYPE_Q8_0:", "Q8S", 1),
        encoding="utf-8",
    )
    with pytest.raises(Exception, match="can't be placed") as found:
        make_plan(WorkTree(mini), PATCHSET).require_clean()
    said = "--without cpu-ops leaves that edit out, and then an operator without the case aborts"
    assert said in str(getattr(found.value, "hint", ""))
