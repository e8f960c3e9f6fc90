"""What verify-symbols advises, on the errors that are asked about most; the real loader says that each is one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from patcher.symbols import SearchOptions, SymbolFinding, check
from tests.linking import Workshop, have

pytestmark = [pytest.mark.compiler, pytest.mark.skipif(not have("gcc", "g++"), reason="needs gcc and g++")]

HOST = """#include <dlfcn.h>
#include <stdio.h>
int main(int c, char **v) { void *h = dlopen(v[1], RTLD_NOW); puts(h ? "loaded" : dlerror()); return !h; }
"""


def opened(shop: Workshop, library: Path, host: str = "host") -> str:
    """What the real loader says when a host opens the library."""
    return shop.run(shop.folder / host, library, ok=False).stdout


def advice(
    *paths: Path, hosts: tuple[Path, ...] = (), folders: tuple[Path, ...] = ()
) -> dict[str, SymbolFinding]:
    report = check(paths, hosts=hosts, options=SearchOptions(folders))
    return {one.symbol: one for one in report.at_least("error")}


def said(finding: SymbolFinding) -> str:
    return f"{finding.detail}; {finding.suggestion}"


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path)
    made.compile("host.c", HOST)
    made.run("gcc", "-o", "host", "host.o", "-ldl")
    return made


@pytest.mark.parametrize("old", ["libcore.so", "ext.so"])
def test_the_other_abi_of_strings(shop: Workshop, old: str) -> None:
    head = "#include <string>\nnamespace core { void add(std::string const&); std::string tell(int); }\n"
    shop.source(
        "core.cpp", head + "void core::add(std::string const&){} std::string core::tell(int){return {};}"
    )
    shop.source("ext.cpp", head + 'extern "C" int go(){core::add("x"); return core::tell(3).size();}')
    for out, source in (("libcore.so", "core.cpp"), ("ext.so", "ext.cpp")):
        flag = f"-D_GLIBCXX_USE_CXX11_ABI={int(out != old)}"
        shop.run("g++", flag, "-shared", "-fPIC", "-Wl,--no-as-needed", "-o", out, source,
                 *(["-L.", "-lcore", "-Wl,-rpath,$ORIGIN"] if out == "ext.so" else []))  # fmt: skip
    extension, core = shop.folder / "ext.so", shop.folder / "libcore.so"
    assert "undefined symbol" in opened(shop, extension)
    for paths in ((extension,), (extension, core)):
        found = advice(*paths)
        assert len(found) == 2
        for finding in found.values():
            ours = f"{old} was compiled with _GLIBCXX_USE_CXX11_ABI=0"
            assert ours in said(finding) or f"{old} with 0" in said(finding)


def test_cpp_that_is_linked_by_the_c_compiler(shop: Workshop) -> None:
    text = (
        "#include <iostream>\n#include <stdexcept>\nstruct A { virtual ~A(){} };"
        ' extern "C" int go(){ A a; std::cout << 3.5 << std::endl; throw std::runtime_error("x"); }'
    )
    shop.compile("a.cpp", text)
    shop.run("gcc", "-shared", "-o", "liba.so", "a.o")
    assert "undefined symbol" in opened(shop, shop.folder / "liba.so")
    found = advice(shop.folder / "liba.so")
    assert len(found) > 10
    for finding in found.values():
        assert "isn't linked against libstdc++" in said(finding)
        assert "instantiate" not in said(finding)
        assert "virtual member" not in said(finding)


def test_an_older_library_that_is_found_first(shop: Workshop) -> None:
    shop.library("old/ggml", "int init(void){return 1;}")
    shop.library("bin/ggml", "int init(void){return 1;} int newer(void){return 0;}")
    program = shop.program(
        "bin/cli", "int init(void),newer(void); int main(){return init()+newer()-1;}",
        "-Lbin", "-lggml", "-Wl,-rpath,$ORIGIN",
    )  # fmt: skip
    environment = {**os.environ, "LD_LIBRARY_PATH": str(shop.folder / "old"), "LD_BIND_NOW": "1"}
    assert subprocess.run([program], env=environment, capture_output=True).returncode
    for asked in (shop.folder / "bin", program):  # the good one may be named, or only lie beside
        found = advice(asked, folders=(shop.folder / "old",))
        words = said(found["newer"])
        assert str(shop.folder / "old/libggml.so") in words
        assert str(shop.folder / "bin/libggml.so") in words
        assert "LD_LIBRARY_PATH" in words
        assert "link" not in words


def test_a_host_that_does_not_export(shop: Workshop) -> None:
    plugin = shop.library("plug", "int registered(int); int p(void){return registered(1);}", soname=None)
    shop.compile("more.c", "int registered(int x){return x;}")
    shop.run("gcc", "-o", "closed", "host.o", "more.o", "-ldl")
    shop.run("gcc", "-rdynamic", "-o", "open", "host.o", "more.o", "-ldl")
    assert "undefined symbol" in opened(shop, plugin, "closed")
    assert "loaded" in opened(shop, plugin, "open")
    finding = advice(plugin, hosts=(shop.folder / "closed",))["registered"]
    assert finding.rule == "hidden-definition"
    assert "-rdynamic" in said(finding)
    assert not advice(plugin, hosts=(shop.folder / "open",))


def test_a_bystanders_local_symbol_is_not_blamed(shop: Workshop) -> None:
    shop.library("bystander", "static int f(void){return 1;} int other(void){return f();}")
    right = shop.library("right", "int f(void){return 2;}")
    use = shop.library(
        "use", "int f(void),other(void); int use(void){return f()+other();}", "-L.", "-lbystander"
    )
    finding = advice(use, right, folders=(shop.folder,))["f"]
    assert finding.rule == "undefined-symbol"
    assert "link libuse.so against libright.so" in said(finding)


@pytest.mark.parametrize(
    ("call", "word"), [("double cos(double); double", "-lm"), ("int deflate(void); int", "-lz")]
)
def test_a_forgotten_library_is_named(shop: Workshop, call: str, word: str) -> None:
    name = call.split()[1].partition("(")[0]
    takes, gives = ("double x", "x") if word == "-lm" else ("void", "")
    library = shop.library("use", f"{call} use({takes}){{return {name}({gives});}}")
    if word == "-lz" and not any(
        Path(place).glob("libz.so.1") for place in ("/lib", "/usr/lib", "/lib/x86_64-linux-gnu")
    ):
        pytest.skip("no zlib here")
    assert f"add {word}" in said(advice(library)[name])


def test_a_library_that_lies_elsewhere(shop: Workshop) -> None:
    library = shop.library("lib/g", "int g(void){return 1;}", soname="libg.so.0")
    library.rename(library.with_name("libg.so.0.1"))
    library.with_name("libg.so.0").symlink_to("libg.so.0.1")
    program = shop.program("bin/app", "int g(void); int main(){return g()-1;}", "lib/libg.so.0")
    assert subprocess.run([program], capture_output=True).returncode != 0
    finding = advice(shop.folder)["libg.so.0"]
    assert "searched: " in finding.detail
    assert str(shop.folder / "lib/libg.so.0") in (finding.suggestion or "")
    alone = advice(program)["libg.so.0"].suggestion or ""  # nobody named it: it is looked for near by
    assert f"{shop.folder / 'lib/libg.so.0'}: " in alone
    assert "'$ORIGIN/../lib'" in alone
    shop.program(
        "bin/app", "int g(void); int main(){return g()-1;}", "lib/libg.so.0", "-Wl,-rpath,$ORIGIN/../lib"
    )
    assert "$ORIGIN/../lib" in (finding.suggestion or "")  # which is what makes it run:
    assert subprocess.run([program], capture_output=True).returncode == 0
    assert not advice(shop.folder)


def test_a_link_is_told_what_makes_a_definition(shop: Workshop) -> None:
    head = "template<class T> T tpl(T); struct V { virtual void v(); };\n"
    more = head + "template<class T> T tpl(T x){return x;}\n"
    shop.compile("use.cpp", head + "int main(){ V v; return tpl(2) - 2; }")
    shop.compile("more.cpp", more)
    objects = (shop.folder / "use.o", shop.folder / "more.o")
    assert shop.run("g++", "-o", "app", *objects, ok=False).returncode
    found = {one: finding.suggestion or "" for one, finding in advice(*objects).items()}
    assert "define V's first virtual member" in found["_ZTV1V"]
    line = found["_Z3tplIiET_S0_"].removeprefix("instantiate it where the template is defined: ")
    shop.compile("more.cpp", f"{more}void V::v(){{}}\n{line.removesuffix(' (not proven)')}\n")
    assert not advice(*objects)
    assert shop.run("g++", "-o", "app", *objects).returncode == 0
