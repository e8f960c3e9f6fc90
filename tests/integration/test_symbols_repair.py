"""The fix of an undefined template member: found, proven, written, and the link is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from patcher.cli import run
from patcher.symbols import check
from patcher.symbols.repair import fixes
from patcher.symbols.repair.declaration import parameter_names
from patcher.symbols.repair.proof import prove
from patcher.symbols.repair.signature import signature
from tests.conftest import git
from tests.linking import Workshop, have

pytestmark = [
    pytest.mark.compiler,
    pytest.mark.skipif(not have("g++", "cmake", "ninja", "git"), reason="needs g++, cmake, ninja"),
]

HEADER = """#pragma once
#include <string>
namespace box {
struct loader {
    template <typename T> bool get_key(const std::string & key, T & result, bool required = true);
    template <typename T> bool get_key(int kid, T & result, bool required = true);
};
}
"""
OWNER = """#include "loader.h"
namespace box {
template <typename T> bool loader::get_key(const std::string & key, T & result, bool required) {
    result = T(); return required && !key.empty();
}
template <typename T> bool loader::get_key(int kid, T & result, bool required) {
    return get_key(std::to_string(kid), result, required);
}
template bool loader::get_key<int>(const std::string & key, int & result, bool required);
template bool loader::get_key<bool>(int kid, bool & result, bool required);
}
void unrelated() {}
"""
USER = """#include "loader.h"
bool use() { box::loader l; float x; bool r; return l.get_key("a", x, false) && l.get_key(std::string("b"), r); }
"""
CMAKE = """cmake_minimum_required(VERSION 3.16)
project(x CXX)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_BUILD_TYPE Release)
add_library(box SHARED src/loader.cpp src/user.cpp)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shop = Workshop(tmp_path / "tree")
    for name, text in (
        ("src/loader.h", HEADER),
        ("src/loader.cpp", OWNER),
        ("src/user.cpp", USER),
        ("CMakeLists.txt", CMAKE),
    ):
        shop.source(name, text)
    for name in ("ggml/include/ggml.h", "include/llama.h"):  # what makes a checkout for 'revert'
        shop.source(name, "")
    git(shop.folder, "init", "-q")
    git(shop.folder, "add", "-A")
    git(shop.folder, "commit", "-qm", "base")
    build(shop)
    return shop.folder


def build(shop: Workshop) -> None:
    out = shop.folder.parent / "build"
    shop.run("cmake", "-G", "Ninja", "-S", shop.folder, "-B", out)
    shop.run("cmake", "--build", out)


def test_finds_the_line_and_its_file(tree: Path) -> None:
    report = check([tree.parent / "build" / "libbox.so"])
    made = {fix.line: fix for fix in fixes(report, proven=True)}
    assert set(made) == {
        "template bool box::loader::get_key<float>(const std::string & key, float & result, bool required);",
        "template bool box::loader::get_key<bool>(const std::string & key, bool & result, bool required);",
    }
    for fix in made.values():
        assert fix.compilation.source == tree / "src" / "loader.cpp"
        assert fix.proof is not None
        assert fix.proof.proven


def test_writes_it_and_takes_it_back(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = str(tree.parent / "build" / "libbox.so")
    before = (tree / "src" / "loader.cpp").read_bytes()
    assert run(["verify-symbols", library, "--fix", str(tree)]) == 1
    assert "proven by compiling" in capsys.readouterr().out
    text = (tree / "src" / "loader.cpp").read_text()
    assert text.count("get_key<float>(const std::string & key") == 1
    assert text.index("get_key<bool>(int kid") < text.index("get_key<float>") < text.index("void unrelated")
    build(Workshop(tree))
    assert run(["verify-symbols", library]) == 0
    assert run(["revert", str(tree)]) == 0
    assert (tree / "src" / "loader.cpp").read_bytes() == before


def test_a_line_that_does_not_help_is_not_written(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tree / "src" / "loader.cpp"
    broken = source.read_text().replace(
        "result = T();", "result = T(); static_assert(sizeof(T) != 4 || T(1) / 2 * 2 == 0);"
    )
    source.write_text(broken)
    assert run(["verify-symbols", str(tree.parent / "build" / "libbox.so"), "--fix", str(tree)]) == 3
    assert "not proven, the compiler refuses it" in capsys.readouterr().err
    assert source.read_text() == broken


@pytest.mark.parametrize(("mangled", "name", "parameters"), [
    ("_ZN18llama_model_loader7get_keyIbEEbRKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEERT_b",
     "llama_model_loader::get_key", ("std::string const&", "bool&", "bool")),
    ("_Z3mapISt4pairIiSt6vectorIfSaIfEEEEvT_", "map", ("std::pair<int, std::vector<float, std::allocator<float>>>",)),
])  # fmt: skip
def test_signatures(mangled: str, name: str, parameters: tuple[str, ...]) -> None:
    shape = signature(mangled)
    assert shape is not None
    assert (shape.name, shape.parameters) == (name, parameters)


@pytest.mark.parametrize(
    "mangled", ["_Z3fooi", "plain", "_ZN3foo3barEv", "_ZNSt6vectorIiSaIiEE9push_backEOi"]
)
def test_what_is_no_function_template(mangled: str) -> None:
    assert signature(mangled) is None


def test_names_come_from_the_overload_that_is_meant(tree: Path) -> None:
    source = tree / "src" / "loader.cpp"
    by_key = signature(
        "_ZN3box6loader7get_keyIfEEbRKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEERT_b"
    )
    by_number = signature("_ZN3box6loader7get_keyIfEEbiRT_b")
    assert by_key is not None
    assert by_number is not None
    assert parameter_names(by_key, source) == ("key", "result", "required")
    assert parameter_names(by_number, source) == ("kid", "result", "required")


def test_another_line_proves_nothing(tree: Path) -> None:
    report = check([tree.parent / "build" / "libbox.so"])
    fix = fixes(report)[0]
    assert fix.proof is None
    other = "template bool box::loader::get_key<char>(const std::string & key, char & result, bool required);"
    proof = prove(other, fix.symbol, fix.compilation)
    assert (proof.proven, proof.detail) == (False, "the object doesn't define it")
