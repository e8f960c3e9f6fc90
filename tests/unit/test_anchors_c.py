"""Anchors in C and C++: what they find, what they refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from patcher.engine.anchors import AnchorError, Located, ParsedFile, Source, splice


def locate(code: str, kind: str, path: str = "x.cpp", **parameters: Any) -> Located:
    return ParsedFile(Source(path, code.encode()), [(kind, parameters)]).locate(kind, parameters)


def applied(code: str, text: str, kind: str, path: str = "x.cpp", **parameters: Any) -> str:
    """``code`` with ``text`` spliced in at every site."""
    source = Source(path, code.encode())
    located = ParsedFile(source, [(kind, parameters)]).locate(kind, parameters)
    data = source.data
    for site in sorted(located.sites, key=lambda site: -site.start):
        values = dict(site.values)
        cut = splice(source, site, text.format(**values) if values else text)
        data = data[: cut.start] + cut.text + data[cut.end :]
    return data.decode()


CASE: Mapping[str, Any] = {"label": "T_A", "ours": "T_B"}


def test_a_label_joins_its_siblings_group() -> None:
    code = "void f(int x) {\n    switch (x) {\n        case T_A:\n        case T_C:\n            g();\n    }\n}\n"
    out = applied(code, "case T_B:", "case", **CASE)
    assert out == code.replace("case T_A:\n", "case T_A:\n        case T_B:\n")


def test_a_label_goes_above_a_sibling_that_has_statements() -> None:
    code = "int f(int x) {\n    switch (x) {\n    case T_A: {\n        return 1;\n    }\n    }\n    return 0;\n}\n"
    out = applied(code, "case T_B:", "case", **CASE)
    assert "    case T_B:\n    case T_A: {" in out


def test_labels_on_one_line_stay_on_one_line() -> None:
    code = "void f(int x) { switch (x) { case T_C: case T_A: g(); } }\n"
    out = applied(code, "case T_B: ", "case", **CASE)
    assert "case T_C: case T_B: case T_A: g();" in out


def test_every_function_is_served_even_one_nobody_named() -> None:
    function = "void {name}(int x) {{\n    switch (x) {{\n        case T_A:\n            g();\n    }}\n}}\n"
    code = "".join(function.format(name=name) for name in ("known", "of_tomorrow"))
    located = locate(code, "case", owners=["known"], **CASE)
    assert [site.owner for site in located.sites] == ["known", "of_tomorrow"]


def test_a_function_that_lost_its_sibling_is_named() -> None:
    code = "void f(int x) {\n    switch (x) {\n        case T_A:\n            g();\n    }\n}\nvoid h(int x) { }\n"
    with pytest.raises(AnchorError, match=r"in h\b.*found it in f"):
        locate(code, "case", owners=["f", "h"], **CASE)


def test_a_switch_that_has_it_is_left_alone() -> None:
    code = (
        "void f(int x) {\n    switch (x) {\n        case T_B:\n        case T_A:\n            g();\n    }\n"
        "    switch (x) {\n        case T_A:\n            h();\n    }\n}\n"
    )
    located = locate(code, "case", **CASE)
    assert len(located.sites) == 1
    assert len(located.existing) == 1
    assert located.sites[0].start > located.existing[0].start


@pytest.mark.parametrize("text", ["// case T_A:\n", "/* case T_A: */\n", 'const char * s = "case T_A:";\n'])
def test_comments_and_literals_are_no_cases(text: str) -> None:
    with pytest.raises(AnchorError):
        locate(f"void f(int x) {{ {text} }}\n", "case", owners=["f"], **CASE)


def test_scan_and_parser_have_to_agree() -> None:
    with pytest.raises(AnchorError, match="as a case of a switch"):
        locate("int a[] = { case T_A: 3 };\n", "case", **CASE)


def test_a_macros_case_keeps_the_backslash_in_its_column() -> None:
    code = "#define D(x)       \\\n    switch (x) {   \\\n    case T_A: {    \\\n    } }\nint y;\n"
    out = applied(code, "case T_B:\t\\", "macro-case", macro="D", label="T_A", ours="T_B")
    assert "    case T_B:      \\\n    case T_A: {    \\\n" in out
    with pytest.raises(AnchorError, match="#define E"):
        locate(code, "macro-case", macro="E", label="T_A", ours="T_B")


ENUM = "enum t {\n    T_A = 1,\n    // gone\n    T_Z   = 7,\n\n    T_COUNT = 8, // the end\n};\n"


def test_an_enumerator_goes_behind_the_last_before_the_count() -> None:
    out = applied(ENUM, "T_B\t= 9,", "enumerator", enum="t", ours="T_B", value=9, before="T_COUNT")
    assert out == ENUM.replace("    T_Z   = 7,\n", "    T_Z   = 7,\n    T_B   = 9,\n")


def test_a_taken_number_names_who_took_it() -> None:
    with pytest.raises(AnchorError, match="taken by T_Z"):
        locate(ENUM, "enumerator", enum="t", ours="T_B", value=7, before="T_COUNT")


def test_our_name_with_another_number_contradicts() -> None:
    located = locate(ENUM, "enumerator", enum="t", ours="T_Z", value=9, before="T_COUNT")
    assert located.existing[0].contradiction == "T_Z = 7, not 9"


def test_the_count_is_one_more_than_the_highest() -> None:
    out = applied(ENUM, "{count}", "enum-count", enum="t", count="T_COUNT", ours="T_B", value=120)
    assert "T_COUNT = 121, // the end" in out
    out = applied(
        ENUM.replace("7", "200"), "{count}", "enum-count", enum="t", count="T_COUNT", ours="T_B", value=120
    )
    assert "T_COUNT = 201" in out
    implicit = locate(
        ENUM.replace("T_COUNT = 8", "T_COUNT"), "enum-count", enum="t", count="T_COUNT", ours="T_B", value=120
    )
    assert not implicit.sites


def test_two_enums_of_one_name_are_ambiguous() -> None:
    with pytest.raises(AnchorError, match="found 2"):
        locate(ENUM + ENUM, "enumerator", enum="t", ours="T_B", value=9)


def test_declarations_and_definitions_are_told_apart() -> None:
    code = "API void f(int a);\n// f(int a);\nvoid f(int a) {\n    f(a);\n}\nvoid g(void) {\n    f(1);\n}\n"
    out = applied(code, "void f2(int a);", "declaration", name="f", ours="f2")
    assert out.startswith("API void f(int a);\nvoid f2(int a);\n")
    out = applied(
        code,
        "void f2(int a) {{\n}}".replace("{{", "{").replace("}}", "}"),
        "function",
        names=["f"],
        ours="f2",
    )
    assert "    f(a);\n}\n\nvoid f2(int a) {\n}\nvoid g" in out
    with pytest.raises(AnchorError, match="one definition of nope"):
        locate(code, "function", names=["nope"], ours="f2")


def test_a_table_entry_of_another_table_is_not_ours() -> None:
    code = "int a[9] = {\n    [T_A] = 1,\n};\nint b[9] = {\n    [T_A] = {\n        2,\n    },\n    [T_C] = 3,\n};\n"
    out = applied(code, "[T_B] = 4,", "table", path="x.c", table="b", key="T_A", ours="T_B")
    assert "    },\n    [T_B] = 4,\n    [T_C] = 3," in out
    with pytest.raises(AnchorError, match="in c"):
        locate(code, "table", path="x.c", table="c", key="T_A", ours="T_B")


COMPARE: Mapping[str, Any] = {"right": "T_A", "ours": "T_B", "owners": ["f"]}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("x == T_A", "x == T_A || x == T_B"),
        ("(x == T_A)", "(x == T_A || x == T_B)"),
        ("y && x == T_A", "y && (x == T_A || x == T_B)"),
        ("y || x == T_A", "y || x == T_A || x == T_B"),
    ],
)
def test_a_comparison_is_widened(condition: str, expected: str) -> None:
    code = f"bool f(int x, bool y) {{ return {condition}; }}\n"
    out = applied(code, "{open}{expr} || {left} == T_B{close}", "comparison", **COMPARE)
    assert out == code.replace(condition, expected)


def test_a_widened_comparison_is_left_alone() -> None:
    located = locate("bool f(int x) { return x == T_A || x == T_B; }\n", "comparison", **COMPARE)
    assert not located.sites
    assert located.existing


def test_a_comparison_elsewhere_does_not_count() -> None:
    with pytest.raises(AnchorError, match="in f"):
        locate("bool g(int x) { return x == T_A; }\n", "comparison", **COMPARE)


def test_then_restricts_to_what_is_done() -> None:
    code = "void f(int n) {\n    if (n == 8) { a = T_A; }\n    if (n == 8) { b = 1; }\n}\n"
    located = locate(code, "comparison", right="8", ours="T_B", owners=["f"], then="a = T_A")
    assert len(located.sites) == 1


def test_elements_alone_and_in_company() -> None:
    alone = "int l[] = {\n    T_C,\n    T_A, // why\n    T_D,\n};\n"
    out = applied(alone, "T_B,", "element", variable="l", mentions="T_A", ours="T_B")
    assert "    T_A, // why\n    T_B,\n    T_D," in out
    company = "int l[] = { T_C, T_A, T_D };\n"
    out = applied(company, ", T_B", "element", variable="l", mentions="T_A", ours="T_B")
    assert out == "int l[] = { T_C, T_A, T_B, T_D };\n"


def test_only_missing_instantiations_are_asked_for() -> None:
    code = (
        "template<typename T>\nbool L::get(const std::string & key, T & result) {\n    return true;\n}\n\n"
        "template bool L::get<int>(const std::string & key, int & result);\n"
        "template bool L::get<bool>(enum kv kid, bool & result);\n"
        "// template bool L::get<double>(const std::string & key, double & result);\n"
    )
    located = locate(code, "instantiation", function="L::get", types=["bool", "int32_t", "double"])
    assert located.sites[0].values["missing"] == ["bool", "double"]
    assert located.sites[0].start == code.index("// template")
    specialised = (
        code + "template<> bool L::get(const std::string & key, double & result) { return false; }\n"
    )
    located = locate(specialised, "instantiation", function="L::get", types=["double"])
    assert not located.sites


def test_a_default_allocator_written_out_is_the_same_type() -> None:
    code = (
        "template bool L::get<float>(const std::string & key, std::vector<float, std::allocator<float>> & result);\n"
        "template bool L::get<bool>(const std::string & key, std::vector<bool, pool<bool>> & result);\n"
    )
    located = locate(
        code, "instantiation", function="L::get", types=["float", "bool"], parameter="std::vector<{}>"
    )
    assert located.sites[0].values["missing"] == ["bool"]


def test_where_nothing_is_instantiated_the_definition_is_the_anchor() -> None:
    code = "template<typename T>\nbool L::get(const std::string & key, T & result) {\n    return true;\n}\nint z;\n"
    located = locate(code, "instantiation", function="L::get", types=["bool"])
    assert located.sites[0].start == code.index("int z")
    with pytest.raises(AnchorError, match="neither"):
        locate("int z;\n", "instantiation", function="L::get", types=["bool"])


def test_a_linkage_guard_and_a_deprecation_do_not_hide_the_enum() -> None:
    header = (
        '#ifdef __cplusplus\nextern "C" {\n#endif\n'
        'DEPRECATED(API void old(int a, int b), "say (new) instead, please");\n'
        + ENUM
        + "#ifdef __cplusplus\n}\n#endif\n"
    )
    out = applied(
        header, "T_B\t= 9,", "enumerator", path="x.h", enum="t", ours="T_B", value=9, before="T_COUNT"
    )
    assert "T_B   = 9," in out


def test_focus_never_changes_what_is_found() -> None:
    """The whole file is parsed before an anchor gives up: an unbalanced #if hides nothing."""
    code = (
        "#if A\nvoid odd(int x) {\n    if (x) {\n#else\nvoid odd(int x) {\n    {\n#endif\n    }\n}\n"
        "void f(int x) {\n    switch (x) {\n        case T_A:\n            g();\n    }\n}\n"
    )
    assert locate(code, "case", only=["f"], **CASE).sites[0].owner == "f"


OPS = "enum op {\n    OP_NONE = 0,\n    OP_ADD,\n\n    OP_COUNT,\n};\n"
NAMES = 'static const char * OP_NAME[OP_COUNT] = {\n    "NONE",\n    "ADD", // x+y\n};\n'
ASSERTS = 'static_assert(OP_COUNT == 2, "OP_COUNT != 2");\nint x; // OP_COUNT == 2\n'


def test_a_member_that_counts_on_its_row_and_its_count() -> None:
    out = applied(OPS, "OP_MIX,\n", "enum-member", enum="op", ours="OP_MIX", before="OP_COUNT")
    assert out == OPS.replace("    OP_ADD,\n", "    OP_ADD,\n    OP_MIX,\n")
    numbered = OPS.replace("OP_COUNT,", "OP_NEXT,\n    OP_COUNT,")
    with pytest.raises(AnchorError, match="a number of its own for OP_NEXT"):
        locate(numbered, "enum-member", enum="op", ours="OP_MIX", before="OP_NEXT")
    out = applied(NAMES, '"MIX",\n', "element", variable="OP_NAME", ours='"MIX"')
    assert out == NAMES.replace("// x+y\n", '// x+y\n    "MIX",\n')
    assert locate(out, "element", variable="OP_NAME", ours='"MIX"').existing
    behind = applied(NAMES, '"MIX",\n', "element", variable="OP_NAME", mentions='"NONE"', ours='"MIX"')
    assert behind == NAMES.replace('    "ADD"', '    "MIX",\n    "ADD"')
    with pytest.raises(AnchorError, match="one list OTHER; found 0"):
        locate(NAMES, "element", variable="OTHER", ours='"MIX"')


def test_two_types_each_add_one_to_an_asserted_count() -> None:
    once = applied(ASSERTS, " + 1 /* OP_MIX */", "count-assert", count="OP_COUNT", ours="OP_MIX")
    twice = applied(once, " + 1 /* OP_MEND */", "count-assert", count="OP_COUNT", ours="OP_MEND")
    assert twice.startswith("static_assert(OP_COUNT == 2 + 1 /* OP_MEND */ + 1 /* OP_MIX */,")
    assert twice.count("OP_MIX") == 1
    assert locate(twice, "count-assert", count="OP_COUNT", ours="OP_MIX").existing
    with pytest.raises(AnchorError, match="a static_assert of OTHER"):
        locate(ASSERTS, "count-assert", count="OTHER", ours="OP_MIX")
