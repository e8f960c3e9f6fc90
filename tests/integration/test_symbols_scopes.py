"""Who is judged when something is missing, in whose company, and what else may be asked of a folder."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from patcher import cli
from patcher.base.errors import UsageError
from patcher.symbols import Demands, SearchOptions, SymbolReport, check
from patcher.symbols.assumed import assumed
from tests.elf_files import Elf
from tests.integration.test_symbols_loading import OPENER, errors, starts
from tests.linking import Workshop, found, have

pytestmark = [pytest.mark.compiler, pytest.mark.skipif(not have("gcc", "g++"), reason="needs gcc")]
ORIGIN = "-Wl,-rpath,$ORIGIN"


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture
def driver(shop: Workshop) -> Path:
    """A program with two libraries; one needs a driver that isn't here, the other lacks a symbol."""
    stub = shop.library("stubs/cuda", "int cuInit(int x){return x;}", soname="libcuda.so.1")
    gpu = shop.library("gpu", "int cuInit(int); int gpu(void){return cuInit(0);}", stub)
    core = shop.library("core", "int core_missing(void); int core(void){return core_missing();}")
    return shop.program(
        "app", "int gpu(void), core(void); int main(void){return gpu() + core();}", gpu, core, ORIGIN
    )


def test_a_missing_library_excuses_those_that_lead_to_it_alone(shop: Workshop, driver: Path) -> None:
    assert errors(driver) == {("library-not-found", "libcuda.so.1"), ("undefined-symbol", "core_missing")}
    kept = check([driver], options=SearchOptions(), ignore=["libcuda.so.1"])
    assert found(kept, "error") == {("undefined-symbol", "core_missing")}
    # with the driver there, that is what the loader says
    there = shop.folder / "driver" / "libcuda.so.1"
    there.parent.mkdir()
    (shop.folder / "stubs" / "libcuda.so").rename(there)
    environment = {"LD_LIBRARY_PATH": str(there.parent), "LD_BIND_NOW": "1"}
    done = subprocess.run([str(driver)], env=environment, capture_output=True, text=True)
    assert "undefined symbol: core_missing" in done.stderr
    shop.library("core", "int core(void){return 0;}")
    assert subprocess.run([str(driver)], env=environment, capture_output=True).returncode == 0
    assert errors(driver) == {("library-not-found", "libcuda.so.1")}
    assert errors(driver, library_path=(there.parent,)) == set()


@pytest.mark.parametrize("value", ["libcuda.so.1", "libcuda.so.1={}/libcuda.so", "{}/libcuda.so", "{}"])
def test_a_library_may_be_assumed(shop: Workshop, driver: Path, value: str) -> None:
    value = value.format(shop.folder / "stubs")
    options: dict[str, object] = {"assumed": assumed([value])}
    assert errors(driver, **options) == {("undefined-symbol", "core_missing")}
    shop.library(
        "gpu",
        "int cuInit(int), cuNew(void); int gpu(void){return cuInit(0) + cuNew();}",
        shop.folder / "stubs/libcuda.so",
    )
    # of a library of which the name alone is known, nothing is known to be lacking
    more = set() if value == "libcuda.so.1" else {("undefined-symbol", "cuNew")}
    assert errors(driver, **options) == more | {("undefined-symbol", "core_missing")}
    assert cli.run(["verify-symbols", "-q", str(driver), "--assume-library", value]) == 1
    assert cli.run(["verify-symbols", "-q", str(driver), "--assume-library", value, "--ignore", "c*"]) == 0


@pytest.mark.parametrize(
    "value", ["=x", "", "x=", "libx.so=/no/such", "/no/such", __file__, str(Path(__file__).parent)]
)
def test_assumptions_that_make_no_sense(value: str) -> None:
    with pytest.raises(UsageError, match="--assume-library"):
        assumed([value])


def test_what_a_host_lacks_excuses_its_plugins(shop: Workshop) -> None:
    gone = shop.library("gone", "int f(void){return 1;}")
    host = shop.program("host", OPENER, "-ldl", gone, ORIGIN)
    plugin = shop.library("plugin", "int f(void); int p(void){return f();}")
    assert starts(host, plugin)
    assert errors(plugin, hosts=[host]) == set()
    gone.unlink()
    assert errors(plugin, hosts=[host]) == {("library-not-found", "libgone.so")}


def test_what_a_host_has_loaded_serves_the_libraries_of_its_plugins(shop: Workshop) -> None:
    python = shop.library("py", "int Py_Thing(void){return 1;}")
    host = shop.program("host", OPENER, "-ldl", python, ORIGIN)
    helper = shop.library("helper", "int Py_Thing(void); int helper(void){return Py_Thing();}")
    plugin = shop.library("ext", "int helper(void); int init(void){return helper();}", helper, ORIGIN)
    assert starts(host, plugin)
    assert found(check([plugin, helper], options=SearchOptions(), hosts=[host])) == set()
    # among its own libraries, what one has and the other doesn't name is still said
    other = shop.library("other", "int in_other(void){return 1;}")
    shop.library("helper", "int in_other(void); int helper(void){return in_other();}")
    shop.library(
        "ext",
        "int helper(void), in_other(void); int init(void){return helper() + in_other();}",
        helper,
        other,
        ORIGIN,
    )
    assert starts(host, plugin)
    assert found(check([plugin, helper], options=SearchOptions(), hosts=[host])) == {
        ("underlinked", "in_other")
    }


def test_one_cause_is_told_once(shop: Workshop) -> None:
    """The version is gone from the library and the symbol with it: the loader names the version."""
    shop.source("v.map", "V1 { g; }; V2 { f; };")
    library = shop.library(
        "v", "int f(void){return 1;} int g(void){return 1;}", f"-Wl,--version-script={shop.folder}/v.map"
    )
    program = shop.program("main", "int f(void); int main(void){return f() - 1;}", library, ORIGIN)
    shop.source("v.map", "V1 { g; };")
    shop.library("v", "int g(void){return 1;}", f"-Wl,--version-script={shop.folder}/v.map")
    done = subprocess.run([str(program)], capture_output=True, text=True)
    assert "version `V2' not found" in done.stderr
    assert errors(program) == {("version-mismatch", "f@V2")}


@pytest.mark.parametrize(("use", "define", "bad"), [
    ("extern __thread int v;", "__thread int v = 7;", False),
    ("extern int v;", "int v = 7;", False),
    ("extern __thread int v;", "int v = 7;", True),
    ("extern int v;", "__thread int v = 7;", True),
])  # fmt: skip
def test_a_threads_variable_and_a_plain_one(shop: Workshop, use: str, define: str, bad: bool) -> None:
    """The loader binds it and the program reads elsewhere; linkers refuse it."""
    library = shop.library("use", f"{use} int use(void){{return v;}}")
    definer = shop.library("def", define)
    use_it = "int use(void); int main(void){return use() != 7;}"
    program = shop.program("main", use_it, library, ORIGIN)
    # linked against one that agrees; the one that disagrees comes into its place
    kept = definer.read_bytes()
    shop.library("def", use.replace("extern ", "").replace(";", " = 7;"))
    shop.library("use", f"{use} int use(void){{return v;}}", definer, ORIGIN)
    definer.write_bytes(kept)
    assert starts(program) is not bad
    assert errors(program) == ({("tls-mismatch", "v")} if bad else set())


def test_static_tls_of_what_is_opened(shop: Workshop) -> None:
    text = "__thread char big[{}] = {{1}}; char *entry(void){{return big;}}"
    host = shop.program("host", OPENER, "-ldl")
    small = shop.library("small", "int nothing;")
    shop.compile("big.c", text.format(100_000), "-ftls-model=initial-exec")
    big = shop.folder / "libbig.so"
    shop.run("gcc", "-shared", "-o", big, shop.folder / "big.o")
    assert not starts(host, big)  # cannot allocate memory in static TLS block
    assert ("static-tls", "libbig.so") in found(check([big], options=SearchOptions()), "note")
    report = check([big], options=SearchOptions(), hosts=[host])
    assert ("static-tls", "libbig.so") in found(report, "note")
    assert found(report, "error") == {("static-tls-refused", "libbig.so")}
    shop.compile("big.c", text.format(100_000), "-ftls-model=global-dynamic")
    shop.run("gcc", "-shared", "-o", big, shop.folder / "big.o")
    assert starts(host, big)
    assert "static-tls" not in {
        rule for rule, _ in found(check([big, small], options=SearchOptions()), "note")
    }
    # a program that is linked against it has set room aside
    shop.compile("big.c", text.format(100_000), "-ftls-model=initial-exec")
    shop.run("gcc", "-shared", "-o", big, "-Wl,-soname,libbig.so", shop.folder / "big.o")
    program = shop.program("main", "char *entry(void); int main(void){return !entry();}", big, ORIGIN)
    assert starts(program)
    assert "static-tls" not in {rule for rule, _ in found(check([program], options=SearchOptions()), "note")}


@pytest.mark.parametrize("cc", ["gcc", "musl-gcc"])
def test_little_static_tls_of_what_is_opened(tmp_path: Path, cc: str) -> None:
    """glibc has some to spare, musl none: neither for its own variables nor for another late library's."""
    if not have(cc):
        pytest.skip(f"needs {cc}")
    shop = Workshop(tmp_path, cc=cc)
    host = shop.program("host", OPENER, "-ldl")
    own = shop.library("own", "__thread int x = 1;")
    early = '__attribute__((tls_model("initial-exec")))'
    plugins = [
        shop.library("plain", "__thread int y; int *p(void){return &y;}"),
        shop.library("few", f"{early} __thread int y[16]; int *p(void){{return y;}}"),
        shop.library("other", f"extern __thread int x {early}; int *p(void){{return &x;}}", own, ORIGIN),
    ]
    loads = [starts(host, plugin) for plugin in plugins]
    assert loads == [True, cc == "gcc", cc == "gcc"]
    for plugin, right in zip(plugins, loads, strict=True):
        report = check([plugin], options=SearchOptions(), hosts=[host])
        assert found(report, "error") == (set() if right else {("static-tls-refused", plugin.name)})
    linked = shop.program("linked", OPENER, "-ldl", own, ORIGIN)  # there from the start
    assert starts(linked, plugins[2])
    assert found(check([plugins[2]], options=SearchOptions(), hosts=[linked]), "error") == set()


@pytest.mark.parametrize(("text", "why"), [
    ("int plugin_entry(void){return 1;}", ""),
    ('__attribute__((visibility("hidden"))) int plugin_entry(void){return 1;}', "defines it, but it is local"),
    ("static int plugin_entry(void){return 1;} void *p = plugin_entry;", "defines it, but it is local"),
    ("int plugin_entry(void); int p(void){return plugin_entry();}", "uses it and doesn't define it"),
    ("int other;", "doesn't define it"),
])  # fmt: skip
def test_a_plugins_entry(shop: Workshop, text: str, why: str) -> None:
    plugin = shop.library("plugin", text)
    look = "#include <dlfcn.h>\nint main(int c, char **v){void *h = dlopen(v[1], RTLD_LAZY); return !(h && dlsym(h, v[2]));}"
    host = shop.program("look", look, "-ldl")
    done = subprocess.run([str(host), str(plugin), "plugin_entry"])
    assert (done.returncode == 0) is not bool(why)
    report = check([plugin], options=SearchOptions(), demands=Demands(("plugin_entry",)))
    told = [one for one in report.findings if one.rule == "not-exported"]
    assert [one.symbol for one in told] == (["plugin_entry"] if why else [])
    assert why in "".join(one.detail for one in told)
    named = check([shop.folder], options=SearchOptions(), demands=Demands(("lib*!plugin_entry",)))
    assert ("not-exported" in {one.rule for one in named.findings}) is bool(why)


def test_an_entry_with_cpp_linkage_and_one_of_no_file(shop: Workshop) -> None:
    plugin = shop.library("plugin", "int plugin_entry(){return 1;}", ext="cpp")
    report = check([plugin], options=SearchOptions(), demands=Demands(("plugin_entry",)))
    assert 'extern "C"' in (report.findings[0].suggestion or "")
    with pytest.raises(UsageError, match="looked for a file like nobody"):
        check([plugin], options=SearchOptions(), demands=Demands(("nobody*!x",)))


def test_the_oldest_system(shop: Workshop) -> None:
    """What objdump lists of the versions that are wanted is the truth."""
    program = shop.program(
        "main", '#include <iostream>\n#include <thread>\nint main(){std::thread t([]{std::cout << 1.5;}); t.join();}',
        ext="cpp",
    )  # fmt: skip
    said = shop.run("objdump", "-p", program).stdout
    newest = {
        family: max(
            re.findall(rf"\b{family}_([\d.]+)\s", said), key=lambda text: tuple(map(int, text.split(".")))
        )
        for family in ("GLIBC", "GLIBCXX", "CXXABI")
    }
    report = check([program], options=SearchOptions())
    assert dict(report.needs) == newest
    for family, version in newest.items():
        *front, last = map(int, version.split("."))
        older = ".".join(map(str, [*front, last - 1]))
        assert _ages(program, f"{family}_{version}") == set()
        assert f"{family}_{version}" in _ages(program, f"{family}_{older}")
    with pytest.raises(UsageError, match="--at-most new: looked for a version"):
        _ages(program, "new")
    with pytest.raises(
        UsageError, match=r"--at-most GLIB_2\.28: looked for a file .* found CXXABI, .*GLIBCXX"
    ):
        _ages(program, "GLIB_2.28")


def test_advice_for_a_link(shop: Workshop) -> None:
    """As for libraries: the other ABI of C++, a library that was forgotten, C that C++ took for its own."""
    text = "#include <string>\nstd::string name() { return {}; }\n"
    old = shop.compile("old.cpp", text + 'extern "C" int plain() { return 1; }', "-D_GLIBCXX_USE_CXX11_ABI=0")
    shop.run("ar", "rcs", "libold.a", old)
    main = shop.compile(
        "main.cpp", "#include <string>\nstd::string name(); int plain(); extern \"C\" double lgamma(double);"
        "int main() { return int(name().size() + plain()); }",
    )  # fmt: skip
    math = shop.compile("math.c", "double zlibVersion(void); double f(double x){return zlibVersion();}")
    report = check([main, shop.folder / "libold.a", math], options=SearchOptions())
    told = {one.symbol: one.suggestion or "" for one in report.findings if one.rule == "undefined-symbol"}
    assert "main.o was compiled with _GLIBCXX_USE_CXX11_ABI=1, libold.a with 0" in told["_Z4nameB5cxx11v"]
    assert 'libold.a defines plain plain: declare it extern "C"' in told["_Z5plainv"]
    if Path("/lib/x86_64-linux-gnu/libz.so.1").exists():
        assert told["zlibVersion"].endswith("add -lz")


def _ages(program: Path, limit: str) -> set[str]:
    report: SymbolReport = check([program], options=SearchOptions(), demands=Demands(at_most=(limit,)))
    return {one.symbol for one in report.findings if one.rule == "too-new"}


def test_an_older_library_refuses_what_is_too_new(shop: Workshop) -> None:
    script = shop.source("v.map", "ACME_1.9 { g; }; ACME_1.10 { f; };")
    flag = f"-Wl,--version-script={script}"
    library = shop.library("v", "int f(void){return 1;} int g(void){return 1;}", flag)
    program = shop.program("main", "int f(void); int main(void){return f() - 1;}", library, ORIGIN)
    assert starts(program)
    assert _ages(program, "ACME_1.10") == set()
    assert _ages(program, "ACME_1.9") == {"ACME_1.10"}
    # a library that is shipped along has what it has
    shipped = check([program, library], options=SearchOptions(), demands=Demands(at_most=("ACME_1.9",)))
    assert found(shipped) == set()
    shop.source("v.map", "ACME_1.9 { g; };")
    shop.library("v", "int g(void){return 1;}", flag)
    assert not starts(program)


PARTS = {
    "clean": ({"a.c": "int g(void); int f(void){return g();}", "b.c": "int g(void){return 1;}"}, set()),
    "lacks": ({"a.c": "int g(void); int f(void){return g();}"}, {"g"}),
    "weak": ({"a.c": "int g(void) __attribute__((weak)); int f(void){return g ? g() : 0;}"}, set()),
    "c library": ({"a.c": "#include <stdio.h>\n#include <stdlib.h>\nvoid h(void); int f(void){puts(\"\"); return atexit(h);} void h(void){}"}, set()),
    "maths": ({"a.c": "double sin(double); double f(double x){return sin(x);}"}, {"sin"}),
    "wide": ({"a.c": "__int128 f(__int128 a, __int128 b){return a / b;} double g(__int128 x){return (double)x;}"}, set()),
    "cpp": ({"a.cpp": "#include <iostream>\n#include <cmath>\ndouble f(double x){std::cout << x << std::endl; throw std::sin(x);}"}, set()),
    "cpp lacks": ({"a.cpp": "struct A {virtual ~A(); virtual int v();}; int f(A *a){return A().v();} A::~A(){}"}, {"_ZN1A1vEv"}),
    "tls": ({"a.c": "extern __thread int t; int f(void){return t;}", "b.c": "__thread int t;"}, set()),
    "hidden": ({"a.c": "int g(void); int f(void){return g();}", "b.c": '__attribute__((visibility("hidden"))) int g(void){return 1;}'}, set()),
    "static": ({"a.c": "int g(void); int f(void){return g();}", "b.c": "static int g(void){return 1;} int (*p)(void) = g;"}, {"g"}),
    "section": ({"a.c": '__attribute__((section("mine"))) int x = 1; extern int __start_mine[], __stop_mine[]; long f(void){return __stop_mine - __start_mine;}'}, set()),
    "no section": ({"a.c": "extern int __start_mine[]; int f(void){return __start_mine[0];}"}, {"__start_mine"}),
    "made": ({"a.c": "extern char _end[], _etext[], __bss_start[]; char *f(int i){return i ? _end : i > 2 ? _etext : __bss_start;}"}, set()),
}  # fmt: skip


@pytest.mark.parametrize("kind", PARTS)
def test_what_a_link_would_lack(shop: Workshop, kind: str) -> None:
    """The truth is the linker's: -z defs refuses what is undefined."""
    sources, lacking = PARTS[kind]
    parts = [shop.compile(name, text) for name, text in sources.items()]
    compiler = "g++" if any(name.endswith("cpp") for name in sources) else "gcc"
    done = shop.run(compiler, "-shared", "-Wl,-z,defs", "-o", "out.so", *parts, ok=False)
    assert (done.returncode != 0) is bool(lacking), done.stderr
    assert errors(*parts) == {("undefined-symbol", name) for name in lacking}
    # the same from an archive
    shop.run("ar", "rcs", "liball.a", *parts)
    assert errors(shop.folder / "liball.a") == {("undefined-symbol", name) for name in lacking}


def test_a_link_takes_of_an_archive_what_is_asked(shop: Workshop) -> None:
    one = shop.compile("one.c", "int g(void); int f(void){return g();}")
    two = shop.compile("two.c", "int g(void){return 1;}")
    three = shop.compile("three.c", "int nowhere(void); int h(void){return nowhere();}")
    shop.run("ar", "rcs", "libx.a", two, three)
    archive = shop.folder / "libx.a"
    assert shop.run("gcc", "-shared", "-Wl,-z,defs", "-o", "out.so", one, archive, ok=False).returncode == 0
    assert errors(one, archive) == set()
    assert errors(archive) == {("undefined-symbol", "nowhere")}
    # a shared library serves; a program is linked already, and objects beside it are hints
    shared = shop.library("g", "int g(void){return 1;}")
    assert errors(one) == {("undefined-symbol", "g")}
    assert errors(one, shared) == set()
    program = shop.program("main", "int main(void){return 0;}")
    assert errors(one, program) == set()
    for path in (program, shop.folder / "out.so", shared):
        path.unlink()
    assert errors(shop.folder) == {("undefined-symbol", "nowhere")}


def test_objects_of_a_machine_without_a_c_library(tmp_path: Path) -> None:
    part = Elf(type=1, machine=22, little=False, uses=["f"]).write(tmp_path / "a.o")
    assert errors(part, sysroot=tmp_path) == {("library-not-found", "libc.so.6")}


def test_two_documents_at_once_are_refused(shop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    program = shop.program("main", "int main(void){return 0;}")
    assert cli.run(["verify-symbols", str(program), "--json", "--format", "sarif"]) == 2
    assert capsys.readouterr().err.startswith("error: --json and --format sarif")
    assert cli.run(["verify-symbols", str(program), "--json", "--format", "json"]) == 0
    assert "GLIBC" in json.loads(capsys.readouterr().out)["needs"]
    for option in ("--sysroot", "--library-path"):
        assert cli.run(["verify-symbols", str(program), option, "/nope"]) == 2
    assert cli.run(["verify-symbols", str(program), "--emulate", "bfd", "--must-export", "x"]) == 2
