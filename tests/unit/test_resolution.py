"""What another hand has written: compared, proved equal, kept, replaced, and looked for in every file."""

from __future__ import annotations

from pathlib import Path

import pytest

from patcher.base.errors import ConflictError, UsageError
from patcher.engine import transaction
from patcher.engine.patchset import load
from patcher.engine.plan import EditPlan, Plan, State
from patcher.engine.planning import make_plan
from patcher.engine.settled import chosen, remembered
from patcher.engine.tree import WorkTree
from tests.conftest import snapshot

PATCHSET = load()
TRAITS = "ggml/src/ggml-cpu/ggml-cpu.c"
QUANTS = "ggml/src/ggml-quants.c"


def edit(plan: Plan, name: str) -> EditPlan:
    return next(one for one in plan.edits if one.edit.id == name)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path}: no {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def status(tree: Path) -> Plan:
    work = WorkTree(tree)
    return transaction.observed(work, remembered(PATCHSET, work))


@pytest.fixture
def applied(mini_repo: Path) -> Path:
    transaction.apply(WorkTree(mini_repo), PATCHSET)
    return mini_repo


@pytest.mark.parametrize(
    ("path", "old", "new", "name", "says"),
    [
        (
            TRAITS,
            "[GGML_TYPE_Q8_A8] = {\n        .from_float               = quantize_row_q8_0,\n"
            "        .vec_dot                  = ggml_vec_dot_q8_0_q8_0,\n",
            "[GGML_TYPE_Q8_A8] = {\n        .from_float               = quantize_row_q8_0,\n",
            "cpu-type-traits",
            "vec_dot_type",
        ),
        (
            TRAITS,
            "[GGML_TYPE_Q8_A8] = {\n        .from_float               = quantize_row_q8_0,\n"
            "        .vec_dot                  = ggml_vec_dot_q8_0_q8_0,\n",
            "[GGML_TYPE_Q8_A8] = {\n        .from_float               = quantize_row_q8_0,\n"
            "        .vec_dot                  = ggml_vec_dot_q4_0_q8_0,\n",
            "cpu-type-traits",
            "q4_0",
        ),
        (
            "ggml/src/ggml.c",
            'type_name                = "q8_a8"',
            'type_name = "q8_a9"',
            "type-traits",
            "q8_a9",
        ),
        (
            QUANTS,
            "*y++ = scale*x[ib].weight_qs[j];",
            "*y++ = scale*x[ib].weight_qs[0];",
            "dequantize-row",
            "0",
        ),
        (
            "src/llama-quant.cpp",
            "return GGML_TYPE_Q8_A8;",
            "return GGML_TYPE_Q4_0;",
            "default-type",
            "Q4_0",
        ),
        (
            "ggml/src/ggml-cpu/CMakeLists.txt",
            "ggml-cpu/q8-a8/kernels.cpp",
            "",
            "kernels-sources",
            "kernels.cpp",
        ),
        (
            "ggml/src/ggml-cpu/CMakeLists.txt",
            "ggml-cpu/q8-a8/kernels.cpp",
            "#[[ggml-cpu/q8-a8/kernels.cpp]]",
            "kernels-sources",
            "kernels.cpp",
        ),
        (
            "src/llama-quant.cpp",
            "&& new_type != GGML_TYPE_Q8_A8",
            "&& new_type == GGML_TYPE_Q8_A8",
            "output-type",
            "= =",
        ),
        ("ggml/src/gguf.cpp", "->type_name == NULL", "->type_name != NULL", "unknown-in-files", "! ="),
        ("gguf-py/gguf/quants.py", "class Q8_A8(Q8_0,", "class Q8_A8(Q4_0,", "py-quants", "Q4_0"),
    ],
)
def test_what_was_changed_since_is_a_conflict(
    applied: Path, path: str, old: str, new: str, name: str, says: str
) -> None:
    """Nobody's pattern is enough: what stands there is compared with what we would write."""
    assert status(applied).state == "applied"
    change(applied / path, old, new)
    found = edit(status(applied), name)
    # an optional edit is told of and stands in nobody's way
    assert found.differs if found.edit.optional else found.state is State.CONFLICT
    assert says in found.detail


def test_an_emptied_body_is_a_conflict_wherever_it_comes_from(applied: Path) -> None:
    (applied / ".q8a8-patch.toml").unlink()
    text = (applied / QUANTS).read_text(encoding="utf-8")
    start = text.index("void dequantize_row_q8_a8(")
    body, end = text.index("{", start), text.index("\n}\n", start)
    (applied / QUANTS).write_text(text[: body + 1] + text[end:], encoding="utf-8")
    assert "does nothing" in edit(status(applied), "dequantize-row").detail


def test_an_entry_twice(applied: Path) -> None:
    change(
        applied / TRAITS,
        "    [GGML_TYPE_Q8_A8] = {",
        "    [GGML_TYPE_Q8_A8] = { .nrows = 1 },\n    [GGML_TYPE_Q8_A8] = {",
    )
    assert "twice, in lines" in edit(status(applied), "cpu-type-traits").detail


THEIRS = """
void dequantize_row_q8_a8(const block_q8_a8 * GGML_RESTRICT x, float * GGML_RESTRICT y, int64_t k) {
    for (int64_t i = 0; i < k; i++) { y[i] = 1.0f; } // mine
}
"""


def test_another_body_stays_is_told_and_remembered(mini_repo: Path) -> None:
    with (mini_repo / QUANTS).open("a", encoding="utf-8") as file:
        file.write(THEIRS)
    before = snapshot(mini_repo)
    tree = WorkTree(mini_repo)
    found = edit(make_plan(tree, PATCHSET), "dequantize-row")
    assert found.state is State.PRESENT
    assert "written differently from ours" in found.detail
    transaction.apply(tree, PATCHSET)
    assert THEIRS in (mini_repo / QUANTS).read_text(encoding="utf-8")
    assert edit(status(mini_repo), "dequantize-row").resolution == "kept"
    transaction.apply(tree, chosen(PATCHSET, tree, replaced=("dequantize-row",)))
    assert "= 1.0f;" not in (mini_repo / QUANTS).read_text(encoding="utf-8")
    assert status(mini_repo).state == "applied"
    transaction.revert(tree)
    assert snapshot(mini_repo) == before


def test_both_ways_out_are_offered_and_taken(mini_repo: Path) -> None:
    entry = "    [GGML_TYPE_Q8_A8] = { .from_float = theirs, .vec_dot_type = GGML_TYPE_Q8_A8, },\n"
    change(mini_repo / TRAITS, "    [GGML_TYPE_Q8_0] = {", entry + "    [GGML_TYPE_Q8_0] = {")
    before = snapshot(mini_repo)
    tree = WorkTree(mini_repo)
    with pytest.raises(ConflictError) as refused:
        transaction.apply(tree, PATCHSET)
    assert "--keep cpu-type-traits" in str(refused.value.hint)
    assert "--replace cpu-type-traits" in str(refused.value.hint)
    assert snapshot(mini_repo) == before

    transaction.apply(tree, chosen(PATCHSET, tree, keep=("cpu-type-traits",)))
    assert entry in (mini_repo / TRAITS).read_text(encoding="utf-8")
    kept = edit(status(mini_repo), "cpu-type-traits")
    assert (kept.state, kept.resolution) == (State.PRESENT, "kept")
    assert "calls a null pointer" in kept.detail
    transaction.revert(tree)
    assert snapshot(mini_repo) == before

    transaction.apply(tree, chosen(PATCHSET, tree, replaced=("cpu-type-traits",)))
    text = (mini_repo / TRAITS).read_text(encoding="utf-8")
    assert entry not in text
    assert text.count("[GGML_TYPE_Q8_A8] =") == 1
    assert status(mini_repo).state == "applied"
    transaction.revert(tree)
    assert snapshot(mini_repo) == before


def test_keep_and_replace_at_once_and_of_nothing_are_wrong_usage(mini_repo: Path) -> None:
    with pytest.raises(UsageError, match="looked for one of --keep and --replace, found both"):
        chosen(PATCHSET, WorkTree(mini_repo), keep=("block",), replaced=("block",))
    with pytest.raises(UsageError, match="no such edit"):
        chosen(PATCHSET, WorkTree(mini_repo), keep=("blok",))


SECOND = """
#include "ggml-quants.h"

// theirs
void quantize_row_q8_a8_ref(const float * x, void * vy, int64_t k) {
    (void) x; (void) vy; (void) k;
}

void mine(void) { }
"""


def test_a_second_definition_in_another_file(mini_repo: Path) -> None:
    place = mini_repo / "ggml/src/ggml-cpu/mine.c"
    place.write_text(SECOND, encoding="utf-8")
    before = snapshot(mini_repo)
    tree = WorkTree(mini_repo)
    plan = make_plan(tree, PATCHSET)
    found = edit(plan, "quantize-row-ref")
    assert found.state is State.CONFLICT
    assert "ggml/src/ggml-cpu/mine.c, line 5" in found.detail
    assert [(one.file, one.edit) for one in plan.foreign] == [
        ("ggml/src/ggml-cpu/mine.c", "quantize-row-ref")
    ]
    transaction.apply(tree, chosen(PATCHSET, tree, replaced=("quantize-row-ref",)))
    assert "quantize_row_q8_a8_ref" not in place.read_text(encoding="utf-8")
    assert "void mine(void)" in place.read_text(encoding="utf-8")
    assert status(mini_repo).state == "applied"
    transaction.revert(tree)
    assert snapshot(mini_repo) == before


def test_a_static_function_of_that_name_is_its_files_own(mini_repo: Path) -> None:
    (mini_repo / "ggml/src/ggml-cpu/mine.c").write_text(
        SECOND.replace("void quantize", "static void quantize")
    )
    assert not make_plan(WorkTree(mini_repo), PATCHSET).conflicts


def test_what_no_edit_knows_is_listed_with_its_consequence(applied: Path) -> None:
    assert not status(applied).foreign
    ours = "int scaled(struct ggml_tensor * t) { return t->type == GGML_TYPE_Q8_A8; } // GGML_TYPE_Q8_A8\n"
    (applied / "ggml/src/ggml-cpu/mine.c").write_text(ours, encoding="utf-8")
    (found,) = status(applied).foreign
    assert (found.line, found.construct, found.owner) == (1, "comparison", "scaled")
    assert "weights that llama loads are Q8_0 by then" in found.consequence


def test_a_case_with_the_siblings_statements_is_equal_and_one_with_others_is_not(mini_repo: Path) -> None:
    ops = mini_repo / "ggml/src/ggml-cpu/ops.cpp"
    text = ops.read_text(encoding="utf-8")
    label = text.index("case GGML_TYPE_Q8_0:")
    arm = text[label : text.index("break;", label) + 6]
    statements = arm[arm.rindex(":") + 1 :]
    line = text.rindex("\n", 0, label) + 1
    ops.write_text(
        text[:line] + f"        case GGML_TYPE_Q8_A8:{statements}\n" + text[line:], encoding="utf-8"
    )
    assert edit(make_plan(WorkTree(mini_repo), PATCHSET), "cpu-ops").state is not State.CONFLICT
    other = '{ GGML_ABORT("mine"); } break;'
    ops.write_text(text[:line] + f"        case GGML_TYPE_Q8_A8: {other}\n" + text[line:], encoding="utf-8")
    found = edit(make_plan(WorkTree(mini_repo), PATCHSET), "cpu-ops")
    assert found.state is State.CONFLICT
    assert "an arm of its own" in found.detail


ROWS = """        case GGML_TYPE_Q8_A8: {
            for (int64_t r = 0; r < nrows; r++) {
                quantize_row_q8_a8_ref(src + start + r * n_per_row, (char *) dst + (start_row + r) * row_size, n_per_row);
            }
            result = nrows * row_size;
        } break;
"""


def test_rows_in_turn_are_rows_at_once_and_no_other_rows(mini_repo: Path) -> None:
    """Equal by meaning where it is proved: another function, or other bytes, is no proof."""
    place = mini_repo / "ggml/src/ggml.c"
    text = place.read_text(encoding="utf-8")
    at = text.rindex("\n", 0, text.index("case GGML_TYPE_Q8_0:", text.index("ggml_quantize_chunk("))) + 1
    place.write_text(text[:at] + ROWS + text[at:], encoding="utf-8")
    found = edit(make_plan(WorkTree(mini_repo), PATCHSET), "quantize-chunk")
    assert found.state is State.PRESENT
    assert "rows are whole blocks" in found.detail
    for old, new in (("_q8_a8_ref", "_q8_0_ref"), ("(start_row + r)", "(start_row)")):
        place.write_text(text[:at] + ROWS.replace(old, new) + text[at:], encoding="utf-8")
        assert edit(make_plan(WorkTree(mini_repo), PATCHSET), "quantize-chunk").state is State.CONFLICT


def test_the_siblings_own_code_under_our_names(mini_repo: Path) -> None:
    place = mini_repo / QUANTS
    text = place.read_text(encoding="utf-8")
    start = text.index("void dequantize_row_q8_0(")
    theirs = text[start : text.index("\n}\n", start) + 3]
    theirs = theirs.replace("q8_0", "q8_a8").replace("QK8_0", "QK8_A8").replace(".qs", ".weight_qs")
    theirs = theirs.replace("].d)", "].weight_scale)")
    place.write_text(text[:start] + theirs + "\n" + text[start:], encoding="utf-8")
    found = edit(make_plan(WorkTree(mini_repo), PATCHSET), "dequantize-row")
    assert "this tree's own code for Q8_0" in found.detail, theirs


def test_a_merge_in_progress_is_named(applied: Path) -> None:
    ops = applied / "ggml/src/ggml-cpu/ops.cpp"
    ops.write_text(
        "<<<<<<< HEAD\n" + ops.read_text(encoding="utf-8") + "=======\n>>>>>>> b1\n", encoding="utf-8"
    )
    script = applied / "convert_hf_to_gguf.py"
    script.write_text("<<<<<<< HEAD\n" + script.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(ConflictError) as refused:
        status(applied).require_clean()
    said = str(refused.value)
    assert "a merge is in progress in 2 files" in said
    assert "ops.cpp: merge in progress" in said
    assert "convert_hf_to_gguf.py: merge in progress" in said
    assert "take upstream's side" in said


@pytest.mark.parametrize(
    ("path", "old", "new", "says"),
    [
        (
            "ggml/include/ggml.h",
            "GGML_TYPE_COUNT   =",
            "GGML_TYPE_THEIRS = 42,\n GGML_TYPE_COUNT =",
            "42 is GGML_TYPE_Q2_0's",
        ),
        (
            "gguf-py/gguf/constants.py",
            "    Q2_0    = 42",
            "    Q2_0    = 42\n    THEIRS = 42",
            "42 is Q2_0's",
        ),
        ("gguf-py/gguf/constants.py", "    Q2_0    = 42", "    Q2_0    = 43", "and 43 here"),
        (
            "include/llama.h",
            "LLAMA_FTYPE_GUESSED",
            "LLAMA_FTYPE_MOSTLY_THEIRS = 41, LLAMA_FTYPE_GUESSED",
            "41 is LLAMA",
        ),
    ],
)
def test_one_number_of_two_types_whosever_they_are(
    mini: Path, path: str, old: str, new: str, says: str
) -> None:
    assert not make_plan(WorkTree(mini), PATCHSET).foreign
    change(mini / path, old, new)
    found = [one for one in make_plan(WorkTree(mini), PATCHSET).foreign if one.construct == "number"]
    assert says in found[0].consequence
    assert found[0].file == path
