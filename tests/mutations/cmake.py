"""A CMake list with what edits look for in the build, and the ways to change it; cmake -P is the judge."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.mutations.mutation import Mutation, sub
from tests.mutations.program import Program

PATH = "CMakeLists.txt"
TEXT = """\
set(SOURCES main.c)

list(APPEND SOURCES
    cpu/quants.c
    cpu/traits.h
    cpu/traits.cpp
    )

list(APPEND HEADERS
    cpu/quants.h
    )

if (NOT WIN32)
    add_part(imatrix)
    add_part(quantize)
endif()
"""
CHECK = """\
cmake_minimum_required(VERSION 3.14)
set(PARTS "")
macro(add_part name)
    list(APPEND PARTS ${name})
endmacro()
include(${CMAKE_CURRENT_LIST_DIR}/CMakeLists.txt)
list(TRANSFORM SOURCES REPLACE old-traits traits)
list(SORT SOURCES)
list(SORT PARTS)
list(REMOVE_ITEM SOURCES extra.c $<0:none>)
if (NOT SOURCES STREQUAL "cpu/ours.cpp;cpu/quants.c;cpu/traits.cpp;cpu/traits.h;main.c")
    message(FATAL_ERROR "check: sources are ${SOURCES}")
endif()
if (NOT PARTS STREQUAL "imatrix;ours;quantize")
    message(FATAL_ERROR "check: parts are ${PARTS}")
endif()
if (NOT HEADERS STREQUAL "cpu/quants.h")
    message(FATAL_ERROR "check: headers are ${HEADERS}")
endif()
"""
_TEMPLATES = {"source": "cpu/ours.cpp\n", "part": "add_part(ours)\n"}
_ANCHORS: dict[str, tuple[str, dict[str, object]]] = {
    "source": ("cmake-item", {"variable": "SOURCES", "beside": ["cpu/traits.h", "cpu/old-traits.h"],
                              "ours": "cpu/ours.cpp"}),
    "part": ("cmake-call", {"command": "add_part", "argument": "imatrix", "ours": r"^\s*add_part\(\s*ours\s*\)"}),
}  # fmt: skip


def _cmake(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "check.cmake").write_text(code, encoding="utf-8")
    command = ["cmake", "-P", str(folder / "check.cmake")]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def _run(folder: Path) -> tuple[int, str]:
    done = _cmake(CHECK, folder)
    return done.returncode, "" if "check: " in done.stderr else done.stderr


def _sound(folder: Path, ours_is_known: bool) -> str:
    return _cmake(CHECK[: CHECK.index("list(SORT")], folder).stderr


CMAKE = Program(TEXT, (PATH,), _TEMPLATES, _ANCHORS, _run, _sound)

CMAKE_STYLES = (
    Mutation("CMake: CRLF", lambda data: data.replace(b"\n", b"\r\n"), True),
    Mutation("CMake: BOM", lambda data: b"\xef\xbb\xbf" + data, True),
    sub("CMake: tabs", r"^ {4}", "\t", lands=True),
    sub("CMake: no indent", r"^ +", "", lands=True),
    sub("CMake: trailing comments", r"$", " # cpu/traits.h add_part(imatrix)", lands=True),
    Mutation("CMake: no final newline", lambda data: data.rstrip(b"\n"), True),
    sub("CMake: blank lines", r"\n", "\n\n", lands=True),
)
CMAKE_CHANGES = (
    sub("CMake: as it is", "$^", "", lands=True),
    sub("CMake: all on one line", r"list\(APPEND SOURCES\n +cpu/quants.c\n +cpu/traits.h\n +cpu/traits.cpp\n +\)", "list(APPEND SOURCES cpu/quants.c cpu/traits.h cpu/traits.cpp)", lands=False),
    sub("CMake: two on a line", r"cpu/traits.h\n +cpu/traits.cpp", "cpu/traits.h cpu/traits.cpp", lands=False),
    sub("CMake: last, with the parenthesis", r"cpu/traits.h\n( +)cpu/traits.cpp\n +\)", r"cpu/traits.cpp\n\1cpu/traits.h)", lands=False),
    sub("CMake: LIST in capitals", r"^list", "LIST", lands=True),
    sub("CMake: spaces in the call", r"list\(APPEND", "list ( APPEND", lands=True),
    sub("CMake: set instead of list", r"list\(APPEND SOURCES", "set(SOURCES ${SOURCES}", lands=False),
    sub("CMake: variable renamed", r"SOURCES", "FILES", lands=False),
    sub("CMake: an old name", r"cpu/traits.h", "cpu/old-traits.h", lands=True),
    sub("CMake: neither name", r"cpu/traits.h", "cpu/kinds.h", lands=False),
    sub("CMake: the sibling commented out", r"^( +)cpu/traits.h", r"\1# cpu/traits.h", lands=False),
    sub("CMake: in a bracket comment", r"^( +)cpu/traits.h", r"\1#[[ cpu/traits.h ]]", lands=False),
    sub("CMake: in quotes", r"cpu/traits.h", '"cpu/traits.h"', lands=False),
    sub("CMake: twice", r"^( +cpu/traits.h\n)", r"\1\1", lands=False),
    sub("CMake: in both branches", r"(^list\(APPEND SOURCES(?:.|\n)*?\)\n)", r"if (NEVER)\n\1else()\n\1endif()\n", lands=False),
    sub("CMake: in one branch", r"(^list\(APPEND SOURCES(?:.|\n)*?\)\n)", r"if (NOT NEVER)\n\1endif()\n", lands=True),
    sub("CMake: a variable among them", r"^( +)cpu/traits.h", r"\1extra.c\n\1cpu/traits.h", lands=True),
    sub("CMake: a generator expression", r"^( +)cpu/quants.c", r"\1cpu/quants.c\n\1$<0:none>", lands=True),
    sub("CMake: ours there", r"^( +)cpu/traits.h", r"\1cpu/ours.cpp\n\1cpu/traits.h", lands=True),
    sub("CMake: ours commented out", r"^( +)cpu/traits.h", r"\1# cpu/ours.cpp\n\1cpu/traits.h", lands=True),
    sub("CMake: ours under a condition", r"\Z", "if (NEVER)\n    list(APPEND SOURCES\n        cpu/ours.cpp\n    )\nendif()\n", lands=False),
    sub("CMake: our call is there", r"^( +)add_part\(quantize\)", r"\1add_part(ours)\n\1add_part(quantize)", lands=True),
    sub("CMake: our call with spaces", r"^( +)add_part\(quantize\)", r"\1add_part( ours )\n\1add_part(quantize)", lands=True),
    sub("CMake: our call under a condition", r"\Z", "if (NEVER)\n    add_part(ours)\nendif()\n", lands=False),
    sub("CMake: our call commented out", r"^( +)add_part\(quantize\)", r"\1# add_part(ours)\n\1add_part(quantize)", lands=True),
    sub("CMake: a comment behind the call", r"^( +add_part\(imatrix\)\n)", r"\1    # add_part(imatrix)\n", lands=True),
    sub("CMake: call in both branches", r"^( +add_part\(imatrix\)\n)", r"    if (NEVER)\n    \1    else()\n    \1    endif()\n", lands=False),
    sub("CMake: a loop of calls", r"    add_part\(imatrix\)\n    add_part\(quantize\)", "    foreach (part imatrix quantize)\n        add_part(${part})\n    endforeach()", lands=False),
    sub("CMake: call in capitals", r"add_part", "ADD_PART", lands=True),
    sub("CMake: spaces in the argument", r"add_part\(imatrix\)", "add_part( imatrix )", lands=True),
)  # fmt: skip
CMAKE_MUTATIONS = {"CMake: style": CMAKE_STYLES, "CMake": CMAKE_CHANGES}
