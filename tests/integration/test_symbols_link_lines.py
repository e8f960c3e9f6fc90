"""--emulate on random link lines, each verdict against the real linker's; and the shapes that it once got wrong."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.emulation import asked, compare, emulated, linkers
from benchmarks.link_lines import Line
from patcher.symbols.emulate import linker_named, refusals
from patcher.symbols.emulate.commandline import parse, symbols_in
from patcher.symbols.emulate.scripts import parse_script
from patcher.symbols.scope import Library
from patcher.symbols.search import Search
from tests.linking import Workshop, have

pytestmark = [
    pytest.mark.system,
    pytest.mark.compiler,
    pytest.mark.skipif(not have("gcc", "ld.gold"), reason="needs gcc and gold"),
]


@pytest.mark.parametrize("first", range(5000, 5024, 6))
def test_random_lines(first: int) -> None:
    compared = [one for seed in range(first, first + 6) for one in compare(seed)]
    assert len(compared) == 6 * len(linkers())
    assert [one for one in compared if one.verdict == "wrong"] == []


def test_the_sample_has_both_verdicts() -> None:
    compared = [one for seed in range(5000, 5006) for one in compare(seed)]
    assert {one.real.refused for one in compared} == {True, False}


MANGLED = "int _ZN4impl1gEi(int x){return x;} int _ZN3api1fEi(int x){return x;}"
OWN = '__attribute__((visibility("hidden"))) '
WANTS = "int f(void); int _start(void){return f();}"
HIDDEN = OWN + "extern int v; int _start(void){return v;}"
WEAK = "__attribute__((weak)) "
UNUSED = {"a.o": "int nowhere(void); int f(void){return nowhere();} int _start(void){return 0;}"}
BACK = {
    "m.o": "int lib(void); int _start(void){return lib();}",
    "libl.so": "int f(void); int lib(void){return f();}",
}
WEAKLY = {"m.o": f"{WEAK}int f(void); int _start(void){{return f?f():0;}}"}
ALONE = {"f.o": "int f(void){return 0;}"}
UNWANTED, LATE = {"f.o": "int gone(void); int f(void){return gone();}"}, "--start-lib f.o --end-lib m.o"
OWNED = {
    "h.o": OWN + "int f(void); int h(void){return f();}",
    "libl.so": "int f(void){return 0;}",
    "libf.a": "int f(void){return 0;}",
}
TWICE = {
    "m.o": "int gone(void); "
    + OWN
    + "int f(void){return gone();} int lib(void); int _start(void){return lib();}",
    "libl.so": "int f(void){return 1;} int lib(void){return f();}",
}
NAMES_F = {"m.o": "int _start(void){return 0;}", "libf.a": "int f(void){return 0;}"}
MEMBER = {
    "w.o": f"{WEAK}int f(void); int _start(void){{return f?f():0;}}",
    "libl.so": "int f(void); int l(void){return f();}",
    "libf.a": "int gone(void); int f(void){return gone();}",
}
# name -> C sources (a .so is linked of what begins with lib), the line
WANTS_F = {"m.o": "int f(void); int _start(void){return f();}", "g.o": "int g(void){return 1;}"}
CPP = {
    "m.o": "int _start(void){return 0;}",
    "a.o": "int gone(void); int _ZN3api1fEi(void){return gone();}",
    "libl.so": "int _ZN3api1fEi(void); int l(void){return _ZN3api1fEi();}",
}
SHAPES = {
    "unused code goes": (
        {"a.o": "int nowhere(void); int unused(void){return nowhere();} int _start(void){return 0;}"},
        "--gc-sections a.o",
    ),
    "used code stays": (
        {"a.o": "int nowhere(void); int used(void){return nowhere();} int _start(void){return used();}"},
        "--gc-sections a.o",
    ),
    "what a library calls stays": (
        {
            "a.o": "int gone(void); int back(void){return gone();} int lib(void); int _start(void){return lib();}",
            "libl.so": "int back(void); int lib(void){return back();}",
        },
        "--gc-sections a.o libl.so",
    ),
    "what a table of constructors calls stays": (
        {"a.o": "int gone(void); __attribute__((constructor)) void go(void){gone();} int _start(void){return 0;}"},
        "--gc-sections a.o",
    ),
    "retained": (
        {"a.o": 'int gone(void); int _start(void){return 0;} __attribute__((section("keep"))) int (*f)(void)=gone;'
         ' extern int (*__start_keep)(void); int g(void){return __start_keep != 0;}'},
        "--gc-sections -u g a.o",
    ),
    "names of C++ in a version script": (
        {
            "m.o": "int lib(void); int _start(void){return lib();}", "x.o": MANGLED,
            "liby.so": "int _ZN4impl1gEi(int); int lib(void){return _ZN4impl1gEi(1);}",
        },
        "--version-script=cpp.map m.o x.o liby.so",
    ),
    "an archive excluded by its stem": (
        {
            "m.o": "int plug(void),impl(void); int _start(void){return plug()+impl();}",
            "libimpl.a": "int impl(void){return 4;}",
            "libplug.so": "int impl(void); int plug(void){return impl();}",
        },
        "--exclude-libs libimpl m.o libimpl.a libplug.so",
    ),
    "a weak reference that a library makes strong": (
        {
            "w.o": "__attribute__((weak)) int s4(void); int _start(void){return s4?s4():0;}",
            "libl.so": "int s4(void); int l(void){return s4();}",
        },
        "--allow-shlib-undefined w.o libl.so",
    ),
    "a version script that names what is not there": (
        {"m.o": "int f(void){return 0;}"}, "-shared --version-script=none.map m.o",
    ),
    "a hidden reference in another object": (
        {
            "m.o": "int lib(void); int f(void){return 0;} int _start(void){return lib();}",
            "x.o": '__attribute__((visibility("hidden"))) int f(void); int g(void){return f();}',
            "libl.so": "int f(void); int lib(void){return f();}",
        },
        "m.o x.o libl.so",
    ),
    "the wrapper of a weak definition": (
        {"m.o": WANTS, "d.o": "__attribute__((weak)) int f(void){return 1;}"}, "--wrap=f m.o d.o",
    ),
    "the wrapper of a weak definition behind a strong one": (
        {"m.o": WANTS, "d.o": "__attribute__((weak)) int f(void){return 1;}", "e.o": "int f(void){return 1;}"},
        "--wrap=f m.o d.o e.o",
    ),
    "a member for the name that is wrapped": (
        {
            "m.o": WANTS, "w.o": "int __wrap_f(void){return 1;}",
            "libd.a": "int gone(void); int f(void){return gone();}",
        },
        "--wrap=f m.o w.o libd.a",
    ),
    "a weak reference before a strong one": (
        {"w.o": "__attribute__((weak)) int f(void); int g(void){return f?f():0;}", "m.o": WANTS}, "w.o m.o",
    ),
    "a weak reference before a strong one, for a library": (
        {"w.o": "__attribute__((weak)) int f(void); int g(void){return f?f():0;}", "m.o": WANTS},
        "-shared -z defs w.o m.o",
    ),
    "a definition by a name that is wrapped": (
        {"m.o": "int f(void){return 1;} int _start(void){return 0;}"}, "--wrap=f --defsym=g=f m.o",
    ),
    "a definition by a name whose wrapper is there": (
        {"m.o": "int f(void){return 1;} int __wrap_f(void){return 1;} int _start(void){return 0;}"},
        "--wrap=f --defsym=g=f m.o",
    ),
    "data of a library for a hidden reference": (
        {"m.o": HIDDEN, "libd.so": "int v = 1;"}, "m.o libd.so",
    ),
    "a function of a library for a hidden reference": (
        {"m.o": OWN + "int v(void); int _start(void){return v();}", "libd.so": "int v(void){return 1;}"},
        "m.o libd.so",
    ),
    "data of a library for a hidden reference of a library": (
        {"m.o": HIDDEN, "libd.so": "int v = 1;"}, "-shared m.o libd.so",
    ),
    "code of its own that a library wants too late": (
        {
            "m.o": OWN + "int back(void); int gone(void); int lib(void);"
            " int back(void){return gone();} int _start(void){return lib();}",
            "libl.so": "int back(void); int lib(void){return back();}",
        },
        "--gc-sections --allow-shlib-undefined m.o libl.so",
    ),
    "code of its own that a library wanted before": (
        {
            "m.o": OWN + "int back(void); int gone(void); int lib(void);"
            " int back(void){return gone();} int _start(void){return lib();}",
            "libl.so": "int back(void); int lib(void){return back();}",
        },
        "--gc-sections --allow-shlib-undefined libl.so m.o",
    ),
    "a definition that isn't exported behind a weak reference": (
        {
            "m.o": "__attribute__((weak)) int f(void); int lib(void); int _start(void){return f?lib():0;}",
            "x.o": OWN + "int f(void); int f(void){return 0;}",
            "libl.so": "int f(void); int lib(void){return f();}",
        },
        "m.o x.o libl.so",
    ),
    "a script's name that a library has, and a member that isn't taken": (
        {"m.o": "int _start(void){return 0;}", "libf.a": "int f(void){return 0;}",
         "libl.so": "int f(void){return 0;} int nowhere(void){return 0;}"},
        "--version-script=one.map m.o libf.a libl.so",
    ),
    "a script's name that a member has": (
        {"m.o": "int _start(void){return 0;}", "libf.a": "int f(void){return 0;}"},
        "-shared --no-undefined-version --version-script=one.map m.o libf.a",
    ),
    "a script makes local what is not there": (
        {"m.o": "int g(void){return 0;}"}, "-shared --no-undefined-version --version-script=gone.map m.o",
    ),
    "a script exports one name and makes local another, and neither is there": (
        {"m.o": "int g(void){return 0;}"}, "-shared --no-undefined-version --version-script=both.map m.o",
    ),
    "what is wrapped is what a definition names": (WANTS_F, "--defsym=f=g --wrap=f m.o g.o"),
    "what is wrapped is a number": (WANTS_F, "--gc-sections --defsym=f=0 --wrap=f m.o"),
    "the real one is what a definition names": (
        {"r.o": "int __real_f(void); int _start(void){return __real_f();}", "g.o": "int g(void){return 1;}"},
        "--defsym=f=g --wrap=f r.o g.o",
    ),
    "a dynamic list in a program of objects alone": (UNUSED, "--gc-sections --dynamic-list=list.map a.o"),
    "a dynamic list": (UNUSED, "-pie --gc-sections --dynamic-list=list.map a.o"),
    "a version script names what a program doesn't use": (UNUSED, "--gc-sections --version-script=one.map a.o"),
    "a hidden reference behind a weak one": (
        {"w.o": f"{WEAK}int f(void); int w(void){{return f?f():0;}}", "h.o": f"{OWN}int f(void); int h(void){{return f();}}"},
        "-shared w.o h.o",
    ),
    "a weak reference behind a weak and hidden one, and a strong one": (
        {"w.o": f"{OWN}{WEAK}int f(void); int w(void){{return f?f():0;}}", "m.o": WANTS}, "-shared w.o m.o",
    ),
    "a hidden reference that is a warning": ({"m.o": HIDDEN}, "--warn-unresolved-symbols m.o"),
    "a hidden reference that is no warning": (
        {"m.o": HIDDEN}, "--unresolved-symbols=ignore-in-object-files --warn-unresolved-symbols m.o",
    ),
    "a script makes a definition of the line local": (BACK, "--defsym=f=_start --version-script=local.map m.o libl.so"),
    "a script makes a definition of the line local, as unused code goes": (
        BACK, "--gc-sections --defsym=f=_start --version-script=local.map m.o libl.so",
    ),
    "a script makes a definition of the line local, for a library": (
        BACK, "-shared --no-allow-shlib-undefined --defsym=f=_start --version-script=local.map m.o libl.so",
    ),
    "asked for, and wanted weakly": (WEAKLY, "-u f m.o"),
    "asked for, and wanted weakly by what is wrapped": (WEAKLY, "--wrap=f -u f m.o"),
    "asked for, and wanted weakly by the first library": (
        {"m.o": "int _start(void){return 0;}", "libw.so": f"{WEAK}int f(void); int w(void){{return f?f():0;}}",
         "libl.so": "int f(void); int l(void){return f();}"},
        "-u f m.o libw.so libl.so",
    ),
    "a member for what an object wants weakly and a library behind it strongly": (
        MEMBER, "--allow-shlib-undefined w.o libl.so libf.a",
    ),
    "the same, and the member stands before the library": (MEMBER, "--allow-shlib-undefined w.o libf.a libl.so"),
    "the same, and the library stands first": (MEMBER, "--allow-shlib-undefined libl.so w.o libf.a"),
    "a member for what one library wants weakly and the next strongly": (
        {**MEMBER, "libw.so": f"{WEAK}int f(void); int v(void){{return f?f():0;}}"},
        "-shared --allow-shlib-undefined libw.so libl.so -z defs libf.a",
    ),
    "the wrapper of a strong definition, wanted weakly": (
        {**WEAKLY, "d.o": "int f(void){return 1;}"}, "--wrap=f m.o d.o",
    ),
    "what is wrapped, wanted weakly by an object and strongly by a library": (
        {**WEAKLY, "libl.so": "int f(void); int l(void){return f();}"}, "--wrap=f m.o libl.so",
    ),
    "the wrapper of what an object wants as its own": (
        {"m.o": OWN + "int f(void); int _start(void){return f();}"}, "-shared --wrap=f m.o",
    ),
    "a wrapper in an archive, for what is wanted weakly": (
        {**WEAKLY, "libw.a": "int gone(void); int __wrap_f(void){return gone();}"}, "--wrap=f m.o libw.a",
    ),
    "a definition in front of the archive that has what it names": (NAMES_F, "m.o --defsym=g=f+1 libf.a"),
    "a definition behind the archive that has what it names": (NAMES_F, "m.o libf.a --defsym=g=f"),
    "written anyway": ({"m.o": WANTS}, "--noinhibit-exec m.o"),
    "a hidden reference, and written anyway": ({"m.o": HIDDEN}, "--noinhibit-exec m.o"),
    "a script's name that is not there, and written anyway": (
        {"m.o": "int g(void){return 0;}"},
        "--noinhibit-exec -shared --no-undefined-version --version-script=one.map m.o",
    ),
    "a definition by what is nowhere, and written anyway": (
        {"m.o": "int _start(void){return 0;}"}, "--noinhibit-exec --defsym=g=f m.o",
    ),
    "an object as a member": ({"m.o": WANTS, **ALONE}, "m.o --start-lib f.o --end-lib"),
    "an object as a member that nobody wants": ({"m.o": "int _start(void){return 0;}", **UNWANTED}, LATE),
    "symbols alone": ({"m.o": WANTS, **ALONE}, "m.o --just-symbols=f.o"),
    "symbols alone, by a letter": ({"m.o": WANTS, **ALONE}, "m.o -R f.o"),
    "a version script that is not there": ({"m.o": "int _start(void){return 0;}"}, "m.o --version-script=off.map"),
    "a dynamic list that is not there": ({"m.o": "int _start(void){return 0;}"}, "m.o --dynamic-list=off.map"),
    "the wrapper's code, as unused code goes": (
        {"m.o": WANTS, "w.o": "int gone(void); int __wrap_f(void){return gone();}"}, "--gc-sections --wrap=f m.o w.o",
    ),
    "code that has a wrapper, as unused code goes": (
        {"m.o": WANTS, "w.o": "int __wrap_f(void){return 0;}", **UNWANTED}, "--gc-sections --wrap=f m.o w.o f.o",
    ),
    "the wrapper of one's own code, as unused code goes": (
        {"m.o": "int f(void){return 1;} int _start(void){return f();}",
         "w.o": "int gone(void); int __wrap_f(void){return gone();}"},
        "--gc-sections --wrap=f m.o w.o",
    ),
    "code that a definition names, as unused code goes": (
        {"m.o": "int _start(void){return 0;}", **UNWANTED}, "--gc-sections --defsym=g=f m.o f.o",
    ),
    "code under another name, as unused code goes": (
        {"m.o": "int g(void); int _start(void){return g();}", **UNWANTED}, "--gc-sections --defsym=g=f m.o f.o",
    ),
    "a hidden reference behind an archive and a library that has the name": (OWNED, "-shared libl.so libf.a h.o"),
    "a hidden reference between a library that has the name and an archive": (OWNED, "-shared libl.so h.o libf.a"),
    "hidden code that a library behind it has, too": (TWICE, "--gc-sections m.o libl.so"),
    "hidden code that a library before it has, too": (TWICE, "--gc-sections libl.so m.o"),
    "hidden code of a library that a library behind it has, too": (TWICE, "-shared -z defs --gc-sections m.o libl.so"),
    "a script's names of C++, as they are": (CPP, "--gc-sections --no-demangle --version-script=cpp.map a.o m.o libl.so"),
    "a script's names of C++, as they are, and then not": (
        CPP, "--gc-sections --no-demangle --demangle --version-script=cpp.map a.o m.o libl.so",
    ),
    "a dynamic list's names of C++, as they are": (CPP, "-pie --gc-sections --no-demangle --dynamic-list=cpp.map a.o m.o libl.so"),
    "the real one in an archive": (
        {"m.o": "int f(void); int _start(void){return f();}",
         "w.o": "int __real_f(void); int __wrap_f(void){return __real_f();}",
         "libd.a": "int gone(void); int f(void){return gone();}"},
        "--wrap=f m.o w.o libd.a",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name: str, tmp_path: Path) -> None:
    sources, line = SHAPES[name]
    shop = Workshop(tmp_path)
    shop.source("cpp.map", '{ global: extern "C++" { api::*; }; local: *; };\n')
    shop.source("none.map", "V1 { global: f; nowhere; local: *; };\n")
    shop.source("one.map", "V1 { global: f; };\n")
    shop.source("local.map", "{ local: *; };\n")
    shop.source("gone.map", 'V1 { local: gone; extern "C++" { "api::f(int)"; }; };\n')
    shop.source("both.map", "V1 { global: f; local: gone; };\n")
    shop.source("list.map", "{ f; };\n")
    for file, text in sources.items():
        part = shop.compile(f"{file}_.c", text, "-ffunction-sections", "-fdata-sections", "-O1")
        if file.endswith(".o"):
            part.rename(tmp_path / file)
        elif file.endswith(".a"):
            shop.run("ar", "rcs", file, part)
        else:
            shop.run("ld.gold", "-shared", "-o", file, part)
    for linker, program in linkers().items():
        real = shop.run(program, "-o", "out", *line.split(), ok=False)
        ours = refusals(parse(line.split(), tmp_path), linker_named(linker), Library(Search()))
        if real.returncode >= 0:  # mold 1.10 crashes on a --defsym
            assert bool(ours) == bool(real.returncode), (linker, real.stderr, ours)


DEFINES = "int s4(void){return 0;}"
LACKS = "int s1(void),s2(void),s6(void); int lib(void){return s1()+s2()+s6();}"
THREAD = "extern __thread int s7; int s5(void); int _start(void){return s7+s5();}"
OFF_LINE = {
    "libdeep.so": "int s1(void){return 0;} int s2(void){return 0;}",
    "libuse.so libdeep.so": "int s1(void); int use(void){return s1();}",
}
# what is named, too: name -> C sources (of a library with those that it needs), the line
NAMED = {
    "a definition called after itself": ({"m.o": "int s4(void); int _start(void){return s4();}"}, "--defsym=s4=s4 m.o"),
    "a definition called after itself, and another's lack": (
        {"m.o": "int s4(void),s0(void); int _start(void){return s4()+s0();}", "libd.so": DEFINES},
        "--defsym=s4=s4 m.o libd.so",
    ),
    "a definition after what is nowhere": (
        {"m.o": "int s0(void); int _start(void){return s0();}"}, "--defsym=s1=s4 m.o",
    ),
    "an expression over what is nowhere": (
        {"m.o": "int s2(void){return 0;} int _start(void){return 0;}"}, "--defsym=q=s2+0x10-(s4+s1) m.o",
    ),
    "a definition by what a library has and nobody calls": (
        {"m.o": "int _start(void){return 0;}", "libd.so": DEFINES}, "--defsym=q=s4 m.o libd.so",
    ),
    "a definition by what a library has and an object calls": (
        {"m.o": "int s4(void); int _start(void){return s4();}", "libd.so": DEFINES}, "--defsym=q=s4+1 m.o libd.so",
    ),
    "the same, called in code that goes": (
        {"m.o": "int s4(void); int gone(void){return s4();} int _start(void){return 0;}", "libd.so": DEFINES},
        "--gc-sections --defsym=q=s4 m.o libd.so",
    ),
    "a script's names in a program of objects alone": (
        {"m.o": "int s0(void); int _start(void){return 0;}", "d.o": DEFINES},
        "--no-undefined-version --version-script=two.map m.o d.o",
    ),
    "a script's names and what is lacking": (
        {"m.o": "int s0(void); int _start(void){return s0();}", "libl.so": LACKS},
        "--no-undefined-version --version-script=two.map m.o libl.so",
    ),
    "a thread's own variable that is nowhere": ({"m.o": THREAD}, "-pie m.o"),
    "a thread's own variable of a library": ({"m.o": THREAD, "libt.so": "__thread int s7 = 1;"}, "-pie m.o libt.so"),
    "what a library lacks, in front of what isn't exported": (
        {"m.o": "int lib(void); int _start(void){return lib();}", "d.o": OWN + "int s1(void){return 0;}",
         "e.o": OWN + "int s2(void){return 0;}", "libl.so": LACKS},
        "m.o d.o e.o libl.so",
    ),
    "the same, as unused code goes": (
        {"m.o": "int lib(void); int _start(void){return lib();}", "d.o": OWN + "int s1(void); int s1(void){return 0;}",
         "e.o": "int s2(void){return 0;}", "libl.so": LACKS},
        "--gc-sections --version-script=two.map m.o d.o e.o libl.so",
    ),
    "what a script makes local is written late, as unused code goes": (
        {"m.o": "int lib(void); int _start(void){return lib();}", "e.o": "int s2(void){return 0;}", "libl.so": LACKS},
        "--gc-sections --version-script=two.map m.o e.o libl.so",
    ),
    "what a library lacks, before and behind a hidden reference": (
        {"m.o": OWN + "int s0(void); int lib(void); int _start(void){return lib()+s0();}", "libl.so": LACKS},
        "m.o libl.so",
    ),
    "off the line, though it is all a warning": (
        {"m.o": "int s1(void),s2(void); int _start(void){return s1()+s2();}", **OFF_LINE},
        "--warn-unresolved-symbols -rpath-link . m.o libuse.so",
    ),
    "off the line, for a library": (
        {"m.o": "int s1(void),s2(void); int f(void){return s1()+s2();}", **OFF_LINE},
        "-shared --no-allow-shlib-undefined -rpath-link . m.o libuse.so",
    ),
    "off the line, and wanted as one's own": (
        {"m.o": OWN + "int s1(void); int s2(void); int _start(void){return s1()+s2();}", **OFF_LINE},
        "-rpath-link . m.o libuse.so",
    ),
    "off the line, and wanted weakly": (
        {"m.o": "__attribute__((weak)) int s1(void); int use(void); int _start(void){return (s1?s1():0)+use();}", **OFF_LINE},
        "-rpath-link . m.o libuse.so",
    ),
    "off the line, and mentioned before": (
        {"m.o": "int s1(void),s2(void); int _start(void){return s1()+s2();}", **OFF_LINE},
        "-u s1 -rpath-link . m.o libuse.so",
    ),
    "off the line, and the second one of it mentioned before": (
        {"m.o": "int s1(void),s2(void); int _start(void){return s1()+s2();}", **OFF_LINE},
        "-u s2 -rpath-link . m.o libuse.so",
    ),
    "off the line, and named by a definition before": (
        {"m.o": "int s1(void); int _start(void){return s1();}", **OFF_LINE},
        "--defsym=q=s1 -rpath-link . m.o libuse.so",
    ),
    "off the line, and named by a definition behind": (
        {"m.o": "int s1(void); int _start(void){return s1();}", **OFF_LINE},
        "-rpath-link . m.o libuse.so --defsym=q=s1",
    ),
    "off the line, and named by a definition alone": (
        {"m.o": "int _start(void){return 0;}", **OFF_LINE}, "--defsym=q=s1 -rpath-link . m.o libuse.so",
    ),
    "off the line, and wanted there": (
        {"m.o": "__attribute__((weak)) int s3(void); int _start(void){return s3?s3():0;}",
         "libdeep.so": "int s3(void); int s1(void){return s3();}", "libuse.so libdeep.so": OFF_LINE["libuse.so libdeep.so"]},
        "-rpath-link . m.o libuse.so",
    ),
    "a thread's own variable that a definition makes a number": (
        {"m.o": "extern __thread int s7; int main(void){return 0;} int _start(void){return s7;}"},
        "--defsym=s7=main m.o",
    ),
    "a requirement and another lack": (
        {"m.o": "int s0(void); int _start(void){return s0();}"}, "--require-defined=s2 m.o",
    ),
    "a requirement that an object mentions": (
        {"m.o": "__attribute__((weak)) int s0(void); int s1(void); int _start(void){return s0?s0():s1();}"},
        "--require-defined=s0 m.o",
    ),
    "a hidden reference needs no library": (
        {"m.o": OWN + "int s0(void); int _start(void){return s0();}",
         "libl.so": "int s2(void); int s0(void){return s2();}"},
        "m.o --as-needed libl.so",
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", NAMED)
def test_names(shape: str, tmp_path: Path) -> None:
    sources, line = NAMED[shape]
    shop = Workshop(tmp_path)
    shop.source("two.map", "V1 { global: s4; s8; local: *; };\n")
    for name, text in sources.items():
        file, *needed = name.split()
        part = shop.compile(f"{file}_.c", text)
        if file.endswith(".o"):
            part.rename(tmp_path / file)
        else:
            shop.run("ld.gold", "-shared", "-o", file, part, *needed)
    typed = Line(0, {}, [], {}, {}, {}, line.split())
    for linker, program in linkers().items():
        real = asked(program, typed, tmp_path)
        if not real.other:  # mold 1.10 crashes on a --defsym, bfd goes on to relocations
            assert emulated(linker, typed, tmp_path) == real, linker


def test_version_scripts_as_they_are_written() -> None:
    script = parse_script(
        '# c\nV1 { global: a; b*; extern "C++" { n::*; "m::f(int)"; }; local: bx; * ; }; V2 { global: c; } V1;'
    )
    names = ("a", "b1", "bx", "c", "d", "V1", "_ZN1n1fEv", "_ZN1m1fEi", "_ZN1m1fEv")
    assert [name for name in names if script.is_local(name)] == ["bx", "d", "V1", "_ZN1m1fEv"]
    assert script.unmatched(["a", "_ZN1m1fEi"]) == ["c", "bx"]


def test_expressions_name_symbols() -> None:
    text = 'a+0x10*(b.c-"d e")+SIZEOF(.text)+ABSOLUTE(f)+MAX(g, 10K)+DEFINED(h)+ADDR ( .data )+.'
    assert symbols_in(text) == ["a", "b.c", "d e", "f", "g"]
    assert symbols_in("DEFINED(a) ? b : c") == []


def test_benchmark_says_what_is_wrong() -> None:
    done = subprocess.run(
        ["python", "-m", "benchmarks.emulation", "--lines", "1", "--seed", "5000"],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout.count("judged") == len(linkers())
