"""What people report of loaders and linkers, each made again from a few files of our own.

Each situation says what the real loader or linker makes of it, which is the truth, and what we have to say.
The page docs/symbols/reports.md is the table of them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from patcher.symbols import Demands, SearchOptions, SymbolFinding, SymbolReport, check
from patcher.symbols.assumed import assumed
from tests.linking import Workshop

ORIGIN = "-Wl,-rpath,$ORIGIN"
OPENER = """#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **words) {
    void *handle = dlopen(words[1], RTLD_NOW);
    if (!handle) { puts(dlerror()); return 1; }
    if (count > 2 && !dlsym(handle, words[2])) { puts(dlerror()); return 1; }
    return 0;
}
"""


@dataclass
class Scene:
    """What was built, how the loader is asked, and how we are."""

    command: list[str | Path]
    paths: list[Path]
    environment: Mapping[str, str] = field(default_factory=dict)
    hosts: list[Path] = field(default_factory=list)
    options: SearchOptions = field(default_factory=SearchOptions)
    demands: Demands = field(default_factory=Demands)
    folder: Path | None = None  # where the program is started

    def truth(self) -> tuple[bool, str]:
        """Whether it loads, and the loader's (or the kernel's) own words."""
        try:
            done = subprocess.run(
                [str(word) for word in self.command], env={"LD_BIND_NOW": "1", **self.environment},
                cwd=self.folder, capture_output=True, text=True,
            )  # fmt: skip
        except OSError as why:
            return False, str(why.strerror)
        said = (done.stderr or done.stdout).strip().splitlines()
        return done.returncode == 0, said[0] if said else (
            "runs" if done.returncode == 0 else "crashes or misreads"
        )

    def verdict(self) -> SymbolReport:
        """Ours."""
        return check(self.paths, options=self.options, hosts=self.hosts, demands=self.demands)


@dataclass(frozen=True)
class Situation:
    """One kind of report. ``rule`` is what we have to find, "" where nothing; ``severity`` from which on."""

    title: str
    seen: str  # where people reported it
    make: Callable[[Workshop], Scene]
    rule: str
    symbol: str = ""
    severity: str = "error"

    def found(self, report: SymbolReport) -> list[SymbolFinding]:
        """The findings that count here."""
        return report.at_least(self.severity)


def _driver(shop: Workshop) -> Path:
    stub = shop.library("stubs/cuda", "int cuInit(int x){return x;}", soname="libcuda.so.1")
    gpu = shop.library("gpu", "int cuInit(int); int gpu(void){return cuInit(0);}", stub)
    core = shop.library("core", "int core_missing(void); int core(void){return core_missing();}")
    main = "int gpu(void), core(void); int main(void){return gpu() + core();}"
    program = shop.program("app", main, gpu, core, ORIGIN)
    there = shop.folder / "driver" / "libcuda.so.1"
    there.parent.mkdir()
    there.write_bytes(stub.read_bytes())
    return program


def missing_driver(shop: Workshop) -> Scene:
    program = _driver(shop)
    options = SearchOptions(assumed=assumed(["libcuda.so.1"]))
    return Scene([program], [program], {"LD_LIBRARY_PATH": str(shop.folder / "driver")}, options=options)


def stub_of_a_driver(shop: Workshop) -> Scene:
    program = _driver(shop)
    shop.library("core", "int core(void){return 0;}")
    options = SearchOptions(assumed=assumed([str(shop.folder / "stubs")]))
    return Scene([program], [program], {"LD_LIBRARY_PATH": str(shop.folder / "driver")}, options=options)


def too_short(shop: Workshop) -> Scene:
    library = shop.library("second/f", "int f(void){return 0;}")
    program = shop.program(
        "app", "int f(void); int main(void){return f();}", library, "-Wl,-rpath,$ORIGIN/first:$ORIGIN/second"
    )
    shop.source("first/libf.so", "libf.so.1.0")
    return Scene([program], [program])


def old_abi(shop: Workshop) -> Scene:
    text = "#include <string>\nnamespace core { void add(std::string const &); }\n"
    part = shop.compile(
        "core.cpp", text + "void core::add(std::string const &) {}", "-D_GLIBCXX_USE_CXX11_ABI=0"
    )
    core = shop.folder / "libcore.so"
    shop.run("g++", "-shared", "-o", core, part, "-Wl,-soname,libcore.so")
    user = shop.library("ext", text + 'extern "C" void init() { core::add("x"); }', core, ORIGIN, ext="cpp")
    return Scene([shop.program("host", OPENER, "-ldl"), user], [user, core])


def linked_with_gcc(shop: Workshop) -> Scene:
    part = shop.compile(
        "a.cpp",
        "#include <iostream>\nstruct A { virtual ~A() {} }; int go() { A a; std::cout << 1.5 << std::endl; throw 1; }",
    )
    out = shop.folder / "liba.so"
    shop.run("gcc", "-shared", "-o", out, part)
    return Scene([shop.program("host", OPENER, "-ldl"), out], [out])


def older_first(shop: Workshop) -> Scene:
    old = shop.library("old/ggml", "int ggml_init(void){return 0;}")
    new = shop.library("bin/ggml", "int ggml_init(void){return 0;} int ggml_new(void){return 0;}")
    program = shop.program(
        "bin/cli",
        "int ggml_init(void), ggml_new(void); int main(void){return ggml_init() + ggml_new();}",
        new,
        ORIGIN,
    )
    options = SearchOptions((old.parent,))
    return Scene([program], [program], {"LD_LIBRARY_PATH": str(old.parent)}, options=options)


def in_the_hosts_library(shop: Workshop) -> Scene:
    python = shop.library("py", "int Py_Thing(void){return 1;}")
    host = shop.program("host", OPENER, "-ldl", python, ORIGIN)
    helper = shop.library("helper", "int Py_Thing(void); int helper(void){return Py_Thing();}")
    plugin = shop.library("ext", "int helper(void); int init(void){return helper();}", helper, ORIGIN)
    return Scene([host, plugin], [plugin, helper], hosts=[host])


def no_rdynamic(shop: Workshop) -> Scene:
    host = shop.program("host", "int host_register(int x){return x;}\n" + OPENER, "-ldl")
    plugin = shop.library("plug", "int host_register(int); int p(void){return host_register(1);}")
    return Scene([host, plugin], [plugin], hosts=[host])


def beside_in_lib(shop: Workshop) -> Scene:
    library = shop.library("lib/g", "int g(void){return 0;}", soname="libg.so.0")
    (shop.folder / "lib" / "libg.so.0").symlink_to("libg.so")
    program = shop.program("bin/app", "int g(void); int main(void){return g();}", library)
    return Scene([program], [program, library])


def programs_rpath(shop: Workshop) -> Scene:
    dep = shop.library("sub/dep", "int dep(void){return 0;}")
    plugin = shop.library("plugin", "int dep(void); int p(void){return dep();}", dep)
    host = shop.program("host", OPENER, "-ldl", "-Wl,--disable-new-dtags,-rpath,$ORIGIN/sub")
    return Scene([host, plugin], [plugin], hosts=[host])


def relative_runpath(shop: Workshop) -> Scene:
    library = shop.library("lib/f", "int f(void){return 0;}")
    program = shop.program("app", "int f(void); int main(void){return f();}", library, "-Wl,-rpath,lib")
    return Scene([program], [program], folder=Path("/"))


def needed_by_path(shop: Workshop) -> Scene:
    shop.library("lib/f", "int f(void){return 0;}", soname=None)
    program = shop.program("app", "int f(void); int main(void){return f();}", "lib/libf.so")
    return Scene([program], [program], folder=Path("/"))


def no_interpreter(shop: Workshop) -> Scene:
    flag = "-Wl,--dynamic-linker,/nix/store/no-such/ld-linux-x86-64.so.2"
    program = shop.program("app", "int main(void){return 0;}", flag)
    return Scene([program], [program])


def too_new(shop: Workshop) -> Scene:
    script = shop.source("v.map", "ACME_1.9 { g; }; ACME_1.10 { f; };")
    library = shop.library(
        "v", "int f(void){return 0;} int g(void){return 0;}", f"-Wl,--version-script={script}"
    )
    program = shop.program("app", "int f(void); int main(void){return f();}", library, ORIGIN)
    shop.source("v.map", "ACME_1.9 { g; };")
    shop.library("v", "int g(void){return 0;}", f"-Wl,--version-script={script}")
    return Scene([program], [program], demands=Demands(at_most=("ACME_1.9",)))


def tls_and_plain(shop: Workshop) -> Scene:
    definer = shop.library("def", "__thread int v = 7;")
    user = shop.library("use", "extern __thread int v; int use(void){return v;}", definer, ORIGIN)
    program = shop.program("app", "int use(void); int main(void){return use() != 7;}", user, ORIGIN)
    shop.library("def", "int v = 7;")
    return Scene([program], [program])


def static_tls(shop: Workshop) -> Scene:
    part = shop.compile(
        "big.c", "__thread char big[100000] = {1}; char *entry(void){return big;}", "-ftls-model=initial-exec"
    )
    out = shop.folder / "libbig.so"
    shop.run("gcc", "-shared", "-o", out, part)
    return Scene([shop.program("host", OPENER, "-ldl"), out], [out])


def hidden_entry(shop: Workshop) -> Scene:
    plugin = shop.library("plugin", '__attribute__((visibility("hidden"))) int plugin_entry(void){return 1;}')
    host = shop.program("host", OPENER, "-ldl")
    return Scene([host, plugin, "plugin_entry"], [plugin], demands=Demands(("plugin_entry",)))


def lost_template(shop: Workshop) -> Scene:
    head = "#include <string>\nstruct loader { template <class T> bool get(std::string const &, T &); };\n"
    core = shop.library(
        "core",
        head
        + "template <class T> bool loader::get(std::string const &, T &) {return true;}\ntemplate bool loader::get(std::string const &, int &);",
        ext="cpp",
    )
    use = shop.library(
        "use", head + 'bool use() { bool b; return loader().get("x", b); }', core, ORIGIN, ext="cpp"
    )
    program = shop.program("app", "bool use(); int main() {return !use();}", use, ORIGIN, ext="cpp")
    return Scene([program], [program, use, core])


def plugins_host(shop: Workshop) -> Scene:
    host = shop.program(
        "host", "int host_a(void){return 1;} int host_b(void){return 1;}\n" + OPENER, "-ldl", "-rdynamic"
    )
    text = "int host_a(void), host_b(void); int p(void){return host_a() + host_b();}"
    plugins = [shop.library(f"mod/{name}", text) for name in ("one", "two", "three")]
    other = shop.program("other", OPENER, "-ldl")
    return Scene([other, plugins[0]], [host, *plugins])


SITUATIONS = (
    Situation("A driver that CI doesn't have (`libcuda.so.1`) hides another library's undefined symbol", "programs for GPUs in CI", missing_driver, "undefined-symbol", "core_missing"),
    Situation("A stub whose file name isn't its soname stands for the driver", "nvidia-container-toolkit#185", stub_of_a_driver, ""),
    Situation("`file too short`: the first file of the name is a lost link or a Git LFS pointer", "CNTK#2213", too_short, "unreadable-file", "libf.so"),
    Situation("`_GLIBCXX_USE_CXX11_ABI` differs", "DCNv2#19, nanobind#908, torch-ccl#16", old_abi, "undefined-symbol"),
    Situation("C++ linked with `gcc`", "tgbdual-libretro#11", linked_with_gcc, "undefined-symbol"),
    Situation("An older library of the same name is loaded first", "llama.cpp#8695, llama.cpp#11932", older_first, "undefined-symbol", "ggml_new"),
    Situation("An undefined template instantiation", "llama.cpp forks that carry a type of their own", lost_template, "undefined-symbol"),
    Situation("A plugin's helper uses what its host's library has", "auditwheel#589", in_the_hosts_library, "", severity="warning"),
    Situation("The host has the function and doesn't export it", "a host without `-rdynamic`", no_rdynamic, "undefined-symbol|hidden-definition", "host_register"),
    Situation("Plugins, and nobody says of which program", "folders of modules of Python, Perl, PostgreSQL", plugins_host, "host-not-named"),
    Situation("A library in `../lib` that no RUNPATH leads to", "llama.cpp#10588, llama.cpp#11267, llama.cpp#16089", beside_in_lib, "library-not-found", "libg.so.0"),
    Situation("A plugin finds its library by its program's RPATH", "`--host` with DT_RPATH", programs_rpath, ""),
    Situation("A relative RUNPATH: works in one folder only", "`-Wl,-rpath,lib`", relative_runpath, "build-tree-leak|library-not-found", severity="warning"),
    Situation("A library needed by its path", "a library without a soname", needed_by_path, "build-tree-leak|library-not-found", severity="warning"),
    Situation("`No such file or directory` of a program that is there", "binaries from Nix, or of 32 bits", no_interpreter, "interpreter-not-found"),
    Situation("`version GLIBC_2.34 not found`", "binaries on older systems", too_new, "version-mismatch"),
    Situation("A thread's own variable meets a plain one", "two builds of one project", tls_and_plain, "tls-mismatch", "v"),
    Situation("`cannot allocate memory in static TLS block`", "libgomp, jemalloc, tcmalloc in plugins", static_tls, "static-tls", severity="note"),
    Situation("A plugin whose entry is hidden", "`undefined symbol: plugin_entry` from dlsym", hidden_entry, "not-exported", "plugin_entry"),
)  # fmt: skip
