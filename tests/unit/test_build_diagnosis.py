"""The first error of a build log, in the words of every compiler and linker that we know."""

from __future__ import annotations

from pathlib import Path

import pytest

from patcher.build.diagnosis import diagnose, undefined_symbols

NAME = "bool loader::get<bool>(std::string const&, bool&)"
LONG = "bool loader::get<bool>(std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> > const&, bool&)"


@pytest.mark.parametrize(
    ("log", "symbols"),
    [
        (f"/usr/bin/ld: a.o: in function `f':\na.cpp:(.text+0x9): undefined reference to `{LONG}'\n", [NAME]),
        (
            f"/usr/bin/ld: bin/liba.so: undefined reference to `{LONG}'\ncollect2: error: ld returned 1\n",
            [NAME],
        ),
        (f"a.o:a.cpp:function f(): error: undefined reference to '{LONG}'\n", [NAME]),
        (f"ld.lld: error: undefined symbol: {LONG}\n>>> referenced by a.cpp\n", [NAME]),
        (
            f"ld.lld: error: undefined reference due to --no-allow-shlib-undefined: {LONG}\n>>> by liba.so\n",
            [NAME],
        ),
        (f"ld.lld: error: undefined reference: {LONG}\n>>> referenced by liba.so\n", [NAME]),
        (f"mold: error: undefined symbol: {LONG}\n>>> referenced by a.cpp\n", [NAME]),
        (
            'Undefined symbols for architecture arm64:\n  "_gone", referenced from:\n      _f in a.o\n',
            ["_gone"],
        ),
        ("mold: error: undefined symbol: _ZN1a1bEv\nmold: error: undefined symbol: c\n", ["a::b()", "c"]),
        ("a: undefined reference to `c'\nb: undefined reference to `c'\n", ["c"]),
        ("warning: something else\n", []),
    ],
)
def test_undefined_symbols_of_each_linker(log: str, symbols: list[str]) -> None:
    assert list(undefined_symbols(log)) == symbols


def test_a_template_gets_the_line_that_would_define_it() -> None:
    found = diagnose(f"ld: a.o: undefined reference to `{LONG}'\n")
    assert found.step == "link"
    assert found.hint == f"instantiate it where the template is defined: template {NAME};"


@pytest.mark.parametrize(
    ("log", "kind", "says"),
    [
        ("src/a.cpp:3:9: error: 'm' was not declared\nsrc/b.cpp:1:1: error: later\n", "compile", "'m' was not declared"),
        ("src/a.cpp:3:9: fatal error: no.h: No such file or directory\n", "compile", "no.h: No such file"),
        ("src/a.cpp:3:9: internal compiler error: Segmentation fault\n", "compile", "internal compiler error"),
        ("c++: fatal error: Killed signal terminated program cc1plus\n", "memory", "for want of memory"),
        ("virtual memory exhausted: Cannot allocate memory\n", "memory", "for want of memory"),
        ("a.s: Fatal error: can't write a.o: No space left on device\n", "disk", "no space left"),
        ("/usr/bin/ld: b.o: multiple definition of `f(int)'; a.o: first defined here\n", "link", "f(int) is defined twice"),
        ("ld.lld: error: duplicate symbol: f(int)\n>>> defined at a.cpp\n", "link", "f(int) is defined twice"),
        ("/usr/bin/ld: cannot find -lcurl: No such file or directory\n", "link", "can't find -lcurl"),
        ("mold: fatal: unknown command line option: -z foo\n", "link", "unknown command line option"),
        ("CMake Error: The source directory \"/x\" does not exist.\n", "cmake", "does not exist"),
        ("ninja: error: loading 'build.ninja': No such file or directory\n", "unknown", "loading 'build.ninja'"),
        ("", "unknown", "without a word"),
        ("some text\nan Error there\nlast\n", "unknown", "an Error there"),
    ],
)  # fmt: skip
def test_each_kind_of_failure(log: str, kind: str, says: str) -> None:
    found = diagnose(log)
    assert found.step == kind
    assert says in found.text()
    assert "\n" not in found.text()


def test_paths_are_those_of_the_build_folder() -> None:
    seen: list[tuple[Path, int]] = []

    def explain(path: Path, line: int) -> str | None:
        seen.append((path, line))
        return "our edit 'x' stands there"

    found = diagnose("../tree/a.cpp:3:9: error: no\n", explain, folder=Path("/there/build"))
    assert seen == [(Path("/there/tree/a.cpp"), 3)]
    assert found.text() == "/there/tree/a.cpp:3: no; our edit 'x' stands there"


def test_a_warning_about_memory_is_no_want_of_memory() -> None:
    assert diagnose("a.cpp:1:1: warning: may run out of memory\nb.cpp:2:1: error: no\n").step == "compile"
