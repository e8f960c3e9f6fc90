"""Our verdict on every link line against that of each linker that the machine has."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from patcher.base.errors import UsageError
from patcher.cli import run
from patcher.symbols.emulate import linker_named, refusals
from patcher.symbols.emulate.commandline import parse
from patcher.symbols.emulate.commands import Command, linker_arguments
from patcher.symbols.emulate.linkers import LINKERS, parse_version
from patcher.symbols.scope import Library
from patcher.symbols.search import Search
from tests.link_cases import CASES, Case, lib, obj
from tests.linking import Workshop, have

pytestmark = [
    pytest.mark.system,
    pytest.mark.compiler,
    pytest.mark.skipif(not have("gcc", "ld.gold"), reason="needs gcc and gold"),
]

PROGRAMS = [
    ("bfd", "ld.bfd"), ("gold", "ld.gold"), ("mold", "ld.mold"), ("lld", "ld.lld"),
    *(("lld", f"ld.lld-{number}") for number in range(13, 30)),
]  # fmt: skip
# Lines in a linker's output that name the symbol that it misses; the others say where it is wanted.
COMPLAINT = re.compile(
    r"undefined|(?:hidden|local|internal) symbol|non-exported|not defined|symbol not found"
)


@cache
def linkers() -> list[tuple[str, str]]:
    """(name for --emulate, program) of each linker that is there, each version once."""
    found: dict[str, str] = {}
    for family, program in PROGRAMS:
        if not have(program):
            continue
        line = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.partition("\n")[
            0
        ]
        version = parse_version(family, line)
        assert version is not None, line
        found.setdefault(f"{family}-{version[0]}.{version[1]}", program)
    return list(found.items())


def said(program: str, case: Case, folder: Path) -> tuple[bool, set[str]]:
    """Whether the linker refuses, and the symbols that it names."""
    done = subprocess.run(
        [program, "-o", "out", *case.link.split()], cwd=folder, capture_output=True, text=True
    )
    lines = [line for line in done.stderr.splitlines() if "warning: " not in line and COMPLAINT.search(line)]
    text = "\n".join(re.sub(r"\w+_uses_\d+", "", line) for line in lines)
    names = {name for name in case.names() if re.search(rf"(?<![\w/.]){name}(?![\w(.])", text)}
    return done.returncode != 0, names if done.returncode else set()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_agrees_with_the_real_linker(case: Case, tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    shop.source("local.map", "{ local: f; };\n")
    shop.source("list.map", "{ other; };\n")
    case.build(shop)
    wrong = []
    for name, program in linkers():
        if name.partition("-")[0] == case.breaks:
            continue
        line = parse(case.link.split(), tmp_path)
        ours = refusals(line, linker_named(name), Library(Search()))
        mine = (bool(ours), {one.symbol.partition("@")[0] for one in ours} - {""})
        real = said(program, case, tmp_path)
        if mine != real:
            wrong.append(f"{name}: the linker says {real}, we say {mine}")
    assert not wrong, "\n".join([case.link, *wrong])


def test_there_are_linkers_to_compare_with() -> None:
    assert len(linkers()) >= 2
    assert {name.partition("-")[0] for name, _ in linkers()} <= {row.family for row in LINKERS}


CMAKE = """cmake_minimum_required(VERSION 3.16)
project(x C)
file(WRITE ${CMAKE_BINARY_DIR}/use.c "extern int f(void); int use(void){return f();}")
file(WRITE ${CMAKE_BINARY_DIR}/main.c "extern int use(void); int main(void){return use();}")
add_library(use SHARED ${CMAKE_BINARY_DIR}/use.c)
add_executable(app ${CMAKE_BINARY_DIR}/main.c)
target_link_libraries(app use)
set_target_properties(app PROPERTIES LINK_FLAGS "-Wl,--allow-shlib-undefined @HOLE@")
"""


@pytest.mark.parametrize("generator", ["Ninja", "Unix Makefiles"])
def test_the_link_command_of_a_real_build(
    generator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not have("cmake", "ninja", "make"):
        pytest.skip("needs cmake, ninja and make")
    shop = Workshop(tmp_path)
    for name, hole, code in (("allowed", "", 0), ("refused", "-Wl,--no-allow-shlib-undefined", 1)):
        shop.source(f"{name}/CMakeLists.txt", CMAKE.replace("@HOLE@", ""))
        shop.run("cmake", "-G", generator, "-S", name, "-B", f"{name}/build")
        shop.run("cmake", "--build", f"{name}/build")
        if hole:  # built as it is, then asked as if it had been linked otherwise
            for path in (tmp_path / name / "build").rglob("*"):
                if path.name in ("build.ninja", "link.txt"):
                    path.write_text(path.read_text().replace("-Wl,--allow-shlib-undefined", hole))
        program = str(tmp_path / name / "build" / "app")
        for linker in ("bfd", "lld-14", "gold"):
            assert run(["verify-symbols", program, "--emulate", linker]) == code, (linker, name)
            assert ("f" in capsys.readouterr().out) == bool(code) or not code
        assert run(["verify-symbols", program, "--emulate", "mold-1.10"]) == 0
        assert run(["verify-symbols", program, "--emulate", "loader"]) == 1


def test_mistakes_in_asking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = Workshop(tmp_path).library("x", "int x;")
    for arguments, words in (
        (["--emulate", "ld64"], "no such linker"),
        (["--emulate", "lld-new"], "looked for a version"),
        (["--emulate", "bfd"], "looked for its link command"),
    ):
        assert run(["verify-symbols", str(library), *arguments]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("family", ["bfd", "gold", "mold"])
@pytest.mark.parametrize(("uses", "inputs"), [
    ("use", "libuse.so"), ("use", "libgood.so"), ("use", ""), ("gone use", "libgood.so"), ("use?", ""),
    ("use", "given.o"),
])  # fmt: skip
def test_objects_of_link_time_optimization(family: str, uses: str, inputs: str, tmp_path: Path) -> None:
    """GCC's have their symbols in a table for the linker's plugin."""
    if not have(f"ld.{family}"):
        pytest.skip(f"no {family}")
    shop = Workshop(tmp_path)
    for part in (lib("use", "use", "f"), lib("good", "use")):
        Case("", (part,), "").build(shop)
    shop.compile("given.c", "int use(void){return 0;}", "-flto")
    shop.compile("main.c", obj("main", "", uses).text() + "int main(void){return main_uses_0();}", "-flto")
    words = ["gcc", "-flto", "-O0", f"-fuse-ld={family}", "-o", "out", "main.o", *inputs.split()]
    try:
        arguments, _ = linker_arguments(Command(tuple(words), tmp_path))
    except UsageError as why:
        pytest.skip(str(why))
    ours = refusals(parse(arguments, tmp_path), linker_named(family), Library(Search()))
    mine = {one.symbol for one in ours}
    done = shop.run(*words, ok=False)
    real = set(re.findall(r"undefined (?:reference to|symbol:) [`']?(\w+)", done.stderr))
    assert (bool(ours), mine) == (bool(done.returncode), real)


def test_bitcode_is_no_linker_script(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    Case("", (lib("use", "use", "f"),), "").build(shop)
    (tmp_path / "main.o").write_bytes(b"BC\xc0\xde = 1; INPUT(libnone.so)")
    ours = refusals(parse(["main.o", "libuse.so"], tmp_path), linker_named("lld-14"), Library(Search()))
    assert [one.symbol for one in ours] == ["f"]


FAILING = """cmake_minimum_required(VERSION 3.16)
project(p C)
file(WRITE ${CMAKE_BINARY_DIR}/base.c "int name(void){return 1;}")
file(WRITE ${CMAKE_BINARY_DIR}/mid.c "int name(void); int mid(void){return name();}")
file(WRITE ${CMAKE_BINARY_DIR}/main.c "int name(void), mid(void); int main(void){return mid()-name();}")
add_library(base SHARED ${CMAKE_BINARY_DIR}/base.c)
add_library(mid SHARED ${CMAKE_BINARY_DIR}/mid.c)
target_link_libraries(mid PRIVATE base)
add_executable(app ${CMAKE_BINARY_DIR}/main.c)
target_link_libraries(app PRIVATE mid)
"""


@pytest.mark.parametrize("generator", ["Ninja", "Unix Makefiles"])
def test_a_link_that_failed(generator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has no output; and beside it lies what CMake made to try the compiler."""
    if not have("cmake", "ninja", "make"):
        pytest.skip("needs cmake, ninja and make")
    shop = Workshop(tmp_path)
    shop.source("CMakeLists.txt", FAILING)
    shop.run("cmake", "-G", generator, "-S", ".", "-B", "build")
    made = shop.run("cmake", "--build", "build", "--", "-k" if generator != "Ninja" else "-k0", ok=False)
    assert "DSO missing from command line" in made.stdout + made.stderr
    build = tmp_path / "build"
    assert list(build.rglob("CMakeDetermineCompilerABI_C.bin"))
    assert not (build / "app").exists()
    for path in (build, build / "app"):
        assert run(["verify-symbols", "--emulate", "bfd", str(path)]) == 1
        text = capsys.readouterr().out
        assert "undefined-symbol" in text
        assert "name" in text


def test_a_command_that_nobody_has_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = Workshop(tmp_path)
    shop.library("use", "int f(void); int use(void){return f();}")
    shop.compile("main.c", "int use(void); int main(void){return use();}")
    monkeypatch.chdir(tmp_path)
    words = ["g++", "main.o", "-o", "app", "-L.", "-luse"]
    assert shop.run(*words, ok=False).returncode
    assert run(["verify-symbols", "--emulate", "bfd", "--", *words]) == 1
    assert "ld.bfd refuses to link app" in capsys.readouterr().out
    shop.source("f.c", "int f(void){return 0;}")
    shop.run("gcc", "-fPIC", "-c", "f.c")
    assert run(["verify-symbols", "--emulate", "bfd", "--", *words, "f.o"]) == 0
    assert shop.run(*words, "f.o", ok=False).returncode == 0


def test_commands_that_make_no_sense(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify-symbols", "--emulate", "foo", "--", "gcc", "main.o", "-o", "x"]) == 2
    assert "--emulate foo: no such linker" in capsys.readouterr().err
    assert run(["verify-symbols", "--emulate", "loader", "--", "gcc", "main.o", "-o", "x"]) == 2
    assert "found a command, which has linked nothing yet" in capsys.readouterr().err
    assert run(["verify-symbols", "--emulate", "bfd", "--", "gcc", "main.c", "-o", "x"]) == 2
    assert "main.c: looked for an object file" in capsys.readouterr().err
    assert run(["verify-symbols", "--emulate", "bfd", "--", "ccache", "gcc", "-c", "main.o"]) == 2
    assert "gcc -c: looked for a command that links" in capsys.readouterr().err
