"""Merges in which all is still there, and stands under another condition, in another branch, in another order."""

from __future__ import annotations

from pathlib import Path

import pytest

from patcher.merge_audit import audit_sides
from patcher.merge_audit.c_items import read as read_c
from tests.unit.test_merge_audit import folder

CODE = """\
#ifdef ONE
int one(void);
#else
int other(void);
#endif

template <> struct traits<float> {
    static constexpr int bits = 32;
};

template <> struct traits<half> {
    static constexpr int bits = 16;
};

namespace inner {
int of_inner(int x);
}

namespace outer {
int of_outer(int x);
}

class shape {
public:
    int area(int x);

private:
    int hidden(int x);
};

enum class colour : int {
    red,
    green,
    blue,
    first = 0,
    start = 0,
};

int work(int x) {
    if (x > 1) {
        return do_this(x);
    } else {
        do_that(x, 1);
    }
    switch (x) {
        case 0: step_zero(x, 1); break;
        case 1: step_one(x, 1); break;
    }
    return 0;
}
"""
CODE_OURS = [
    ("    red,\n", "    red,\n    pink,\n"),
    ("bits = 16;\n", "bits = 16;\n    static constexpr int lanes = 8;\n"),
    ("int other(void);\n", "int other(void);\nint ours_declared(void);\n"),
]
CODE_THEIRS = [("do_that(x, 1);", "do_that(x, 2);")]
PYTHON = """\
@cached
class A(Base):
    async def value(
        self,
        other: int,
    ) -> int:
        async with self.lock as held:
            async for item in other:
                await item.done()

    def plain(self):
        try:
            go()
        except ValueError:
            pass
        else:
            fine(self, 1)
        finally:
            close(self, 1)
        match self.x:
            case 1 if self.ok:
                return 1
        if self.x:
            return 2
        else:
            rest(self, 1)
        return 3
"""
PYTHON_OURS = [("        return 3\n", "        return 30\n")]
PYTHON_THEIRS = [("class A(Base)", "class A(Base, Other)")]
LISTS = """\
if (WIN32)
    set(EXTRA w.c common.c)
    target_link_libraries(x PRIVATE ws2)
else()
    set(EXTRA u.c common.c)
endif()
target_compile_definitions(x
    PUBLIC
        TWO
    PRIVATE
        THREE
    )
list(APPEND SRC c.c)
"""
LISTS_OURS = [("u.c common.c", "u.c uu.c common.c"), ("        TWO\n", "        TWO\n        FOUR\n")]
LISTS_THEIRS = [("SRC c.c", "SRC c.c d.c")]
FILES = {
    "code.cpp": (CODE, CODE_OURS, CODE_THEIRS),
    "code.py": (PYTHON, PYTHON_OURS, PYTHON_THEIRS),
    "CMakeLists.txt": (LISTS, LISTS_OURS, LISTS_THEIRS),
}
Change = tuple[str, str]
# file, what the merge has otherwise than git's, the rule, what is found
WRONG: list[tuple[str, list[Change], str, str]] = [
    ("code.cpp", [("#else\n", "")], "merge-line-lost", "#else"),
    ("code.cpp", [("} else {", "}\n    {")], "merge-line-lost", "else"),
    ("code.cpp", [("int ours_declared(void);\n", ""), ("int one(void);\n", "int one(void);\nint ours_declared(void);\n")],
     "merge-moved", "int ours_declared ( void )"),
    ("code.cpp", [("do_that(x, 2);", "\n#if 0\n        do_that(x, 2);\n#endif")], "merge-moved", "do_that ( x , 2 )"),
    ("code.cpp", [("        do_that(x, 2);\n    }", "    }\n    do_that(x, 2);")], "merge-moved", "do_that ( x , 2 )"),
    ("code.cpp", [("        case 1: step_one(x, 1);", "        case 1:"), ("step_zero(x, 1);", "step_zero(x, 1); step_one(x, 1);")],
     "merge-moved", "step_one ( x , 1 )"),
    ("code.cpp", [("    static constexpr int lanes = 8;\n", ""), ("bits = 32;\n", "bits = 32;\n    static constexpr int lanes = 8;\n")],
     "merge-moved", "static constexpr int lanes = 8"),
    ("code.cpp", [("    green,\n    blue,\n", "    blue,\n    green,\n")], "merge-number", "green"),
    ("code.cpp", [("int of_outer(int x);\n", ""), ("int of_inner(int x);\n", "int of_inner(int x);\nint of_outer(int x);\n")],
     "merge-moved", "int of_outer ( int x )"),
    ("code.cpp", [("private:\n    int hidden(int x);\n", "    int hidden(int x);\n\nprivate:\n")], "merge-moved", "int hidden ( int x )"),
    ("code.cpp", [("private:\n", "")], "merge-line-lost", "private:"),
    ("code.py", [("async def value", "def value")], "merge-altered", "async def value(self, other: int) -> int"),
    ("code.py", [("async with", "with")], "merge-altered", "async with self.lock as held"),
    ("code.py", [("async for", "for")], "merge-altered", "async for item in other"),
    ("code.py", [(" if self.ok", "")], "merge-lost", "case 1 if self.ok"),
    ("code.py", [("        else:\n            fine", "            fine")], "merge-line-lost", "else"),
    ("code.py", [("        finally:\n            close", "        close")], "merge-line-lost", "finally"),
    ("code.py", [("        else:\n            rest", "        rest")], "merge-line-lost", "else"),
    ("code.py", [("            return 2\n        else:\n", "            return 2\n        else:\n            pass\n"),
                 ("            rest(self, 1)\n", "        rest(self, 1)\n")], "merge-moved", "rest(self, 1)"),
    ("CMakeLists.txt", [("else()\n", "")], "merge-line-lost", "else"),
    ("CMakeLists.txt", [(" uu.c", ""), ("w.c common.c", "w.c uu.c common.c")], "merge-moved", "uu.c"),
    ("CMakeLists.txt", [("        FOUR\n", ""), ("        THREE\n", "        THREE\n        FOUR\n")], "merge-moved", "FOUR"),
    ("CMakeLists.txt", [("    target_link_libraries(x PRIVATE ws2)\n", ""), ("endif()\n", "endif()\ntarget_link_libraries(x PRIVATE ws2)\n")],
     "merge-moved", "ws2"),
]  # fmt: skip


def changed(text: str, changes: list[Change]) -> str:
    for old, new in changes:
        assert text.count(old) >= 1
        text = text.replace(old, new, 1)
    return text


def found(place: Path, file: str, *texts: str) -> set[tuple[str, str]]:
    """What is said of the base, both sides and the merge."""
    names = [folder(place / name, {file: text}) for name, text in zip("botm", texts, strict=True)]
    return {(one.rule, one.text) for one in audit_sides(place, *names).findings}


@pytest.mark.parametrize("file", FILES)
def test_all_of_both_sides_is_silent(tmp_path: Path, file: str) -> None:
    base, ours, theirs = FILES[file]
    whole = changed(changed(base, ours), theirs)
    assert found(tmp_path, file, base, changed(base, ours), changed(base, theirs), whole) == set()


@pytest.mark.parametrize(("file", "wrong", "rule", "text"), WRONG)
def test_what_stands_elsewhere_is_found(
    tmp_path: Path, file: str, wrong: list[Change], rule: str, text: str
) -> None:
    base, ours, theirs = FILES[file]
    merged = changed(changed(changed(base, ours), theirs), wrong)
    assert (rule, text) in found(tmp_path, file, base, changed(base, ours), changed(base, theirs), merged)


def test_what_the_other_side_put_a_condition_around_follows_it(tmp_path: Path) -> None:
    """Settled by hand: a merge of lines has a conflict there, and so has nothing to say."""
    ours = changed(CODE, [("step_one(x, 1)", "step_one(x, 5)")])
    theirs = changed(CODE, [("step_one(x, 1); break;", "\n#ifdef STEPS\n step_one(x, 1);\n#endif\n break;")])
    merged = theirs.replace("step_one(x, 1)", "step_one(x, 5)")
    assert found(tmp_path, "a.cpp", CODE, ours, theirs, merged) == set()
    # and one condition in place of another takes along what it has
    theirs = changed(CODE, [("#ifdef ONE\n", "#if defined(ONE) || defined(TWO)\n")])
    ours = changed(CODE, [("int one(void);\n", "int one(void);\nint more_of_it(void);\n")])
    merged = ours.replace("#ifdef ONE\n", "#if defined(ONE) || defined(TWO)\n")
    assert found(tmp_path, "b.cpp", CODE, ours, theirs, merged) == set()


def test_a_line_that_one_side_changed_goes_where_the_other_took_it(tmp_path: Path) -> None:
    base = CODE.replace("    return 0;", "    if (x > 1) { finish(x, 3); }\n    return 0;")
    ours = base.replace("do_this(x)", "do_this(x, 77)")
    early = "    if (x <= 1) {\n        do_that(x, 1);\n        return 9;\n    }\n    return do_this(x);\n"
    branches = base[base.index("    if (x > 1)") : base.index("    switch")]
    theirs = base.replace(branches, early)
    merged = theirs.replace("do_this(x)", "do_this(x, 77)")
    assert found(tmp_path, "a.cpp", base, ours, theirs, merged) == set()


def test_a_function_that_one_side_took_to_another_file_has_what_the_other_put_around_its_lines(
    tmp_path: Path,
) -> None:
    work = CODE[CODE.index("int work") :]
    changed_work = work.replace(
        "    return 0;", "    if (x > 7) {\n        step_three(x, 9);\n    }\n    return 0;"
    )
    base = CODE.replace("    return 0;", "    step_three(x, 9);\n    return 0;")
    moved = {"code.cpp": CODE.replace(work, ""), "more.cpp": base[base.index("int work") :]}
    theirs = {"code.cpp": CODE.replace(work, changed_work)}
    merged = {"code.cpp": CODE.replace(work, ""), "more.cpp": changed_work}
    sides = ({"code.cpp": base}, moved, theirs, merged)
    names = [folder(tmp_path / name, files) for name, files in zip("botm", sides, strict=True)]
    assert not {one.rule for one in audit_sides(tmp_path, *names).findings}
    # where the other side has nothing to do with it, the merge has put it there itself
    folder(tmp_path / "t", {"code.cpp": base})
    found = audit_sides(tmp_path, *names).findings
    assert [(one.rule, one.text) for one in found] == [("merge-moved", "step_three ( x , 9 )")]


def test_a_condition_that_the_merge_has_adapted_takes_along_what_it_has(tmp_path: Path) -> None:
    """Ours asks first, theirs wrote it anew, the merge asks in theirs' words; and an else goes with its if."""
    base = CODE.replace("        do_that(x, 1);\n", "        do_that(x, data[0].p);\n")
    ours = base.replace(
        "        do_that(x, data[0].p);\n", "        if (data[0].p > 0) { do_that(x, data[0].p); }\n"
    )
    theirs = base.replace("data[0].p", "all->data[0].p")
    merged = theirs.replace(
        "        do_that(x, all->data[0].p);\n",
        "        if (all->data[0].p > 0) { do_that(x, all->data[0].p); }\n",
    )
    assert not {rule for rule, _ in found(tmp_path, "a.cpp", base, ours, theirs, merged)} & {"merge-moved"}
    whole = CODE[CODE.index("    if (x > 1)") : CODE.index("    switch")]
    said = found(tmp_path, "b.cpp", CODE, CODE, CODE.replace("return 0", "return 5"), CODE.replace(whole, ""))
    assert ("merge-line-lost", "if ( x > 1 )") in said
    assert "else" not in {text for _, text in said}


@pytest.mark.parametrize(
    ("file", "base", "first", "second", "more"),
    [
        (
            "a.c",
            "#ifdef Z\nint z;\n#elif defined(B)\nint zb;\n#endif\n"
            "#ifdef A\n#include <a.h>\n#elif defined(B)\n#include <b.h>\n#endif\n#include <c.h>\n",
            "#ifdef A\n#include <a.h>\n#elif defined(B)\n#include",
            "#if defined(B)\n#include",
            "#include <d.h>\n",
        ),
        (
            "a.cmake",
            "if(Z)\n  set(Z z.c z2.c)\nelseif(B)\n  set(Z zb.c zb2.c)\nendif()\n"
            "if(NOT SOME AND OTHER OR THIRD)\n  set(X a.c a2.c)\nelseif(B)\n  set(X b.c b2.c)\nendif()\n",
            "if(NOT SOME AND OTHER OR THIRD)\n  set(X a.c a2.c)\nelseif(B)\n  set(X",
            "if(B)\n  set(X",
            "set(Y d.c d2.c)\n",
        ),
    ],
)
def test_the_first_branch_of_a_row_may_go(
    tmp_path: Path, file: str, base: str, first: str, second: str, more: str
) -> None:
    """What was an #elif, an elseif is the first one then."""
    merged = changed(base, [(first, second)]) + more
    ours, theirs = base + more, base.replace("a.h", "e.h").replace("a2.c", "a3.c")
    assert "merge-moved" not in {rule for rule, _ in found(tmp_path, file, base, ours, theirs, merged)}


def test_conditions_are_read_as_the_compiler_does() -> None:
    text = (
        "#ifdef A\nint a;\n#elif B\nint b;\n#else\nint c;\n#endif\n"
        "int f(int x) { if (x) { one(x); } else if (x > 2) { two(x); } else { three(x); } return 4; }\n"
        "template <> int g<float>(int x) { return five(x); }\n"
    )
    under = {item.key.text: item.under for item in read_c(text).items}
    assert [under[f"int {name}"][0] for name in "abc"] == ["#ifdef A", "#if B", "#else of #if B"]
    assert [under[f"{name} ( x )"][1] for name in ("one", "two", "three")] == [
        "if ( x )",
        "if ( x > 2 )",
        "else of else if ( x > 2 )",
    ]
    assert under["return 4"] == ("", "", "", "")
    assert {item.key.owner for item in read_c(text).items if item.key.text == "return five ( x )"} == {
        ("g<float>",)
    }
