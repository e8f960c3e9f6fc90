"""Anchors in Python files."""

from __future__ import annotations

from typing import Any

import pytest

from patcher.engine.anchors import AnchorError, Located, ParsedFile, Source, splice


def locate(code: str, kind: str, **parameters: Any) -> Located:
    return ParsedFile(Source("x.py", code.encode()), []).locate(kind, parameters)


def applied(code: str, text: str, kind: str, **parameters: Any) -> str:
    source = Source("x.py", code.encode())
    (site,) = ParsedFile(source, []).locate(kind, parameters).sites
    cut = splice(source, site, text)
    return (source.data[: cut.start] + cut.text + source.data[cut.end :]).decode()


ENUM = "class E(IntEnum):\n    A    = 1\n    Z    = 7  # ü\n\n    LAST = 99\n\n\nx = 1\n"


def test_a_member_goes_behind_the_last_or_before_a_named_one() -> None:
    assert "    LAST = 99\n    B    = 9\n" in applied(
        ENUM, "B\t= 9", "py-member", name="E", ours="B", value=9
    )
    out = applied(ENUM, "B\t= 9", "py-member", name="E", ours="B", value=9, before="LAST")
    assert "    Z    = 7  # ü\n    B    = 9\n\n    LAST" in out


def test_a_taken_number_and_another_number() -> None:
    with pytest.raises(AnchorError, match="taken by Z"):
        locate(ENUM, "py-member", name="E", ours="B", value=7)
    located = locate(ENUM, "py-member", name="E", ours="Z", value=9)
    assert located.existing[0].contradiction == "E.Z = 7, not 9"


def test_entries_in_a_dict_at_any_depth() -> None:
    code = 'def f():\n    m: dict[str, int] = {\n        "a": 1,\n        "z": 2,\n    }\n'
    out = applied(code, '"b":\t3,', "py-entry", variable="m", key='"a"', ours='"b"')
    assert '        "a": 1,\n        "b": 3,\n' in out
    with pytest.raises(AnchorError, match="in n"):
        locate(code, "py-entry", variable="n", key='"a"', ours='"b"')


def test_a_definition_is_two_lines_apart() -> None:
    code = "class A:\n    pass\n\n\nclass C:\n    pass\n"
    assert applied(code, "class B:\n    pass", "py-definition", name="A", ours="B") == (
        "class A:\n    pass\n\n\nclass B:\n    pass\n\n\nclass C:\n    pass\n"
    )


def test_a_branch_joins_the_chain() -> None:
    code = "def f(x):\n    if x == A:\n        y = 1\n    elif x == B:\n        y = 2\n    else:\n        y = 3\n"
    out = applied(code, "elif x == N:\n    y = 9", "py-branch", test="== A$", ours="== N", mentions="A")
    assert "        y = 1\n    elif x == N:\n        y = 9\n    elif x == B:" in out
    compile(out, "x.py", "exec")


def test_a_string_in_the_right_list_only() -> None:
    code = 'a = ["q", "w"]\nb = ("q", "e", "r")\n'
    assert 'b = ("q", "n", "e", "r")' in applied(
        code, ', "n"', "py-string", beside="q", ours="n", among=["e"]
    )
    with pytest.raises(AnchorError, match="found 2"):
        locate(code, "py-string", beside="q", ours="n")


def test_what_is_there_is_left_alone() -> None:
    assert locate(ENUM, "py-member", name="E", ours="A", value=1).existing
    assert locate('a = ["q", "n"]\n', "py-string", beside="q", ours="n").existing


def test_a_file_that_is_no_python_is_a_conflict() -> None:
    with pytest.raises(AnchorError, match="looked for Python"):
        locate("def f(:\n", "py-definition", name="A", ours="B")
