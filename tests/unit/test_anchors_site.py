"""How rendered text is made to look like its neighbours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patcher.engine.anchors import Place, Site, Source, splice
from patcher.engine.anchors.site import align


@pytest.mark.parametrize(
    ("rendered", "like", "expected"),
    [
        ("X_Q8_A8\t= 120,", "X_Q2_0    = 42,", "X_Q8_A8   = 120,"),
        # what we have is already further right: one space
        ("X_MOSTLY_Q8_A8\t= 120,", "X_Q2_0 = 42,", "X_MOSTLY_Q8_A8 = 120,"),
        # a name that differs in its last part stands under its sibling
        (
            '{ "Q8_A8",\tM_Q8_A8,\t" 8.5"',
            '{ "Q8_0",     M_Q8_0,     " 7.9"',
            '{ "Q8_A8",    M_Q8_A8,    " 8.5"',
        ),
        # first character only
        ("K.Q8_A8:\t(32, 34)", "K.Q8_0:    (1, 2)", "K.Q8_A8:   (32, 34)"),
        # nothing alike in the neighbour
        ("a\tb", "zzz", "a b"),
        ("no tab", "whatever", "no tab"),
    ],
)
def test_align(rendered: str, like: str, expected: str) -> None:
    assert align(rendered, like) == expected


@given(st.text(alphabet="ab_=( \t", max_size=30), st.text(alphabet="ab_=( ", max_size=60))
def test_align_only_ever_changes_tabs(rendered: str, like: str) -> None:
    out = align(rendered, like)
    assert "\t" not in out
    assert out.replace(" ", "") == rendered.replace("\t", "").replace(" ", "")


def test_lines_follow_indent_and_line_ending() -> None:
    source = Source("a.c", b"switch (x) {\r\n    case A:\r\n}\r\n")
    site = Site("f", 25, 25, Place.LINES, indent="    ", like="    case A:")
    cut = splice(source, site, "case B:\n    return;\n#if 1\n")
    assert cut.text == b"    case B:\r\n        return;\r\n#if 1\r\n"


def test_a_file_without_final_newline_keeps_none() -> None:
    source = Source("a.c", b"int a;")
    cut = splice(source, Site("", 6, 6, Place.LINES, blank_before=1), "int b;")
    assert source.data[: cut.start] + cut.text == b"int a;\n\nint b;"


def test_inline_text_stays_on_its_line() -> None:
    source = Source("a.c", b"f(a);\n")
    assert splice(source, Site("", 3, 3, Place.INLINE), ", b\n").text == b", b"


def test_code_blanks_comments_and_literals_at_equal_length() -> None:
    data = b'a /* "x" */ "\\"//" // c \'\nb \'"\' R"(")" d\n'
    code = Source("a.cpp", data).code
    assert len(code) == len(data)
    assert code.split() == [b"a", b"b", b"d"]
