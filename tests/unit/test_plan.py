"""Plans on a pocket-sized tree: what is planned, what is refused, what is recognised."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patcher.base.errors import ConflictError, UsageError
from patcher.engine import rendering
from patcher.engine.patchset import NEW_FILE, Edit, load
from patcher.engine.plan import Plan, State
from patcher.engine.planning import make_plan
from patcher.engine.tree import WorkTree
from tests.breaking import gone, place_of
from tests.conftest import FIXTURES, snapshot

PATCHSET = load()
FILES = 40  # that the edits go to; eleven of them are new


def plan(tree: Path) -> Plan:
    return make_plan(WorkTree(tree), PATCHSET)


def by_id(made: Plan) -> dict[str, State]:
    return {edit.edit.id: edit.state for edit in made.edits}


def test_every_edit_has_its_place(mini: Path) -> None:
    made = plan(mini)
    assert made.state == "clean"
    assert {edit.state for edit in made.edits} == {State.MISSING}
    assert len(made.files) == FILES


def test_what_there_is_to_do_in_words(mini: Path) -> None:
    assert plan(mini).extent == f"{len(PATCHSET.edits)} edits in {FILES} files"
    assert make_plan(WorkTree(mini), PATCHSET.select(("block",))).extent == "1 edit in 1 file"


def test_a_cache_that_is_cleaned_meanwhile_is_made_again(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is compiled of templates lies in the cache: another process may clean it while this one plans."""
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    rendering._trusted.cache_clear()
    make_plan(WorkTree(mini), PATCHSET.select(("block",)))
    assert any((tmp_path / "cache/templates").iterdir())
    shutil.rmtree(tmp_path / "cache")
    assert plan(mini).state == "clean"
    assert any((tmp_path / "cache/templates").iterdir())


def test_planning_writes_nothing(mini: Path) -> None:
    before = snapshot(mini)
    plan(mini).diff()
    assert snapshot(mini) == before


def test_the_diff_is_one_that_git_takes(mini_repo: Path) -> None:
    made = plan(mini_repo)
    diff = made.diff().encode("utf-8", "surrogateescape")
    subprocess.run(["git", "apply", "-"], cwd=mini_repo, input=diff, check=True)
    assert all((mini_repo / file.path).read_bytes() == file.after() for file in made.files)
    assert plan(mini_repo).state == "applied"


@pytest.mark.parametrize("edit", PATCHSET.edits, ids=lambda edit: edit.id)
def test_an_anchor_that_is_gone_refuses_the_whole_plan(edit: Edit, mini: Path) -> None:
    name = place_of(edit, mini)
    assert name is not None
    path = mini / name
    if edit.kind == NEW_FILE:
        path.unlink()  # what it is put beside
    else:
        text, count = re.subn(gone(edit), "GONE", path.read_text(encoding="utf-8"))
        assert count, "the test took nothing away"
        path.write_text(text, encoding="utf-8")
    before = snapshot(mini)
    made = plan(mini)
    if edit.optional is not None:  # a note, and the type goes in without it
        assert by_id(made)[edit.id] is State.UNPLACED
        said = next(one.detail for one in made.edits if one.edit.id == edit.id)
        assert "looked for" in said
        assert said.endswith(f"optional: {edit.optional}")
        assert edit.id not in {conflict.edit.id for conflict in made.conflicts}
        return
    assert by_id(made)[edit.id] is State.CONFLICT
    with pytest.raises(ConflictError) as caught:
        made.require_clean()
    message = str(caught.value)
    for conflict in made.conflicts:  # all at once, each with its file and what was looked for
        assert f"{conflict.edit.id}: {conflict.file}: looked for" in message
    assert snapshot(mini) == before


@pytest.mark.parametrize("edit", PATCHSET.edits, ids=lambda edit: edit.id)
def test_a_file_that_is_gone_is_a_conflict_or_has_a_reason(edit: Edit, mini: Path) -> None:
    for path in edit.besides if edit.kind == NEW_FILE else edit.files:
        (mini / path).unlink(missing_ok=True)
    state = by_id(plan(mini))[edit.id]
    optional = State.UNPLACED if edit.optional else State.CONFLICT
    assert state is (State.NOT_NEEDED if edit.unless_missing else optional)
    assert bool(edit.optional) is not bool(edit.required), "each edit says which it is, and why"


@pytest.mark.parametrize("edit", PATCHSET.edits, ids=lambda edit: edit.id)
def test_a_tree_with_one_edit_done_is_completed(edit: Edit, mini: Path) -> None:
    """Whatever is there first: the end is the same, nothing stands twice."""
    whole = {file.path: file.after() for file in plan(mini).files}
    for file in make_plan(WorkTree(mini), PATCHSET.select((edit.id,))).files:
        (mini / file.path).parent.mkdir(parents=True, exist_ok=True)
        (mini / file.path).write_bytes(file.after())
    made = plan(mini)
    assert by_id(made)[edit.id] is State.PRESENT
    made.require_clean()
    completed = {file.path: file.after() for file in made.files}
    untouched = {path: (mini / path).read_bytes() for path in whole if path not in completed}
    assert completed | untouched == whole


@pytest.mark.parametrize(
    ("path", "old", "new", "edit", "says"),
    [
        ("ggml/include/ggml.h", "GGML_TYPE_COUNT   = 43", "GGML_TYPE_Q8_A8 = 39,\n        GGML_TYPE_COUNT = 43",
         "ggml-type", "GGML_TYPE_Q8_A8 = 39, not 120"),
        ("ggml/include/ggml.h", "GGML_TYPE_Q2_0    = 42", "GGML_TYPE_NEW = 120", "ggml-type", "taken by GGML_TYPE_NEW"),
        ("include/llama.h", "LLAMA_FTYPE_MOSTLY_Q2_0          = 41", "LLAMA_FTYPE_MOSTLY_Q8_A8 = 38",
         "llama-ftype", "LLAMA_FTYPE_MOSTLY_Q8_A8 = 38, not 120"),
        ("ggml/src/ggml-common.h", "#define QK8_1 32", "typedef struct { ggml_half d; int8_t qs[32]; } block_q8_a8;",
         "block", "block_q8_a8"),
        ("ggml/src/ggml-quants.c", "bool ggml_validate", "void quantize_row_q8_a8_ref(const double * x, void * y, int64_t k) {\n}\n\nbool ggml_validate",
         "quantize-row-ref", "double"),
        ("gguf-py/gguf/constants.py", "    Q2_0    = 42", "    Q8_A8 = 39", "py-type", "Q8_A8 = 39, not 120"),
        ("gguf-py/gguf/constants.py", "    GGMLQuantizationType.Q2_0:    (64, 2 + 16),", "    GGMLQuantizationType.Q8_A8: (32, 36),",
         "py-sizes", "36"),
        ("ggml/src/ggml.c", "case GGML_FTYPE_UNKNOWN:              wtype = GGML_TYPE_COUNT; break;",
         "case GGML_FTYPE_MOSTLY_Q8_A8: wtype = GGML_TYPE_Q8_0; break;", "ftype-to-type", "GGML_TYPE_Q8_0"),
    ],
)  # fmt: skip
def test_what_contradicts_is_named_with_both_sides(
    mini: Path, path: str, old: str, new: str, edit: str, says: str
) -> None:
    file = mini / path
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    conflicts = {conflict.edit.id: conflict.detail for conflict in plan(mini).conflicts}
    assert says in conflicts[edit]


def test_what_a_hand_did_differently_in_form_only_is_taken_as_done(mini: Path) -> None:
    file = mini / "ggml/src/ggml-common.h"
    ours = "typedef struct { // mine\n  ggml_half   weight_scale;\n  int8_t weight_qs[ QK8_A8 ]; } block_q8_a8;\n"
    file.write_bytes(file.read_bytes() + b"#define QK8_A8 32\n" + ours.encode())
    made = plan(mini)
    assert by_id(made)["block"] is State.PRESENT
    assert made.state == "partial"


def test_numbers_that_no_type_has_are_refused_where_the_table_has_a_hole(mini: Path) -> None:
    """The table grew to 121 entries: what upstream refuses as beyond its end lies in a hole of it now."""
    written = {file.path.rpartition("/")[2]: file.after().decode() for file in plan(mini).files}
    for name, number in (
        ("gguf.cpp", "info.t.type"),
        ("ggml-rpc.cpp", "tensor->type"),
    ):
        hole = f"({number} < GGML_TYPE_Q8_A8 && ggml_get_type_traits((enum ggml_type) {number})->type_name == NULL)"
        assert f"{number} >= GGML_TYPE_COUNT || {hole}) {{" in written[name]


def test_a_function_that_upstream_adds_tomorrow_is_served(mini: Path) -> None:
    ops = mini / "ggml/src/ggml-cpu/ops.cpp"
    text = ops.read_text(encoding="utf-8")
    ops.write_text(text + text.split("\n\n")[0].replace("_add", "_of_tomorrow") + "\n", encoding="utf-8")
    made = plan(mini)
    edit = next(edit for edit in made.edits if edit.edit.id == "cpu-ops")
    assert "ggml_compute_forward_of_tomorrow" in edit.owners
    assert len(edit.splices) == 8


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(
        sorted(path for edit in PATCHSET.edits if edit.kind != NEW_FILE for path in edit.files[:1])
    ),
    st.booleans(),
)
def test_bytes_outside_the_edits_survive(path: str, crlf: bool) -> None:
    """Line endings, tabs, bytes that are not UTF-8: all that was there is there in order, and nothing twice."""
    raw = (FIXTURES / "mini" / path).read_bytes()
    if not path.endswith(".py"):
        raw = b"// \xff\xfe\t\r\n" + raw if crlf else b"// \xff\n" + raw
    raw = raw.replace(b"\n", b"\r\n").replace(b"\r\r", b"\r") if crlf else raw

    class One:
        name = "one"

        def read(self, asked: str) -> bytes | None:
            return raw if asked == path else None

    file = next(file for file in make_plan(One(), PATCHSET).files if file.path == path)
    position = 0
    for _, cut in file.splices:
        assert position <= cut.start <= cut.end
        position = cut.end
    kept = b"".join(
        raw[start:end]
        for start, end in zip(
            [0, *(cut.end for _, cut in file.splices)],
            [*(cut.start for _, cut in file.splices), len(raw)],
            strict=True,
        )
    )
    after = file.after()
    assert (after.count(b"\n") == after.count(b"\r\n")) is crlf
    for _, cut in reversed(file.splices):
        where = after.rindex(cut.text)
        after = after[:where] + after[where + len(cut.text) :]
    assert after == kept


def test_selecting_an_unknown_edit_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no-such"):
        PATCHSET.select(("no-such",))
    assert len(PATCHSET.select(without=("tests",)).edits) == len(PATCHSET.edits) - 2


def test_a_group_brings_what_it_wants_and_stays_without_it() -> None:
    """Speed for Q8_0's files comes with what gives the file's pages back, in a tree that takes no type."""
    alone = {edit.id for edit in PATCHSET.select(("accelerate-q8_0",)).edits}
    assert {"mapped-bytes", "kernels-buffer-type", "accelerate-q8_0"} <= alone
    assert "ggml-type" not in alone
    left = {edit.id for edit in PATCHSET.select(without=("loading",)).edits}
    assert "accelerate-q8_0" in left
    assert "mapped-bytes" not in left
    assert "accelerate-q8_0" not in {edit.id for edit in PATCHSET.select(without=("ggml-cpu-kernels",)).edits}


def test_a_number_of_somebody_elses_leads_to_what_can_be_done(mini: Path) -> None:
    """The name may be a hand's, with another number, or a type of upstream's own: the error says both."""
    header = mini / "ggml/include/ggml.h"
    header.write_text(
        header.read_text(encoding="utf-8").replace(
            "GGML_TYPE_COUNT   =", "GGML_TYPE_Q8_A8 = 43,\n GGML_TYPE_COUNT ="
        )
    )
    with pytest.raises(ConflictError) as refused:
        plan(mini).require_clean()
    assert "GGML_TYPE_Q8_A8 = 43, not 120" in str(refused.value)
    for way in ("--renumber", "--adopt-id", "where Q8_A8 is a type of upstream's own, neither will do"):
        assert way in str(refused.value.hint)
