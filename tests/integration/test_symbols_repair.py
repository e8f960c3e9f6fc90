"""The fix of an undefined template member: found, proven, written, and the link is whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from patcher.cli import run
from patcher.symbols import check
from patcher.symbols.instantiate import tidy
from patcher.symbols.relocatable import members
from patcher.symbols.repair import fixes
from patcher.symbols.repair.database import Compilation
from patcher.symbols.repair.declaration import parameter_names
from patcher.symbols.repair.proof import prove
from patcher.symbols.repair.signature import signature
from tests.conftest import git
from tests.linking import Workshop, have

pytestmark = [
    pytest.mark.system,
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
    assert run(["verify-symbols", str(tree.parent / "build" / "libbox.so"), "--fix", str(tree)]) == 1
    assert "not proven, left out (the compiler refuses it" in capsys.readouterr().err
    assert "get_key<float>" not in source.read_text()
    assert source.read_text().count("get_key<bool>(const std::string") == 1
    # and where none is left, nothing is written
    fine = source.read_text()
    source.write_text(fine.replace("T(1) / 2 * 2 == 0", "sizeof(T) == 0"))
    assert run(["verify-symbols", str(tree.parent / "build" / "libbox.so"), "--fix", str(tree)]) == 3
    assert "nothing was written" in capsys.readouterr().err


@pytest.mark.parametrize(("mangled", "name", "parameters"), [
    ("_ZN18llama_model_loader7get_keyIbEEbRKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEERT_b",
     "llama_model_loader::get_key", ("std::string const&", "bool&", "bool")),
    ("_Z3mapISt4pairIiSt6vectorIfSaIfEEEEvT_", "map", ("std::pair<int, std::vector<float>>",)),
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


@pytest.mark.parametrize(("long", "short"), [
    ("f(std::vector<std::vector<float, std::allocator<float> >, std::allocator<std::vector<float, std::allocator<float> > > >&)",
     "f(std::vector<std::vector<float>>&)"),
    ("f(std::vector<float, pool<float>>)", "f(std::vector<float, pool<float>>)"),
    ("f(std::vector<float, std::allocator<double>>)", "f(std::vector<float, std::allocator<double>>)"),
    ("f(std::list<int, std::allocator<int>>, std::deque<a<int>, std::allocator<a<int>>>)", "f(std::list<int>, std::deque<a<int>>)"),
])  # fmt: skip
def test_default_allocators_are_left_out(long: str, short: str) -> None:
    assert tidy(long) == short


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


CLASS_HEADER = """#pragma once
namespace box { template <typename T> struct holder {
    holder(T value); virtual ~holder(); T get() const; static int count; T held; }; }
"""
CLASS_OWNER = """#include "holder.h"
namespace box {
template <typename T> holder<T>::holder(T value) : held(value) { ++count; }
template <typename T> holder<T>::~holder() { --count; }
template <typename T> T holder<T>::get() const { return held; }
template <typename T> int holder<T>::count = 0;
template struct holder<long>;
}
"""
CLASS_USER = """#include "holder.h"
int use() { box::holder<int> one(1); return one.get() + box::holder<int>::count; }
"""


def test_members_of_a_class_template(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They carry no result in their names: the class is instantiated, once for all that lack it."""
    shop = Workshop(tree)
    for name, text in (("holder.h", CLASS_HEADER), ("holder.cpp", CLASS_OWNER), ("user.cpp", CLASS_USER)):
        shop.source(f"src/{name}", text)
    shop.source("CMakeLists.txt", CMAKE.replace("loader.cpp", "holder.cpp"))
    build(shop)
    library = tree.parent / "build" / "libbox.so"
    report = check([library])
    assert len(report.at_least("error")) == 4  # constructor, destructor, get and count
    assert {fix.line for fix in fixes(report, proven=True)} == {"template class box::holder<int>;"}
    assert run(["verify-symbols", str(library), "--fix", str(tree)]) == 1
    assert "1 line written" in capsys.readouterr().err
    text = (tree / "src" / "holder.cpp").read_text()
    assert text.count("holder<int>;") == 1
    assert text.index("holder<long>;") < text.index("holder<int>;")
    build(shop)
    assert run(["verify-symbols", str(library)]) == 0
    # without the build's objects the line alone is known
    assert "template class box::holder<int>" in (report.at_least("error")[0].suggestion or "")


@pytest.mark.skipif(not have("clang++"), reason="needs clang, too")
def test_a_template_that_compilers_name_differently(tmp_path: Path) -> None:
    """GCC 12 leaves the constraint's value out of the name, clang writes it in: no line of one helps the other."""
    shop = Workshop(tmp_path)
    shop.source(
        "f.h",
        "#include <type_traits>\n"
        "template <typename T> typename std::enable_if<std::is_integral<T>::value, bool>::type f(T & x);\n",
    )
    owner = shop.source(
        "f.cpp",
        '#include "f.h"\n'
        "template <typename T> typename std::enable_if<std::is_integral<T>::value, bool>::type f(T & x) { return x; }\n"
        "template bool f<long>(long & x);\n",
    )
    shop.run("g++", "-O2", "-fPIC", "-c", owner, "-o", "f.o")
    user = '#include "f.h"\nbool use(int & x) { return f(x); }\n'
    shop.source("u.cpp", user)
    names = {}
    for compiler in ("g++", "clang++"):
        shop.run(compiler, "-O2", "-fPIC", "-c", "u.cpp", "-o", f"{compiler}.o")
        symbols = [one.name.decode() for unit in members(tmp_path / f"{compiler}.o") for one in unit.symbols]
        names[compiler] = next(name for name in symbols if name.startswith("_Z1f"))
    compilation = Compilation(
        owner, tmp_path, ("g++", "-O2", "-c", str(owner), "-o", "f.o"), tmp_path / "f.o"
    )
    line = "template bool f<int>(int & x);"
    assert prove(line, names["g++"], compilation).proven
    if names["g++"] == names["clang++"]:
        pytest.skip("these two agree")
    proof = prove(line, names["clang++"], compilation)
    assert not proof.proven
    assert names["g++"] in proof.detail


def test_a_compiler_that_came_with_the_build_is_not_run(tree: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    compiler = Workshop(tree).source("cc", f'#!/bin/sh\ntouch {ran}\nexec g++ "$@"\n')
    compiler.chmod(0o755)
    source = tree / "src" / "loader.cpp"
    compilation = Compilation(source, tree, (str(compiler), "-c", str(source)), tree / "x.o")
    proof = prove(
        "template bool box::loader::get_key<char>(int kid, char & result, bool required);", "x", compilation
    )
    assert not proof.proven
    assert "not run" in proof.detail
    assert not ran.exists()


SHAPES = """#pragma once
#include <string>
#include <type_traits>
#include <utility>
namespace eng {
template <class T> T conv(const std::string & s);
template <class T> struct Box { T v; Box(); template <class U> Box(U u); template <class U> static U cell; };
extern template struct Box<int>;
template <class T> auto deduced(T x) -> decltype(x + 1);
template <class T> std::enable_if_t<std::is_integral_v<T>, int> integral(T x);
struct Loader {
    template <class T> explicit Loader(T x); template <class T> T operator()(T x) const;
    template <class T> operator T() const; };
template <class T> struct Outer { struct Inner { T go(); static int count; }; };
template <class T> bool operator==(const Box<T> & a, const Box<T> & b);
}
"""
SHAPES_OWNER = """#include "shapes.h"
namespace eng {
template <class T> T conv(const std::string & s) { return T(s.size()); }
template <class T> Box<T>::Box() : v{} {}
template <class T> template <class U> Box<T>::Box(U u) : v(u) {}
template <class T> template <class U> U Box<T>::cell = U{};
template <class T> auto deduced(T x) -> decltype(x + 1) { return x + 1; }
template <class T> std::enable_if_t<std::is_integral_v<T>, int> integral(T x) { return int(x); }
template <class T> Loader::Loader(T) {}
template <class T> T Loader::operator()(T x) const { return x; }
template <class T> Loader::operator T() const { return T(); }
template <class T> T Outer<T>::Inner::go() { return T(count); }
template <class T> int Outer<T>::Inner::count = 1;
template <class T> bool operator == (const Box<T> & a, const Box<T> & b) { return &a == &b; }
template int conv<int>(const std::string & s);
#ifdef ENG_NEVER
template short conv<short>(const std::string & s);
#endif
template struct Box<int>;
template Box<int>::Box(long);
template int Box<int>::cell<int>;
template auto deduced<int>(int x) -> decltype(x + 1);
template int integral<int>(int x);
template Loader::Loader(int);
template int Loader::operator()<int>(int) const;
template Loader::operator int() const;
template struct Outer<int>;
}
"""
USES = {
    "in what isn't compiled": '(int)eng::conv<double>("abc")',
    "a constructor": "eng::Box<int>(2.5).v",
    "a variable": "(int)eng::Box<int>::cell<double>",
    "a result that is worked out": "(int)eng::deduced<double>(2.0)",
    "a result with a condition": "eng::integral<long>(2L)",
    "a constructor of no template": "(eng::Loader(2.0), 1)",
    "a call": "(int)eng::Loader(2)(2.0)",
    "a conversion": "(int)(double)eng::Loader(2)",
    "a class within": "(int)eng::Outer<double>::Inner().go()",
    "data of a class within": "eng::Outer<long>::Inner::count",
    "an operator of no class": "(eng::Box<int>() == eng::Box<int>())",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Any C++ project, which is no checkout of llama.cpp, that lacks an instantiation of every kind."""
    return made_of(tmp_path, SHAPES_OWNER)


def made_of(tmp_path: Path, owner: str) -> Path:
    shop = Workshop(tmp_path / "tree")
    shop.source("src/shapes.h", SHAPES)
    shop.source("src/shapes.cpp", owner)
    shop.source("src/user.cpp", f'#include "shapes.h"\nint use() {{ return {" + ".join(USES.values())}; }}\n')
    cmake = CMAKE.replace("src/loader.cpp", "src/shapes.cpp").replace(
        "set(CMAKE_BUILD_TYPE", "set(CMAKE_CXX_STANDARD 17)\nset(CMAKE_BUILD_TYPE"
    )
    shop.source("CMakeLists.txt", cmake)
    build(shop)
    return shop.folder


def test_every_kind_of_template_in_any_project(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = str(project.parent / "build" / "libbox.so")
    source = project / "src" / "shapes.cpp"
    before = source.read_bytes()
    lacking = check([Path(library)]).at_least("error")
    assert len(lacking) >= len(USES)
    assert run(["verify-symbols", library, "--fix", str(project)]) == 1
    assert f"{len(lacking)} lines written" in capsys.readouterr().err
    text = source.read_text()
    assert text.index("#endif") < text.index("conv<double>")  # not beside conv<short>, which isn't compiled
    build(Workshop(project))
    assert run(["verify-symbols", library]) == 0
    assert run(["revert", str(project)]) == 0
    assert source.read_bytes() == before


def test_the_first_instance_of_each_template(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = made_of(tmp_path, re.sub(r"(?m)^template (?!<).*\n", "", SHAPES_OWNER))
    library = str(project.parent / "build" / "libbox.so")
    assert run(["verify-symbols", library, "--fix", str(project)]) == 1
    assert "which defines the template: " in capsys.readouterr().out
    build(Workshop(project))
    assert run(["verify-symbols", library]) == 0


def test_one_that_cannot_be_proved_leaves_the_others(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = project / "src" / "shapes.cpp"
    broken = source.read_text().replace(
        "{ return int(x); }", "{ static_assert(sizeof(T) < 8); return int(x); }"
    )
    source.write_text(broken)
    library = str(project.parent / "build" / "libbox.so")
    assert run(["verify-symbols", library, "--fix", str(project)]) == 1
    told = capsys.readouterr()
    assert "left out" in told.err
    assert "integral<long>" in told.err
    assert "integral<long>" not in source.read_text()
    assert "conv<double>" in source.read_text()
    build(Workshop(project))
    assert {
        one.demangled.partition("(")[0].rpartition("::")[2]
        for one in check([Path(library)]).at_least("error")
    } == {"integral<long>"}


def test_all_lines_of_a_source_are_compiled_together(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from patcher.symbols.repair import batch, proof

    compiles: list[bytes] = []
    real = proof.compiled

    def counted(text: bytes, how: Compilation) -> proof.Compiled | proof.RepairProof:
        compiles.append(text)
        return real(text, how)

    monkeypatch.setattr(batch, "compiled", counted)
    made = fixes(check([project.parent / "build" / "libbox.so"]), proven=True)
    assert all(fix.proven for fix in made)
    assert len(compiles) <= 4 < len(made)


def test_a_line_that_nobody_proved_says_so(project: Path) -> None:
    (project.parent / "build" / "compile_commands.json").unlink()
    for finding in check([project.parent / "build" / "libbox.so"]).at_least("error"):
        assert "(not proven)" in (finding.suggestion or ""), finding
