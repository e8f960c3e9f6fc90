"""Odd shapes of merges: sides that have merged each other, files that moved with what is in them, bare files."""

from __future__ import annotations

from pathlib import Path

import pytest

from patcher.merge_audit import audit_commit, audit_sides
from tests.conftest import git
from tests.unit.test_merge_audit import folder

ENUM = "enum kind {\n    A,\n    B,\n    C,\n    D,\n};\n"
TABLE = 'static const struct row ROWS[] = {\n    { "a", 1 },\n    { "b", 2 },\n};\n'
STRUCT = "struct pair {\n    int first;\n    int second;\n};\n"
CLASS = "class Kind(IntEnum):\n    A = 0\n    B = 1\n"
CODE = "int f(int a) {\n    int x = a;\n    x += 1;\n    x += 2;\n    return x;\n}\n"

Files = dict[str, str]


def found(tmp_path: Path, base: Files, ours: Files, theirs: Files, merged: Files) -> set[tuple[str, str]]:
    """The rules, with their files, of what is more than a note."""
    names = [
        folder(tmp_path / name, files)
        for name, files in zip("bots", (base, ours, theirs, merged), strict=True)
    ]
    done = audit_sides(tmp_path, *names)
    return {(one.rule, one.file) for one in done.findings if one.severity != "note"}


@pytest.fixture
def crossed(tmp_path: Path) -> Path:
    """Two branches that have merged each other: ``main`` added A2 before that, ``theirs`` removed it after."""
    place = tmp_path / "repo"
    folder(place, {"a.h": ENUM, "b.c": CODE})
    git(place, "init", "-q", "-b", "main")
    git(place, "add", "-A")
    git(place, "commit", "-qm", "base")
    git(place, "branch", "theirs")
    folder(place, {"a.h": ENUM.replace("A,", "A,\n    A2,")})
    git(place, "commit", "-qam", "A2")
    git(place, "switch", "-q", "theirs")
    folder(place, {"b.c": CODE.replace("x += 1;", "x += 10;")})
    git(place, "commit", "-qam", "ten")
    git(place, "merge", "-q", "--no-edit", "main")
    git(place, "switch", "-q", "main")
    git(place, "merge", "-q", "--no-edit", "theirs~1")
    folder(place, {"a.h": ENUM.replace("A,", "A,\n    A2,").replace("D,", "D,\n    D2,")})
    git(place, "commit", "-qam", "D2")
    git(place, "switch", "-q", "theirs")
    folder(place, {"a.h": ENUM})
    git(place, "commit", "-qam", "no A2")
    git(place, "switch", "-q", "main")
    git(place, "merge", "-q", "--no-edit", "theirs")
    assert len(git(place, "merge-base", "--all", "HEAD^1", "HEAD^2").split()) == 2
    return place


def test_the_bases_of_sides_that_merged_each_other_are_one(crossed: Path) -> None:
    assert audit_commit(crossed, "HEAD").findings == ()
    for text, rule in (
        (ENUM.replace("A,", "A,\n    A2,").replace("D,", "D,\n    D2,"), "merge-revived"),
        (ENUM, "merge-lost"),
    ):
        folder(crossed, {"a.h": text})
        git(crossed, "commit", "-qa", "--amend", "--no-edit")
        assert [one.rule for one in audit_commit(crossed, "HEAD").findings] == [rule]


@pytest.mark.parametrize(
    ("home", "text", "old", "new"),
    [
        ("kinds.h", ENUM, "    B,\n", "    B,\n    B2,\n"),
        ("rows.h", TABLE, '    { "b", 2 },\n', '    { "b", 2 },\n    { "bb", 22 },\n'),
        ("pair.h", STRUCT, "    int second;\n", "    int second;\n    int third;\n"),
        ("kinds.py", CLASS, "    B = 1\n", "    B = 1\n    C = 2\n"),
    ],
)
def test_what_one_side_took_to_another_file_has_what_the_other_added(
    tmp_path: Path, home: str, text: str, old: str, new: str
) -> None:
    rest = f"rest.{'py' if home.endswith('.py') else 'c'}"
    head = "import os\n" if home.endswith(".py") else CODE
    base, ours = {rest: head + text}, {rest: head, home: text}
    theirs = {rest: head + text.replace(old, new)}
    sound = {rest: head, home: text.replace(old, new)}
    assert found(tmp_path / "sound", base, ours, theirs, sound) == set()
    assert found(tmp_path / "lost", base, ours, theirs, ours) == {("merge-lost", rest)}


def test_a_second_definition_of_that_name_was_there_before(tmp_path: Path) -> None:
    """One side removed the enum that the other added to; a copy elsewhere, which it changed, is none of it."""
    copy = ENUM.replace("A,", "A = 3,")
    base = {"a.c": ENUM + CODE, "old.c": copy}
    ours = {"a.c": CODE, "old.c": copy + CODE}
    theirs = {"a.c": ENUM.replace("B,", "B,\n    B2,") + CODE, "old.c": copy}
    assert found(tmp_path, base, ours, theirs, ours) == set()


def test_a_file_is_followed_to_another_suffix(tmp_path: Path) -> None:
    base, ours = {"a.c": ENUM + CODE}, {"a.cpp": ENUM + CODE + "int more;\n"}
    theirs = {"a.c": ENUM.replace("B,", "B,\n    B2,") + CODE}
    sound = {"a.cpp": ENUM.replace("B,", "B,\n    B2,") + CODE + "int more;\n"}
    assert found(tmp_path / "sound", base, ours, theirs, sound) == set()
    assert found(tmp_path / "lost", base, ours, theirs, ours) == {("merge-lost", "a.cpp")}


@pytest.mark.parametrize(("name", "text"), [("__init__.py", ""), ("notes.h", "// a comment alone\n")])
def test_a_file_without_items_is_there_or_it_is_not(tmp_path: Path, name: str, text: str) -> None:
    without, has = {"b.c": CODE}, {"b.c": CODE, name: text}
    other = {"b.c": CODE + "int more;\n"}
    assert found(tmp_path / "new", without, has, other, other | has | other) == set()
    assert found(tmp_path / "lost", without, has, other, other) == {("merge-lost", name)}
    assert found(tmp_path / "back", has, without, other | {name: text}, other | {name: text}) == {
        ("merge-revived", name)
    }


def test_marks_of_a_conflict_are_the_merges_own(tmp_path: Path) -> None:
    """A text about conflicts has them on its side; a hand may have left them without the names of branches."""
    about = "how to read it:\n<<<<<<< HEAD\none\n=======\ntwo\n>>>>>>> other\n"
    base, ours, theirs = {"d.md": about}, {"d.md": f"{about}the end\n"}, {"d.md": f"first\n{about}"}
    assert found(tmp_path / "about", base, ours, theirs, {"d.md": f"first\n{about}the end\n"}) == set()
    bare = {"Dockerfile": "a\n<<<<<<<\nb1\n=======\nb2\n>>>>>>>\n"}
    base, ours, theirs = ({"Dockerfile": f"a\n{text}\n"} for text in ("b", "b1", "b2"))
    assert ("merge-unresolved", "Dockerfile") in found(tmp_path / "bare", base, ours, theirs, bare)
