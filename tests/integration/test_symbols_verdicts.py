"""Verdicts on what the compiler makes: each shape once, and the loader asked where it can tell."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from patcher.base.errors import UsageError
from patcher.symbols import check
from tests.linking import Workshop, found, have, without_sections

pytestmark = [pytest.mark.compiler, pytest.mark.skipif(not have("gcc", "g++"), reason="needs gcc")]

USE = "extern int f(void); int use(void){return f();}"
MAIN = "extern int use(void); int main(void){return use();}"


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.mark.parametrize(("use", "symbol"), [
    ("extern int f(void); int use(void){return f();}", "f"),
    ("extern int data; int use(void){return data;}", "data"),
    ("extern __thread int tls; int use(void){return tls;}", "tls"),
])  # fmt: skip
def test_missing_in_a_direct_library(shop: Workshop, use: str, symbol: str) -> None:
    library = shop.library("use", use)
    program = shop.program("main", MAIN, library)
    assert found(shop.check(program)) == {("undefined-symbol", symbol)}
    assert not shop.loads(program)


def test_missing_in_a_library_of_a_library(shop: Workshop) -> None:
    deep = shop.library("deep", "extern int f(void); int deep(void){return f();}")
    mid = shop.library("use", "extern int deep(void); int use(void){return deep();}", deep)
    program = shop.program("main", MAIN, mid)
    report = shop.check(program)
    assert found(report) == {("undefined-symbol", "f")}
    assert report.findings[0].chain == ("main", "libuse.so", "libdeep.so")
    assert not shop.loads(program)


def test_weak_undefined_is_a_note(shop: Workshop) -> None:
    library = shop.library(
        "use", "extern int f(void) __attribute__((weak)); int use(void){return f ? f() : 0;}"
    )
    program = shop.program("main", MAIN, library)
    report = shop.check(program)
    assert found(report) == set()
    assert ("loader-ok", "f") in found(report, "note")
    assert shop.loads(program)


@pytest.mark.skipif(not have("ld.gold"), reason="ld.bfd refuses such a link whatever it is told")
def test_hidden_in_the_programs_object(shop: Workshop) -> None:
    library = shop.library("use", USE)
    program = shop.program(
        "main",
        '__attribute__((visibility("hidden"))) int f(void){return 0;}' + MAIN,
        library,
        "-fuse-ld=gold",
    )
    assert found(shop.check(program)) == {("hidden-definition", "f")}
    assert not shop.loads(program)


def test_hidden_in_another_library(shop: Workshop) -> None:
    other = shop.library("other", 'int visible; __attribute__((visibility("hidden"))) int f(void){return 0;}')
    library = shop.library("use", USE, "-Wl,--no-as-needed", other)
    program = shop.program("main", MAIN, library)
    report = shop.check(program)
    assert found(report) == {("hidden-definition", "f")}
    assert "libother.so" in report.findings[0].detail
    assert not shop.loads(program)


def test_static_in_another_library_is_hidden_too(shop: Workshop) -> None:
    other = shop.library("other", "static int f(void){return 0;} int (*visible)(void) = f;")
    library = shop.library("use", USE, "-Wl,--no-as-needed", other)
    assert found(shop.check(shop.program("main", MAIN, library))) == {("hidden-definition", "f")}


def versioned(shop: Workshop, script: str, name: str = "v", text: str = "int f(void){return 0;}") -> Path:
    shop.source(f"{name}.map", script)
    return shop.library(name, text, f"-Wl,--version-script={shop.folder}/{name}.map")


def test_another_version_than_wanted(shop: Workshop) -> None:
    library = shop.library("use", USE, versioned(shop, "V2 { f; };"))
    program = shop.program("main", MAIN, library)
    assert shop.loads(program)
    assert found(shop.check(program)) == set()
    versioned(shop, "V1 { f; };")
    assert found(shop.check(program)) == {("version-mismatch", "f@V2")}
    assert not shop.loads(program)


def test_a_version_that_is_wanted_weakly(shop: Workshop) -> None:
    """VER_FLG_WEAK: the loader warns at most; what counts is whether the symbol is wanted strongly."""
    library = shop.library(
        "use", USE.replace("f(void);", "f(void) __attribute__((weak));", 1), versioned(shop, "V2 { f; };")
    )
    program = shop.program(
        "main", "extern int use(void); extern int main(void); int main(void){return 0;}", library
    )
    versioned(shop, "V1 { f; };")
    assert found(shop.check(program)) == set()
    assert shop.loads(program)


def test_no_version_wanted_and_a_default_one_there(shop: Workshop) -> None:
    plain = shop.library("v", "int f(void){return 0;}")
    library = shop.library("use", USE, plain)
    program = shop.program("main", MAIN, library)
    versioned(shop, "V1 { f; };")
    assert found(shop.check(program)) == set()
    assert shop.loads(program)


def test_a_version_wanted_of_a_library_that_has_none_now(shop: Workshop) -> None:
    library = shop.library("use", USE, versioned(shop, "V1 { f; };"))
    program = shop.program("main", MAIN, library)
    shop.library("v", "int f(void){return 0;}")
    assert not shop.loads(program)  # "Inconsistency detected by ld.so", says glibc
    assert found(shop.check(program)) == {("version-mismatch", "f@V1")}


def test_a_version_that_the_loader_is_lax_about(shop: Workshop) -> None:
    """The symbol is there without a version: linkers refuse the library, the loader takes it."""
    library = shop.library("use", USE, versioned(shop, "V1 { f; };"))
    program = shop.program("main", MAIN, library)
    versioned(shop, "V1 { g; };", text="int f(void){return 0;} int g;")
    assert shop.loads(program)
    report = shop.check(program)
    assert found(report) == set()
    assert [one.symbol for one in report.findings if "without a version" in one.detail] == ["f@V1"]


def test_preloaded_libraries_define(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    program = shop.program("main", MAIN, shop.library("use", USE))
    other = shop.library("other", "int f(void){return 0;}")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(shop.folder))
    assert ("undefined-symbol", "f") in found(check([program]))
    for preload in (str(other), "libother.so:no-such.so"):
        monkeypatch.setenv("LD_PRELOAD", preload)
        report = check([program])
        assert found(report) == set()
        assert [(one.rule, one.detail) for one in report.findings if one.symbol == "f"] == [
            ("loader-ok", "libother.so has it, which is preloaded")
        ]
        environment = {"LD_PRELOAD": preload, "LD_BIND_NOW": "1", "LD_LIBRARY_PATH": str(shop.folder)}
        assert subprocess.run([str(program)], env=environment, capture_output=True).returncode == 0
    program = shop.program("static", "int main(void){return 0;}", "-static")
    assert check([program]).findings == ()


@pytest.mark.parametrize("text", [
    '__attribute__((visibility("protected"))) int f(void){return 0;}',
    "static int g(void){return 0;} static void *pick(void){return g;} int f(void) __attribute__((ifunc(\"pick\")));",
    'asm(".type f,@gnu_unique_object\\n.globl f\\n.data\\nf: .long 0\\n.size f,4\\n.text");',
    "int f(void) __attribute__((weak)); int f(void){return 0;}",
])  # fmt: skip
def test_definitions_of_every_kind_count(shop: Workshop, text: str) -> None:
    other = shop.library("other", text)
    library = shop.library("use", "extern char f[]; char *use(void){return f;}", other)
    program = shop.program("main", "extern char *use(void); int main(void){return !use();}", library)
    assert found(shop.check(program)) == set()
    assert shop.loads(program)


def test_defined_in_the_program_without_rdynamic(shop: Workshop) -> None:
    """The linker exports what a library on its line uses."""
    program = shop.program("main", "int f(void){return 0;}" + MAIN, shop.library("use", USE))
    assert found(shop.check(program)) == set()
    assert shop.loads(program)


def test_only_in_a_plugin(shop: Workshop) -> None:
    program = shop.program("main", MAIN, shop.library("use", USE))
    plugin = shop.library("plugin", "int f(void){return 0;}")
    report = shop.check(program, plugin)
    assert found(report) == {("undefined-symbol", "f")}
    assert "libplugin.so" in (report.findings[0].suggestion or "")
    assert not shop.loads(program)


def test_a_plugin_and_its_host(shop: Workshop) -> None:
    host = shop.program("host", "int f(void){return 0;} int main(void){return 0;}", "-rdynamic")
    plugin = shop.library("use", USE)
    assert found(shop.check(plugin)) == {("undefined-symbol", "f")}
    assert found(shop.check(plugin, hosts=[host])) == set()


def test_a_library_that_is_not_found_hides_what_it_would_define(shop: Workshop) -> None:
    gone = shop.library("gone", "int f(void){return 0;}")
    program = shop.program("main", MAIN, shop.library("use", USE, gone))
    gone.unlink()
    assert found(shop.check(program)) == {("library-not-found", "libgone.so")}
    assert not shop.loads(program)


def test_found_through_runpath_only(shop: Workshop) -> None:
    sub = shop.library("sub/f", "int f(void){return 0;}", soname="libf.so")
    library = shop.library("use", USE, sub, "-Wl,--enable-new-dtags,-rpath,$ORIGIN/sub")
    report = shop.check(shop.program("main", MAIN, library), library)
    assert found(report) == set()
    assert ("runpath-only", "libf.so") in found(report, "note")


def test_origin_of_a_library_found_through_a_link(shop: Workshop) -> None:
    deep = shop.library("farm/deep", "int f(void){return 0;}", soname="libdeep.so")
    use = shop.library("real/use", USE, deep, "-Wl,--enable-new-dtags,-rpath,$ORIGIN", soname="libuse.so")
    (shop.folder / "farm" / "libuse.so").symlink_to("../real/libuse.so")
    program = shop.program("main", MAIN, shop.folder / "farm" / "libuse.so", "-Wl,-rpath,$ORIGIN/farm")
    assert shop.loads(program)
    assert found(shop.check(program)) == set()
    assert ("library-not-found", "libdeep.so") in found(shop.check(use))


def test_underlinked_with_and_without_a_provider(shop: Workshop) -> None:
    provider = shop.library("f", "int f(void){return 0;}")
    library = shop.library("use", USE)
    with_it = shop.program("with", MAIN, library, provider)
    assert found(shop.check(with_it)) == {("underlinked", "f")}
    assert shop.loads(with_it)
    without = shop.program("without", MAIN, library)
    assert found(shop.check(without)) == {("undefined-symbol", "f")}


def test_copy_relocations_define(shop: Workshop) -> None:
    data = shop.library("data", "int data = 5;")
    program = shop.program(
        "main", "extern int data; int main(void){return data - 5;}", data, "-no-pie", "-fno-pie"
    )
    assert found(shop.check(program)) == set()
    assert shop.loads(program)


def test_without_section_headers(shop: Workshop) -> None:
    library = shop.library("use", USE)
    program = shop.program("main", MAIN, library)
    bare = without_sections(library, shop.folder / "bare.so")
    bare.replace(library)
    assert found(shop.check(program)) == {("undefined-symbol", "f")}
    assert found(shop.check(without_sections(program, shop.folder / "main2"))) == {("undefined-symbol", "f")}


def test_stripped_and_debug_split(shop: Workshop) -> None:
    if not have("objcopy", "strip"):
        pytest.skip("needs binutils")
    library = shop.library("use", USE)
    debug = shop.folder / "debug" / "libuse.so.debug"
    debug.parent.mkdir()
    shop.run("objcopy", "--only-keep-debug", library, debug)
    shop.run("strip", library)
    program = shop.program("main", MAIN, library)
    report = shop.check(shop.folder)
    assert (report.objects, found(report)) == (2, {("undefined-symbol", "f")})
    assert program.exists()


def test_static_programs_have_nothing_to_load(shop: Workshop) -> None:
    part = shop.compile("main.c", "int main(void){return 0;}")
    for kind in ("-static", "-static-pie"):
        out = shop.folder / f"main{kind}"
        if shop.run("gcc", kind, "-o", out, part, ok=False).returncode:
            pytest.skip("no static C library here")
        assert found(shop.check(out)) == set()


def test_objects_and_archives_are_hints(shop: Workshop) -> None:
    program = shop.program("main", MAIN, shop.library("use", USE))
    part = shop.compile("lost.c", "int f(void){return 0;}")
    report = shop.check(program, shop.folder)
    assert "lost.o defines it" in (report.findings[0].suggestion or "")
    shop.run("ar", "rcs", "liblost.a", part)
    part.unlink()
    report = shop.check(program, shop.folder)
    assert "liblost.a(lost.o) defines it" in (report.findings[0].suggestion or "")


@pytest.mark.parametrize(("defined", "wanted", "part"), [
    ('extern "C" int plain(int x){return x;}', "int plain(int);", "defines plain plain"),
    ("int plain(int x){return x;}", 'extern "C" int plain(int);', "defines plain(int) with C++ linkage"),
    ("int plain(long x){return (int)x;}", "int plain(int);", "defines plain(long): same name, other parameters"),
])  # fmt: skip
def test_near_misses_in_cpp(shop: Workshop, defined: str, wanted: str, part: str) -> None:
    other = shop.library("other", defined, ext="cpp")
    library = shop.library("use", wanted + ' extern "C" int use(void){return plain(1);}', other, ext="cpp")
    report = shop.check(shop.program("main", MAIN, "-Wl,--no-as-needed", library, other), other)
    assert [one.rule for one in report.at_least("error")] == ["undefined-symbol"]
    assert part in (report.findings[0].suggestion or "")


def test_a_slip_of_the_pen(shop: Workshop) -> None:
    other = shop.library("other", "int initialise(void){return 0;}")
    library = shop.library("use", "extern int initialize(void); int use(void){return initialize();}")
    report = shop.check(shop.program("main", MAIN, library), other)
    assert "initialise: a slip of the pen?" in (report.at_least("error")[0].suggestion or "")


def test_pipes_circles_and_cut_files_below_a_folder(shop: Workshop) -> None:
    library = shop.library("use", USE)
    os.mkfifo(shop.folder / "pipe.so")
    (shop.folder / "a").symlink_to("b")
    (shop.folder / "b").symlink_to("a")
    (shop.folder / "loop").symlink_to(".")
    (shop.folder / "same.so").symlink_to(library.name)
    cut = shop.folder / "libcut.so"
    cut.write_bytes(library.read_bytes()[:3000])
    report = shop.check(shop.folder)
    assert report.objects == 1
    assert found(report) == {("undefined-symbol", "f"), ("unreadable-file", "libcut.so")}


def test_absolute_runpaths_into_builds(shop: Workshop) -> None:
    for name in ("own", "other"):
        (shop.folder / name / "lib").mkdir(parents=True)
        shop.source(f"{name}/CMakeCache.txt", "")
    paths = [shop.folder / "own" / "lib", shop.folder / "other" / "lib", shop.folder / "gone"]
    flags = [f"-Wl,-rpath,{path}" for path in (*paths, "/usr/local/nowhere", "$ORIGIN/../x")]
    library = shop.library("own/bin/use", "int use(void){return 0;}", *flags)
    for given in (library, library.parent, shop.folder / "own"):
        leaks = {
            one.symbol: one.detail for one in shop.check(given).findings if one.rule == "build-tree-leak"
        }
        assert set(leaks) == {str(paths[1]), str(paths[2])}
        assert f"build folder {shop.folder / 'other'}" in leaks[str(paths[1])]
        assert "no such folder" in leaks[str(paths[2])]


def test_what_may_not_be_opened_is_no_clean_bill(shop: Workshop) -> None:
    if os.geteuid():
        pytest.skip("needs root, to become somebody else")
    library = shop.library("use", "int use(void){return 0;}")
    shop.library("closed", USE).chmod(0)
    shop.source("secret.key", "").chmod(0)
    (shop.folder / "shut").mkdir(mode=0)
    for folder in (shop.folder, *shop.folder.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    expected = {("unreadable-file", "libclosed.so"), ("unreadable-file", "shut")}
    assert ("undefined-symbol", "f") in found(shop.check(shop.folder))
    os.seteuid(65534)
    try:
        assert found(shop.check(shop.folder)) == expected
        with pytest.raises(UsageError, match=r"libclosed.so: can't be opened \(Permission denied\)"):
            shop.check(shop.folder / "libclosed.so")
    finally:
        os.seteuid(0)
    assert library.exists()


@pytest.mark.system
@pytest.mark.skipif(not have("aarch64-linux-gnu-gcc-12"), reason="needs a cross compiler")
def test_a_cross_compiled_program(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, cc="aarch64-linux-gnu-gcc-12")
    program = shop.program("main", MAIN, shop.library("use", USE))
    report = shop.check(program, library_path=[Path("/usr/aarch64-linux-gnu/lib")])
    assert found(report) == {("undefined-symbol", "f")}
