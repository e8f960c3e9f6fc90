"""Anchors in CMake lists: what they find, what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from patcher.engine.anchors import AnchorError, Located, ParsedFile, Source, splice


def locate(text: str, kind: str, **parameters: Any) -> Located:
    return ParsedFile(Source("CMakeLists.txt", text.encode()), [(kind, parameters)]).locate(kind, parameters)


def applied(text: str, added: str, kind: str, **parameters: Any) -> str:
    source = Source("CMakeLists.txt", text.encode())
    (site,) = ParsedFile(source, [(kind, parameters)]).locate(kind, parameters).sites
    cut = splice(source, site, added)
    return (source.data[: cut.start] + cut.text + source.data[cut.end :]).decode()


ITEM = {"variable": "SOURCES", "beside": ["old/b.h", "new/b.h"], "ours": "c.cpp"}
CALL = {"command": "add_subdirectory", "argument": "b", "ours": r"^\s*add_subdirectory\(c\)"}


def test_an_item_goes_below_its_neighbour() -> None:
    text = "list (APPEND SOURCES\n        a.cpp\n        new/b.h\n        )\n"
    assert applied(text, "c.cpp", "cmake-item", **ITEM) == text.replace(
        "new/b.h\n", "new/b.h\n        c.cpp\n"
    )


def test_another_list_is_not_looked_at() -> None:
    text = "list(APPEND OTHER\n  new/b.h\n)\nLIST(APPEND SOURCES\n  old/b.h # why\n)\n"
    assert applied(text, "c.cpp", "cmake-item", **ITEM).endswith("  old/b.h # why\n  c.cpp\n)\n")


def test_what_is_there_is_seen_and_comments_are_not() -> None:
    there = locate("list(APPEND SOURCES\n  new/b.h\n  c.cpp\n)\n", "cmake-item", **ITEM)
    assert [item.owner for item in there.existing] == ["SOURCES"]
    talked = locate("list(APPEND SOURCES\n  # c.cpp\n  new/b.h\n)\n", "cmake-item", **ITEM)
    assert len(talked.sites) == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("list(APPEND SOURCES\n  a.cpp\n)\n", "found 0"),
        ("list(APPEND SOURCES\n  new/b.h\n)\nlist(APPEND SOURCES\n  old/b.h\n)\n", "found 2"),
        ("list(APPEND SOURCES new/b.h a.cpp)\n", "on a line of its own"),
        ("# list(APPEND SOURCES\n#  new/b.h\n# )\n", "found 0"),
        ('set(x "\nlist(APPEND SOURCES\n  new/b.h\n)\n")\n', "found 0"),
    ],
)
def test_an_item_that_is_missing_or_ambiguous(text: str, found: str) -> None:
    with pytest.raises(AnchorError, match=found):
        locate(text, "cmake-item", **ITEM)


def test_a_call_goes_below_its_neighbour() -> None:
    text = "if (X)\n    add_subdirectory(a)\n    add_subdirectory(b) # last\nendif()\n"
    out = applied(text, "add_subdirectory(c)", "cmake-call", **CALL)
    assert out == text.replace("# last\n", "# last\n    add_subdirectory(c)\n")
    assert locate(out, "cmake-call", **CALL).existing


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("add_subdirectory(a)\n", "found 0"),
        ("add_subdirectory(b)\nadd_subdirectory(b)\n", "found 2"),
        ("# add_subdirectory(b)\n", "found 0"),
        ("add_subdirectory(b) add_subdirectory(d)\n", "on a line of its own"),
    ],
)
def test_a_call_that_is_missing_or_ambiguous(text: str, found: str) -> None:
    with pytest.raises(AnchorError, match=found):
        locate(text, "cmake-call", **CALL)
