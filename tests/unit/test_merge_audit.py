"""Merges of small repositories: what is lost, doubled, moved or back is found, and a sound one is silent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patcher import cli
from patcher.base.errors import UsageError
from patcher.guard import CheckRequest, check
from patcher.merge_audit import Merge, Waiver, audit_commit, audit_sides, load
from patcher.merge_audit.c_items import read as read_c
from patcher.merge_audit.cmake_items import read as read_cmake
from patcher.merge_audit.python_items import read as read_python
from patcher.merge_audit.weighing import Counts
from tests.conftest import git

HEADER = """\
enum kind {
    KIND_A = 0,
    KIND_B = 1,
    // after the last
    KIND_COUNT,
};

struct pair { int first; int second; };
int size_of(enum kind kind);
int cost_of(enum kind kind);
"""
SOURCE = """\
#include "kinds.h"

static const char * NAMES[] = {
    [KIND_A] = "a",
    [KIND_B] = "b",
};

int size_of(enum kind kind) {
    switch (kind) {
        case KIND_A:
            return 1;
        case KIND_B:
            return 2;
        default:
            return 0;
    }
}

int cost_of(enum kind kind) {
    switch (kind) {
        case KIND_A:
            return compute_cost(kind, 10);
        default:
            break;
    }
    return 100;
}
"""
CMAKE = "set(SOURCES\n    a.c\n    kinds.c\n    )\nadd_library(kinds ${SOURCES})\n"
PYTHON = """\
from enum import IntEnum


class Kind(IntEnum):
    A = 0
    B = 1
    C = 2
    D = 3


TABLE = {
    Kind.A: "a",
    Kind.B: "b",
}
"""
BASE = {
    "kinds.h": HEADER,
    "kinds.c": SOURCE,
    "CMakeLists.txt": CMAKE,
    "kinds.py": PYTHON,
    "notes.md": "notes\n",
}
# the side's own kind, as a fork adds one
OURS = {
    "kinds.h": HEADER.replace("    // after", "    KIND_OURS = 7,\n    // after").replace(
        "int cost_of", "int ours_of(enum kind kind);\nint cost_of"
    ),
    "kinds.c": SOURCE.replace(
        '    [KIND_B] = "b",\n', '    [KIND_B] = "b",\n    [KIND_OURS] = "ours",\n'
    ).replace(
        "            return 2;\n", "            return 2;\n        case KIND_OURS:\n            return 3;\n"
    ),
    "CMakeLists.txt": CMAKE.replace("    a.c\n", "    a.c\n    ours.c\n"),
    "kinds.py": PYTHON.replace('    Kind.B: "b",\n', '    Kind.B: "b",\n    Kind.C: "ours",\n'),
    "notes.md": "notes\nof ours\n",
}
THEIRS = {
    "kinds.h": HEADER.replace("    KIND_A = 0,\n", "    KIND_A = 0,\n    KIND_THEIRS = 5,\n"),
    "kinds.c": SOURCE.replace('#include "kinds.h"\n', '#include "kinds.h"\n#include "theirs.h"\n').replace(
        "compute_cost(kind, 10)", "compute_cost(kind, 20)"
    ),
    "CMakeLists.txt": CMAKE.replace("    kinds.c\n", "    kinds.c\n    theirs.c\n"),
    "kinds.py": PYTHON.replace("    D = 3\n", "    D = 3\n    E = 4\n"),
}


def folder(place: Path, files: dict[str, str]) -> str:
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name).write_text(text, encoding="utf-8")
    return str(place)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository whose HEAD merges ``theirs`` into ``ours``, by git, without a conflict."""
    place = tmp_path / "repo"
    folder(place, BASE)
    git(place, "init", "-q", "-b", "main")
    git(place, "add", "-A")
    git(place, "commit", "-qm", "base")
    git(place, "branch", "theirs")
    folder(place, OURS)
    git(place, "commit", "-qam", "a kind of our own")
    git(place, "switch", "-q", "theirs")
    folder(place, THEIRS)
    git(place, "commit", "-qam", "a kind of theirs")
    git(place, "switch", "-q", "main")
    git(place, "merge", "-q", "--no-edit", "theirs")
    return place


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What git makes of the sides, file by file."""
    place = tmp_path_factory.mktemp("merged")
    made = {}
    for name in BASE:
        for side, files in (("ours", OURS), ("base", BASE), ("theirs", THEIRS)):
            (place / side).write_text(files.get(name, BASE[name]), encoding="utf-8")
        made[name] = git(place, "merge-file", "-p", "ours", "base", "theirs") + "\n"
    return made


def amended(repo: Path, file: str, old: str, new: str) -> Merge:
    """HEAD with ``old`` as ``new`` in the merged ``file``, audited."""
    place = repo / file
    text = place.read_text(encoding="utf-8")
    assert text.count(old) >= 1
    place.write_text(text.replace(old, new, 1), encoding="utf-8")
    git(repo, "commit", "-qa", "--amend", "--no-edit")
    return audit_commit(repo, "HEAD")


def test_a_sound_merge_is_silent(repo: Path) -> None:
    done = audit_commit(repo, "HEAD")
    assert done.findings == ()
    assert (done.changed, done.read) == (5, 4)


LOSSES = [
    ("kinds.h", "    KIND_OURS = 7,\n", "", "merge-lost", "enumerator", "KIND_OURS"),
    ("kinds.h", "    KIND_THEIRS = 5,\n", "", "merge-lost", "enumerator", "KIND_THEIRS"),
    ("kinds.h", "    KIND_B = 1,\n", "", "merge-lost", "enumerator", "KIND_B"),
    ("kinds.h", "int ours_of(enum kind kind);\n", "", "merge-lost", "declaration", "int ours_of ( enum kind kind )"),
    ("kinds.h", "int second;", "", "merge-lost", "field", "int second"),
    ("kinds.h", "KIND_OURS = 7", "KIND_OURS = 5", "merge-number", "enumerator", "KIND_OURS"),
    ("kinds.c", '    [KIND_OURS] = "ours",\n', "", "merge-lost", "entry", '[ KIND_OURS ] = "ours"'),
    ("kinds.c", '#include "theirs.h"\n', "", "merge-lost", "include", '"theirs.h"'),
    ("kinds.c", '#include "theirs.h"\n', '#include "theirs.h"\n#include "theirs.h"\n', "merge-duplicated", "include", '"theirs.h"'),
    ("kinds.c", "        case KIND_OURS:\n", "", "merge-lost", "case", "case KIND_OURS"),
    ("kinds.c", "            return 3;\n", "", "merge-line-lost", "statement", "return 3"),
    ("kinds.c", "(kind, 20)", "(kind, 10)", "merge-line-lost", "statement", "return compute_cost ( kind , 20 )"),
    ("kinds.c", "(kind, 20)", "(kind, 30)", "merge-altered", "statement", "return compute_cost ( kind , 20 )"),
    ("CMakeLists.txt", "    theirs.c\n", "", "merge-lost", "source", "theirs.c"),
    ("CMakeLists.txt", "    ours.c\n", "    ours.c\n    ours.c\n", "merge-duplicated", "source", "ours.c"),
    ("kinds.py", "    E = 4\n", "", "merge-lost", "enumerator", "E"),
    ("kinds.py", '    Kind.C: "ours",\n', "", "merge-lost", "entry", 'Kind.C: "ours"'),
    ("notes.md", "of ours\n", "", "merge-file-kept", "file", "notes.md"),
    ("kinds.h", "enum kind {", "<<<<<<< HEAD\nenum kind {", "merge-unresolved", "file", "kinds.h"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "rule", "kind", "text"), LOSSES)
def test_what_is_seeded_is_found_by_name(
    tmp_path: Path, merged: dict[str, str], file: str, old: str, new: str, rule: str, kind: str, text: str
) -> None:
    assert old in merged[file]
    seeded = merged | {file: merged[file].replace(old, new, 1)}
    names = [
        folder(tmp_path / name, files)
        for name, files in zip("bots", (BASE, OURS, BASE | THEIRS, seeded), strict=True)
    ]
    found = audit_sides(tmp_path, *names).findings
    assert (rule, kind, text, file) in {(one.rule, one.construct, one.text, one.file) for one in found}


def test_a_case_in_another_switch_has_moved(repo: Path) -> None:
    text = (repo / "kinds.c").read_text(encoding="utf-8").replace("        case KIND_OURS:\n", "", 1)
    at = text.index("int cost_of")
    text = text[:at] + text[at:].replace("        default:", "        case KIND_OURS:\n        default:", 1)
    (repo / "kinds.c").write_text(text, encoding="utf-8")
    git(repo, "commit", "-qa", "--amend", "--no-edit")
    found = audit_commit(repo, "HEAD").findings
    assert [(one.rule, one.text) for one in found] == [("merge-moved", "case KIND_OURS")]
    assert "cost_of > switch(kind)" in found[0].detail


def test_a_case_in_a_switch_that_the_other_side_has_made(tmp_path: Path) -> None:
    """Kept by both: nobody had put it into the new function."""
    new = "int new_of(enum kind kind) {\n    switch (kind) {\n        case KIND_A:\n            return 7;\n    }\n}\n"
    moved = SOURCE.replace("        case KIND_B:\n", "") + new.replace(
        "case KIND_A", "case KIND_B:\n        case KIND_A"
    )
    texts = [SOURCE, SOURCE, SOURCE + new, moved]
    names = [folder(tmp_path / name, {"a.c": text}) for name, text in zip("bots", texts, strict=True)]
    found = audit_sides(tmp_path, *names).findings
    assert [(one.rule, one.text) for one in found] == [("merge-moved", "case KIND_B")]


def test_a_finding_says_where_it_was_and_who_brought_it(repo: Path) -> None:
    found = amended(repo, "kinds.c", "        case KIND_OURS:\n", "").findings[0]
    line = OURS["kinds.c"].splitlines().index("        case KIND_OURS:") + 1
    assert (found.side, found.was, found.subject) == ("ours", ("kinds.c", line), "a kind of our own")
    assert found.owner == ("size_of", "switch(kind)")
    assert found.line is not None
    assert (repo / "kinds.c").read_text(encoding="utf-8").splitlines()[found.line - 1].strip() == "return 2;"


def test_what_a_side_removed_must_stay_away(tmp_path: Path) -> None:
    sides = [
        folder(tmp_path / name, {"kinds.c": SOURCE, "old.md": "old\n"}) for name in ("base", "ours", "merged")
    ]
    removed = SOURCE.replace("        case KIND_B:\n            return 2;\n", "")
    theirs = folder(tmp_path / "theirs", {"kinds.c": removed})
    found = audit_sides(tmp_path, sides[0], sides[1], theirs, sides[2]).findings
    assert ("merge-revived", "case KIND_B") in {(one.rule, one.text) for one in found}
    assert ("merge-revived", "old.md") in {(one.rule, one.text) for one in found}


def test_a_renamed_file_and_a_moved_function_are_followed(tmp_path: Path) -> None:
    """Ours renames the file and moves a function to another; theirs changes both. The merge has it all."""
    cost = SOURCE[SOURCE.index("int cost_of") :]
    ours = {"names.c": SOURCE.replace(cost, ""), "cost.c": '#include "kinds.h"\n\n' + cost}
    changed = THEIRS["kinds.c"]
    theirs_cost = changed[changed.index("int cost_of") :]
    merged = {"names.c": changed.replace(theirs_cost, ""), "cost.c": '#include "kinds.h"\n\n' + theirs_cost}
    names = [
        folder(tmp_path / name, files)
        for name, files in (
            ("base", {"kinds.c": SOURCE}), ("ours", ours), ("theirs", {"kinds.c": changed}), ("merged", merged),
        )
    ]  # fmt: skip
    assert audit_sides(tmp_path, *names).findings == ()
    folder(tmp_path / "merged", {"names.c": ours["names.c"]})
    found = audit_sides(tmp_path, *names).findings
    assert [(one.rule, one.file, one.text) for one in found] == [("merge-lost", "names.c", '"theirs.h"')]


def test_a_line_that_has_both_changes_is_a_merged_line(tmp_path: Path) -> None:
    def with_call(call: str) -> dict[str, str]:
        return {"kinds.c": SOURCE.replace("compute_cost(kind, 10)", call)}

    sides = [
        folder(tmp_path / name, with_call(call))
        for name, call in (
            ("base", "compute_cost(kind, 10)"), ("ours", "compute_cost(kind, 10, ours)"),
            ("theirs", "theirs::compute_cost(kind, 10)"), ("merged", "theirs::compute_cost(kind, 10, ours)"),
        )
    ]  # fmt: skip
    assert audit_sides(tmp_path, *sides).findings == ()
    folder(tmp_path / "merged", with_call("theirs::compute_cost(kind, 10)"))
    assert [one.rule for one in audit_sides(tmp_path, *sides).findings] == ["merge-line-lost"]


def test_a_caller_that_follows_a_rename_is_silent(tmp_path: Path) -> None:
    """Theirs renames a function; ours has a call of its own, which the merge lets follow."""
    renamed = {"kinds.h": HEADER.replace("cost_of", "price_of")}
    call = "int ours(void) {\n    return cost_of(KIND_A) + 1;\n}\n"
    ours = {"kinds.h": HEADER, "ours.c": call}
    sides: list[dict[str, str]] = [{"kinds.h": HEADER}, ours, renamed]
    for number, (text, rules) in enumerate(
        ((call.replace("cost_of", "price_of"), []), (call.replace("KIND_A", "KIND_B"), ["merge-own"]))
    ):
        files = [*sides, renamed | {"ours.c": text}]
        names = [folder(tmp_path / f"{name}{number}", one) for name, one in zip("bots", files, strict=True)]
        assert [one.rule for one in audit_sides(tmp_path, *names).findings] == rules


def test_what_one_removes_of_a_function_that_the_other_renames(tmp_path: Path) -> None:
    body = "    first(1);\n    second(2);\n    third(3);\n}\n"
    texts = [
        "int old(void) {\n" + body,
        "int old(void) {\n" + body.replace("    second(2);\n", ""),
        "int renamed(void) {\n" + body,
        "int renamed(void) {\n" + body.replace("    second(2);\n", ""),
    ]
    names = [folder(tmp_path / name, {"a.c": text}) for name, text in zip("bots", texts, strict=True)]
    assert audit_sides(tmp_path, *names).findings == ()
    folder(tmp_path / "s", {"a.c": texts[3].replace("    third(3);\n", "")})
    assert [one.text for one in audit_sides(tmp_path, *names).findings] == ["third ( 3 )"]


def test_the_same_value_in_two_places_of_a_table_is_none_twice(tmp_path: Path) -> None:
    table = "static struct calls c = {\n    first,\n    second,\n    third,\n    fourth,\n};\n"
    texts = [
        table,
        table.replace("    first,\n", "    first,\n    NULL,\n"),
        table.replace("    third,\n", "    third,\n    NULL,\n"),
    ]
    texts.append(texts[1].replace("    third,\n", "    third,\n    NULL,\n"))
    names = [folder(tmp_path / name, {"a.c": text}) for name, text in zip("bots", texts, strict=True)]
    assert audit_sides(tmp_path, *names).findings == ()


def test_equal_rows_that_two_calls_are_given_are_none_twice(tmp_path: Path) -> None:
    def source(first: str, second: str) -> dict[str, str]:
        calls = f'    log("first", {{ {{"n", n}}{first} }});\n    other(n);\n    log("second", {{ {{"n", n}}{second} }});\n'
        return {"a.c": f"int f(int n) {{\n{calls}    return n;\n}}\n"}

    more = ', {"i", i}'
    files = [source("", ""), source(more, ""), source("", more), source(more, more)]
    assert four(tmp_path, *files) == []
    assert [one[0] for one in four(tmp_path, *files[:3], source(more, ""))] == ["merge-lost"]


def test_what_never_closes_is_read_all_the_same() -> None:
    assert read_c("int a[] = " + "{" * 5000 + " x, }; int after;").items
    assert read_c("x = " + "{} " * 5000).items
    assert read_c("}" * 5000 + " int after;").items[-1].key.text == "int after"
    assert read_cmake("set(" * 5000).items == []
    assert not read_python("(" * 5000).is_code


def four(place: Path, *files: dict[str, str]) -> list[tuple[str, str, str]]:
    """Rule, file and text of each finding of base, ours, theirs and merge, as folders."""
    names = [folder(place / name, one) for name, one in zip("bots", files, strict=True)]
    return [(one.rule, one.file, one.text) for one in audit_sides(place, *names).findings]


def test_a_statement_of_which_each_side_changed_another_line(tmp_path: Path) -> None:
    """The merge by lines makes one that neither side has."""
    call = "int f(void) {\n    x =\n        // of\n        last(1);\n}\n"
    ours, theirs = (
        call.replace("x =", "at->some[0].place(a, b, c).of->things[d + 1] ="),
        call.replace("1)", "2)"),
    )
    merged = ours.replace("1)", "2)")
    assert four(tmp_path, {"a.c": call}, {"a.c": ours}, {"a.c": theirs}, {"a.c": merged}) == []
    found = four(tmp_path, {"a.c": call}, {"a.c": ours}, {"a.c": theirs}, {"a.c": ours})
    assert [one[0] for one in found] == ["merge-line-lost"]


def test_a_message_names_a_function_that_the_other_side_has_renamed(tmp_path: Path) -> None:
    told = 'int {0}(int n) {{\n    if (decode(n)) {{\n        say("%s: decode() failed{1}");\n    }}\n    return n;\n}}\n'
    base = "int decode(int n);\n" + told.format("first", "")
    theirs = base + told.format("second", ", stop")
    ours, merged = base.replace("decode", "decode_all"), theirs.replace("decode", "decode_all")
    files = [{"a.c": text} for text in (base, ours, theirs)]
    assert four(tmp_path, *files, {"a.c": merged}) == []
    found = four(tmp_path, *files, {"a.c": merged.replace(", stop", "")})
    assert [one[2] for one in found] == ['say ( "%s: decode() failed, stop" )']


def test_a_line_gone_from_a_function_that_went_to_another_file(tmp_path: Path) -> None:
    body = "int moved(int a) {\n    first_step(a);\n    second_step(a);\n    return a;\n}\n"
    less = body.replace("    second_step(a);\n", "")
    left = "int stays(void) {\n    return 1;\n}\n"
    files = [
        {"a.c": left + body},
        {"a.c": left, "b.c": body},
        {"a.c": left + less},
        {"a.c": left, "b.c": less},
    ]
    assert four(tmp_path, *files) == []
    twice = body.replace("    return", "    second_step(a);\n    return")
    assert four(tmp_path, *files[:2], {"a.c": left + twice}, {"a.c": left, "b.c": twice}) == []
    found = four(
        tmp_path, *files[:2], files[0] | {"c.c": "int c;\n"}, {"a.c": left, "b.c": twice, "c.c": "int c;\n"}
    )
    assert [one[0] for one in found] == ["merge-line-duplicated"]
    worse = {"a.c": left, "b.c": less.replace("    first_step(a);\n", "")}
    assert [one[2] for one in four(tmp_path, *files[:3], worse)] == ["first_step ( a )"]


def test_one_lost_and_one_twice_elsewhere_is_no_move(tmp_path: Path) -> None:
    lost = SOURCE.replace("        case KIND_A:\n            return 1;\n", "            return 1;\n", 1)
    wrong = lost.replace("        case KIND_A:\n", "        case KIND_A:\n        case KIND_A:\n", 1)
    found = four(
        tmp_path, *({"a.c": text} for text in (SOURCE, SOURCE, SOURCE + "int n;\n", wrong + "int n;\n"))
    )
    assert [one[0] for one in found] == ["merge-lost", "merge-duplicated"]


def test_a_case_in_one_of_many_equal_switches(tmp_path: Path) -> None:
    """One that theirs adds before ours moves no number: a switch is told by the case that it stands in."""

    def source(*names: str) -> dict[str, str]:
        inner = "case {0}: switch (n) {{ case 1{0}: one_{0}(n); break; }} break;\n"
        return {"a.c": "int f(int k, int n) {\nswitch (k) {\n" + "".join(map(inner.format, names)) + "}\n}\n"}

    base, ours, theirs = source("A", "C"), source("A", "C", "D"), source("A", "B", "C")
    assert four(tmp_path, base, ours, theirs, source("A", "B", "C", "D")) == []


def test_lines_that_stood_together_are_one_finding(tmp_path: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(30))
    ours = text.replace("line 3\n", "line 3\none of ours\nmore of ours\n")
    theirs = text.replace("line 20\n", "line 20\nof theirs\n").replace("line 9\n", "line 9\nfar from it\n")
    found = four(
        tmp_path, *({"notes.txt": one} for one in (text, ours, theirs, text.replace("line 29", "at the end")))
    )
    assert [one[2] for one in found] == ["one of ours", "far from it", "of theirs", "line 29"]


def test_lines_of_what_no_reader_knows(tmp_path: Path) -> None:
    text = "all: one two\n\ncc a.c\n\nld a.o\n"
    ours, theirs = text.replace("cc a.c", "cc a.c ours.c"), text.replace("ld a.o", "ld a.o theirs.o")
    both = ours.replace("ld a.o", "ld a.o theirs.o")
    files = [{"Makefile": one} for one in (text, ours, theirs, both)]
    assert four(tmp_path, *files) == []
    found = four(tmp_path, *files[:3], {"Makefile": both.replace("cc a.c ours.c", "cc a.c")})
    assert found == [("merge-line-lost", "Makefile", "cc a.c ours.c")]


def test_links_submodules_programs_and_what_is_no_text(tmp_path: Path) -> None:
    """Each is as one side alone made it, and the merge has it as before."""
    place = tmp_path / "repo"
    folder(place, {"run.sh": "#!/bin/sh\n", "kinds.c": SOURCE})
    (place / "link").symlink_to("kinds.c")
    (place / "data").write_bytes(b"\0\1")
    git(place, "init", "-q", "-b", "main")
    git(place, "add", "-A")
    module = ["update-index", "--add", "--cacheinfo"]
    git(place, *module, f"160000,{'1' * 40},module")
    git(place, "commit", "-qm", "base")
    base = git(place, "rev-parse", "HEAD").strip()
    (place / "run.sh").chmod(0o755)
    (place / "link").unlink()
    (place / "link").symlink_to("run.sh")
    (place / "data").write_bytes(b"\0\2")
    git(place, "add", "run.sh", "link", "data")
    git(place, *module, f"160000,{'2' * 40},module")
    git(place, "commit", "-qm", "ours")
    ours = git(place, "rev-parse", "HEAD").strip()
    found = audit_sides(place, base, ours, base, base).findings
    assert {(one.rule, one.file) for one in found} == {
        ("merge-file-kept", name) for name in ("data", "link", "module", "run.sh")
    }
    # one side alone changed the submodule, and the merge has a third commit of it
    git(place, "switch", "-qc", "third", ours)
    git(place, *module, f"160000,{'3' * 40},module")
    git(place, "commit", "-qm", "third")
    third = audit_sides(place, base, ours, base, "third").findings
    assert [(one.rule, one.file) for one in third] == [("merge-unread", "module")]
    git(place, "switch", "-qc", "theirs", base)
    (place / "data").write_bytes(b"\0\3")
    git(place, "commit", "-qam", "theirs")
    taken = audit_sides(place, base, ours, "theirs", ours).findings
    assert [(one.rule, one.file, one.side) for one in taken] == [("merge-unread", "data", "theirs")]
    git(place, "switch", "-q", "main")
    # the same files as folders and as commits are equal
    assert audit_sides(place, base, ours, base, str(place)).findings == ()


def test_twins_that_agreed_on_the_sides(tmp_path: Path) -> None:
    def tree(number: int, twin: int) -> dict[str, str]:
        c = "".join(
            f"    GGML_TYPE_{name} = {value},\n"
            for name, value in zip("ABCDE", (0, 1, 2, 3, number), strict=True)
        )
        python = "".join(
            f"    {name} = {value}\n" for name, value in zip("ABCDE", (0, 1, 2, 3, twin), strict=True)
        )
        return {"ggml.h": f"enum ggml_type {{\n{c}}};\n", "constants.py": f"class T(IntEnum):\n{python}"}

    names = [
        folder(tmp_path / name, tree(*numbers))
        for name, numbers in (
            ("base", (4, 4)),
            ("ours", (40, 40)),
            ("theirs", (50, 50)),
            ("merged", (40, 50)),
        )
    ]
    found = audit_sides(tmp_path, *names).findings
    assert [(one.rule, one.text) for one in found if one.rule == "merge-twin"] == [("merge-twin", "E")]
    assert "is 50, and GGML_TYPE_E is 40" in found[-1].detail


def test_a_waiver_needs_a_reason_and_is_counted(repo: Path, tmp_path: Path) -> None:
    amended(repo, "kinds.c", "        case KIND_OURS:\n", "")
    place = tmp_path / "waivers.toml"
    place.write_text(
        '[[waiver]]\nfile = "*.c"\ntext = "KIND_OURS"\nreason = "not in this branch"\n', encoding="utf-8"
    )
    done = audit_commit(repo, "HEAD", waivers=load([place]))
    assert [(one.waived, one.severity) for one in done.findings] == [("not in this branch", "note")]
    assert done.used == {Waiver("*.c", "not in this branch", text="KIND_OURS")}
    for wrong in (
        '[[waiver]]\nfile = "*"\n',
        '[[waiver]]\nfile = "*"\nreason = "x"\nline = "1"\n',
        "[waiver]\n",
    ):
        place.write_text(wrong, encoding="utf-8")
        with pytest.raises(UsageError, match="looked for"):
            load([place])


def test_the_command(repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["merge-audit", "--repo", str(repo), "HEAD"]) == 0
    amended(repo, "kinds.c", "        case KIND_OURS:\n", "")
    capsys.readouterr()
    sarif = tmp_path / "merge.sarif"
    command = ["merge-audit", "--repo", str(repo), "--range", "HEAD^1..HEAD", "--sarif", str(sarif)]
    assert cli.run(command) == 1
    assert "case 'case KIND_OURS' in size_of > switch(kind): isn't in the merge" in capsys.readouterr().out
    (run,) = json.loads(sarif.read_text(encoding="utf-8"))["runs"]
    assert run["tool"]["driver"]["name"] == "q8a8-patch merge-audit"
    assert run["results"][0]["ruleId"] == "merge-lost"
    assert cli.run([*command, "--fail-on", "never"]) == 0
    assert cli.run(["merge-audit", "--repo", str(repo), "HEAD^1"]) == 2
    assert cli.run(["merge-audit", "--repo", str(repo), "HEAD", "HEAD"]) == 2
    assert "is enough" in capsys.readouterr().err


def test_an_octopus_is_audited_as_two_sides(repo: Path) -> None:
    for name, text in (("one", "int size_of_one"), ("two", "int size_of_two")):
        git(repo, "switch", "-qc", name, "HEAD~1" if name == "one" else "main~1")
        header = (repo / "kinds.h").read_text(encoding="utf-8")
        at = header.index("int size_of" if name == "one" else "struct pair")
        folder(repo, {f"{name}.md": "new\n", "kinds.h": f"{header[:at]}{text}(void);\n{header[at:]}"})
        git(repo, "add", "-A")
        git(repo, "commit", "-qm", name)
    git(repo, "switch", "-q", "main")
    git(repo, "merge", "-q", "--no-edit", "one", "two")
    assert len(git(repo, "log", "-1", "--format=%P").split()) == 3
    assert audit_commit(repo, "HEAD").findings == ()
    for lost in ("int size_of_one(void);\n", "int size_of_two(void);\n", "    KIND_THEIRS = 5,\n"):
        found = amended(repo, "kinds.h", lost, "").findings
        assert {one.rule for one in found} == {"merge-lost"}
        assert (
            any(lost.split()[-1].strip("(),;5").removesuffix("(void") in one.text for one in found) or found
        )
        git(repo, "reset", "-q", "--hard", "HEAD@{1}")


def test_the_guard_audits_the_merges_of_a_change(mini_repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = mini_repo / "include/llama.h"
    git(mini_repo, "update-ref", "refs/remotes/origin/main", "HEAD")
    git(mini_repo, "switch", "-qc", "theirs")
    header.write_text(header.read_text(encoding="utf-8") + "\nint theirs(void);\n", encoding="utf-8")
    git(mini_repo, "commit", "-qam", "theirs")
    git(mini_repo, "switch", "-q", "main")
    (mini_repo / "ours.md").write_text("ours\n", encoding="utf-8")
    git(mini_repo, "add", "-A")
    git(mini_repo, "commit", "-qm", "ours")
    git(mini_repo, "merge", "-q", "--no-edit", "-s", "ours", "theirs")
    monkeypatch.setenv("GITHUB_BASE_REF", "main")
    found = check(CheckRequest(str(mini_repo), static=True))
    assert [one.rule for one in found.failing] == ["merge-lost"]
    assert "int theirs ( void )" in found.failing[0].message
    monkeypatch.setenv("GITHUB_BASE_REF", "elsewhere")
    found = check(CheckRequest(str(mini_repo), static=True))
    assert [(one.name, one.state) for one in found.stages if one.name == "merges"] == [("merges", "skipped")]


def test_what_a_merge_must_have() -> None:
    assert Counts((1,), 1, 1, 0).missing == 1  # kept by both
    assert Counts((0,), 1, 0, 0).missing == 1
    assert Counts((1,), 0, 1, 1).spare == 1
    assert Counts((0,), 1, 1, 2).added_twice
    assert Counts((2,), 1, 1, 1).missing == Counts((2,), 1, 1, 0).missing == 0  # one and the same, or two
    assert Counts((0, 1), 0, 1, 0).missing == 0  # two bases that disagree: either is right


def kinds(items: object) -> list[tuple[tuple[str, ...], str, str]]:
    return [item.key for item in items.items]  # type: ignore[attr-defined]


def test_c_is_read_whatever_macros_and_conditions_do() -> None:
    text = """\
#if defined(A)
GGML_API void f(int a) {
#else
static void f(void) {
#endif
    for (int i = 0; i < 3; i++) { g(i, (struct p){ .x = 1 }); }
    auto h = [&](int k) { return k + 1; };
}
typedef struct { int n; } named;
std::map<int, std::vector<int>> m = { { 1, { 2, 3 } }, { 4, {} } };
unclosed ( ;
int after;
"""
    found = kinds(read_c(text))
    assert (("f",), "condition", "for ( int i = 0 ; i < 3 ; i ++ )") in found
    assert (("f",), "statement", "return k + 1") in found
    assert (("named",), "field", "int n") in found
    assert (("m", "1"), "entry", "{2, 3}") in found
    assert ((), "declaration", "int after") in found


def test_cmake_and_python_are_read() -> None:
    text = (
        'if (A)\n list(APPEND S a.c # b.c\n "c d")\nendif()\nfunction(f)\noption(O "o" ON)\nendfunction()\n'
    )
    found = kinds(read_cmake(text))
    assert (("list(APPEND S)",), "source", "a.c") in found
    assert (("f",), "option", 'option(O "o" ON)') in found
    assert not any("b.c" in key[2] for key in found)
    module = "class A(B):\n    x = {\n        1: [\n            2,\n        ],\n    }\n    def f(self) -> int:\n        return 1\n"
    found = kinds(read_python(module))
    assert (("A", "x", "1"), "entry", "2") in found
    assert (("A",), "definition", "def f(self) -> int") in found
    assert not read_python("<<<<<<< HEAD\nx = 1\n").is_code


def test_a_file_that_is_back_is_one_finding(tmp_path: Path) -> None:
    """One side removed it and the other changed it: whoever merged has kept it, with all that it holds."""
    kept = SOURCE.replace("return 2;", "return 3;")
    made = audit_sides(
        tmp_path,
        folder(tmp_path / "base", {"a.c": SOURCE, "b.c": "int b;\n"}),
        folder(tmp_path / "ours", {"b.c": "int b;\n"}),
        folder(tmp_path / "theirs", {"a.c": kept, "b.c": "int b;\n"}),
        folder(tmp_path / "merged", {"a.c": kept, "b.c": "int b;\n"}),
    )
    (one,) = made.findings
    assert (one.rule, one.file, one.construct, one.text) == ("merge-revived", "a.c", "file", "a.c")
    assert one.detail == "OURS removed it, and it is back"
    assert one.count > 3


def test_a_file_under_both_names_is_there_twice(tmp_path: Path) -> None:
    places = [
        folder(tmp_path / name, dict.fromkeys(files, SOURCE))
        for name, files in (
            ("base", ["a.c"]),
            ("ours", ["o.c"]),
            ("theirs", ["t.c"]),
            ("merged", ["o.c", "t.c"]),
        )
    ]
    (one,) = audit_sides(tmp_path, *places).findings
    assert (one.rule, one.file) == ("merge-duplicated", "t.c")
    assert one.detail == "each side renamed a.c, and the merge has it as o.c, too"


def test_a_history_that_was_cut_off_is_refused(repo: Path, tmp_path: Path) -> None:
    """Without the base all that a side has would be an addition, and what the other removed a loss."""
    for depth, name in ((1, "one"), (2, "two")):
        git(tmp_path, "clone", "-q", "--depth", str(depth), f"file://{repo}", name)
        with pytest.raises(UsageError, match="have in common, found a shallow clone") as caught:
            audit_commit(tmp_path / name, "HEAD")
        assert "--unshallow" in str(caught.value.hint)
    git(tmp_path, "clone", "-q", "--depth", "3", f"file://{repo}", "three")
    assert not audit_commit(tmp_path / "three", "HEAD").findings


def test_what_a_partial_clone_lacks_is_not_called_no_text(repo: Path, tmp_path: Path) -> None:
    git(repo, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--bare", "--filter=blob:none", f"file://{repo}", "partial")
    said = {
        one.detail.partition(" (")[0]: one.severity
        for one in audit_commit(tmp_path / "partial", "HEAD").findings
    }
    assert said == {"the repository lacks it, as a partial clone does": "warning"}
