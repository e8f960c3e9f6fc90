"""A neighbour under a condition of its own: ours goes outside, or the edit is refused and says why."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from patcher.engine.anchors import ANCHORS, AnchorError, ParsedFile, Source
from patcher.engine.anchors.kind import Language
from patcher.engine.anchors.syntax import Syntax, ancestor
from patcher.engine.patchset import NEW_FILE, Edit, load
from patcher.engine.plan import State
from patcher.engine.planning import make_plan
from patcher.engine.tree import WorkTree
from tests.breaking import gone, place_of

PATCHSET = load()
WHOLE = {
    "case": ("case_statement",),
    "function": ("function_definition",),
    "declaration": ("declaration",),
    "item": ("declaration", "static_assert_declaration", "struct_specifier", "expression_statement"),
    "table": ("initializer_pair",),
    "comparison": ("if_statement", "return_statement"),
    "statement": ("if_statement", "declaration", "expression_statement"),
    "element": ("initializer_list",),
}
# an enumerator looks for one that has no condition; a count has to be one; instantiations hang on a list
EDITS = [
    edit
    for edit in PATCHSET.edits
    if edit.kind != NEW_FILE and ANCHORS[edit.kind].language is Language.C and edit.kind in WHOLE
]


def wrapped(edit: Edit, text: str, opening: str) -> str:
    """``text`` with the whole construct that the edit hangs on between ``opening`` and #endif."""
    source = Source(edit.files[0], text.encode())
    syntax = Syntax(source)
    found = re.search(gone(edit).encode(), source.spoken)
    assert found is not None
    node = ancestor(syntax.at(found.start(), found.end()), *WHOLE[edit.kind])
    start, end = (node.start_byte, node.end_byte) if node is not None else found.span()
    if edit.kind == "element" and (node is None or text.count("\n", start, end)):
        start = end = found.start()
    first, last = source.line_start(start), source.line_end(max(start, end - 1))
    return text[:first] + f"{opening}\n" + text[first:last] + "#endif\n" + text[last:]


@pytest.mark.parametrize("opening", ["#ifdef MINE", "#ifndef MINE\n#else"])
@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.id)
def test_ours_is_never_inside_the_siblings_condition(edit: Edit, opening: str, mini: Path) -> None:
    name = place_of(edit, mini)
    assert name is not None
    place = mini / name
    place.write_text(wrapped(edit, place.read_text(encoding="utf-8"), opening), encoding="utf-8")
    data = place.read_bytes()
    start = data.index(opening.encode())
    end = data.index(b"#endif\n", start)
    plan = next(one for one in make_plan(WorkTree(mini), PATCHSET).edits if one.edit.id == edit.id)
    if plan.state in (State.CONFLICT, State.UNPLACED):
        assert (
            opening.partition("\n")[0][:20] in plan.detail or "none" in plan.detail or "0" in plan.detail
        ), plan.detail
        return
    assert plan.state is State.MISSING
    assert not [cut for cut in plan.splices if start < cut.start <= end], plan.splices


def located(text: str, **parameters: object) -> list[int]:
    file = ParsedFile(Source("one.c", text.encode()), [("case", parameters)])
    return [site.start for site in file.locate("case", parameters).sites]


SWITCH = """void f(int t) {
    switch (t) {
        case A:
            g();
            break;
#ifdef MINE
        case Q8_0:%s
#endif
        case Q2_K:
            h();
            break;
        default: break;
    }
}
"""


def test_a_label_whose_statements_lie_behind_the_condition_goes_above_it() -> None:
    text = SWITCH % ""
    assert located(text, label="Q8_0", ours="X") == [text.index("#ifdef")]


@pytest.mark.parametrize("statements", [" k(); break;", " { k(); } break;", " k();"])
def test_a_label_whose_statements_lie_inside_is_refused(statements: str) -> None:
    """Above the condition it would run Q2_K's statements wherever MINE isn't defined."""
    with pytest.raises(AnchorError, match="#ifdef MINE"):
        located(SWITCH % statements, label="Q8_0", ours="X")


def test_an_arm_goes_behind_the_condition_where_nothing_falls_into_it() -> None:
    text = SWITCH % " k(); break;"
    assert located(text, label="Q8_0", ours="X", arm=True) == [text.index("        case Q2_K")]
    falls = SWITCH % " k(); break;\n        case Q8_1: k();"
    with pytest.raises(AnchorError, match="#ifdef MINE"):
        located(falls, label="Q8_0", ours="X", arm=True)


@pytest.mark.parametrize(
    ("path", "call", "edit"),
    [
        ("tools/CMakeLists.txt", r"add_subdirectory\(imatrix\)", "stats-directory"),
        (
            "ggml/src/ggml-cpu/CMakeLists.txt",
            r"list *\(APPEND GGML_CPU_SOURCES[^)]*traits\.h[^)]*\)",
            "kernels-sources",
        ),
    ],
)
def test_a_call_that_is_made_under_an_if(path: str, call: str, edit: str, mini: Path) -> None:
    place = mini / path
    text = place.read_text(encoding="utf-8")
    found = re.search(call, text)
    assert found is not None
    place.write_text(text.replace(found[0], f"if (MINE)\n{found[0]}\nendif()"), encoding="utf-8")
    data = place.read_bytes()
    plan = next(one for one in make_plan(WorkTree(mini), PATCHSET).edits if one.edit.id == edit)
    if plan.state is State.MISSING:
        assert plan.splices[0].start > data.index(b"endif()", data.index(b"if (MINE)"))
    else:
        assert "if (MINE)" in plan.detail
