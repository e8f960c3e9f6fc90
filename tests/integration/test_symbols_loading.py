"""Which file the loader takes, where it stops, what it doesn't start: the loader itself is asked each time."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from patcher.base.errors import UsageError
from patcher.symbols import SearchOptions, SymbolReport, check
from tests.elf_files import AARCH64, I386, Elf
from tests.linking import Workshop, found, have

pytestmark = [pytest.mark.compiler, pytest.mark.skipif(not have("gcc"), reason="needs gcc")]

OPENER = """#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **words) {
    void *handle = dlopen(words[1], RTLD_NOW);
    if (!handle) puts(dlerror());
    return !handle;
}
"""
MAIN = "extern int f(void); int main(void){return f() - 1;}"
F = "int f(void){return 1;}"


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def starts(program: Path, *words: Path, folder: Path | None = None) -> bool:
    """Whether the program runs as it is, with nothing of the environment."""
    try:
        done = subprocess.run(
            [str(program), *map(str, words)], env={"LD_BIND_NOW": "1"}, capture_output=True, cwd=folder
        )
    except OSError:  # the kernel refuses: no interpreter, or none that it takes
        return False
    return done.returncode == 0


def errors(*paths: Path, **options: object) -> set[tuple[str, str]]:
    return {(one.rule, one.symbol) for one in verdict(*paths, **options).at_least("error")}


def verdict(*paths: Path, **options: object) -> SymbolReport:
    hosts = options.pop("hosts", ())
    return check(paths, options=SearchOptions(**options), hosts=hosts)  # type: ignore[arg-type]


# what may lie first under the name of a library: (how it is made, whether glibc stops, whether musl does)
def _object(place: Path) -> None:
    Elf(soname="libf.so", type=1).write(place)


def _system(place: Path) -> None:
    data = bytearray(Elf(soname="libf.so", defines=["f"]).data())
    data[7] = 9  # FreeBSD's
    place.write_bytes(data)


FIRST: dict[str, tuple[Callable[[Path], object], bool, bool]] = {
    "empty": (lambda place: place.write_bytes(b""), True, True),
    "lost link": (lambda place: place.write_text("libf.so.1.0"), True, True),
    "linker script": (
        lambda place: place.write_text("/* GNU ld script */ INPUT(libf.so.1) " * 3),
        True,
        True,
    ),
    "a folder": (lambda place: place.mkdir(), True, True),
    "an object file": (_object, True, True),
    "another system": (_system, True, False),
    "another class": (lambda place: Elf(soname="libf.so", machine=I386, bits=32).write(place), False, True),
    "another byte order": (lambda place: Elf(soname="libf.so", little=False).write(place), False, True),
    "another machine": (lambda place: Elf(soname="libf.so", machine=AARCH64).write(place), False, True),
    "a link to nothing": (lambda place: place.symlink_to("nowhere"), False, False),
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the made files are for x86-64")
@pytest.mark.parametrize("kind", FIRST)
@pytest.mark.parametrize("cc", ["gcc", "musl-gcc"])
def test_the_first_file_of_a_name(tmp_path: Path, kind: str, cc: str) -> None:
    if not have(cc):
        pytest.skip(f"needs {cc}")
    make, *stops = FIRST[kind]
    shop = Workshop(tmp_path, cc=cc)
    shop.library("second/f", F)
    program = shop.program(
        "main", MAIN, tmp_path / "second" / "libf.so", "-Wl,-rpath,$ORIGIN/first:$ORIGIN/second"
    )
    assert starts(program)
    assert errors(program) == set()
    place = tmp_path / "first" / "libf.so"
    place.parent.mkdir()
    make(place)
    stopped = stops[cc == "musl-gcc"]
    if not (cc == "musl-gcc" and kind == "another system"):  # musl takes it, and it isn't meant to run
        assert starts(program) is not stopped
    expected = {("unreadable-file", "libf.so")} if stopped else set()
    assert errors(program) == expected
    if stopped:
        assert str(place) in verdict(program).findings[0].detail


def test_what_lies_first_in_the_library_path(shop: Workshop) -> None:
    library = shop.library("f", F)
    program = shop.program("main", MAIN, library, "-Wl,-rpath,$ORIGIN")
    first = shop.source("first/libf.so", "version https://git-lfs.github.com/spec/v1")
    assert errors(program, library_path=(first.parent,)) == {("unreadable-file", "libf.so")}
    done = subprocess.run([str(program)], env={"LD_LIBRARY_PATH": str(first.parent)}, capture_output=True)
    assert b"file too short" in done.stderr or b"invalid ELF header" in done.stderr


@pytest.mark.parametrize("kind", ["-no-pie", "-pie"])
def test_a_program_is_no_library(shop: Workshop, kind: str) -> None:
    library = shop.library("f", F)
    program = shop.program("main", MAIN, library, "-Wl,-rpath,$ORIGIN")
    other = shop.program("other", "int f(void){return 1;} int main(void){return 0;}", "-rdynamic", kind)
    other.replace(library)
    assert not starts(program)
    assert errors(program) == {("unreadable-file", "libf.so")}


@pytest.mark.parametrize(("interpreter", "word"), [
    ("/no/such/ld-linux.so.2", "no such file"), ("text", "no ELF file"), ("foreign", "another machine"),
])  # fmt: skip
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the made files are for x86-64")
def test_the_interpreter(shop: Workshop, interpreter: str, word: str) -> None:
    if interpreter == "text":
        interpreter = str(shop.source("ld.so", "#!/bin/sh\n" * 20))
    elif interpreter == "foreign":
        interpreter = str(Elf(machine=AARCH64).write(shop.folder / "ld.so"))
    if Path(interpreter).exists():
        Path(interpreter).chmod(0o755)
    good = shop.program("good", "int main(void){return 0;}")
    assert starts(good)
    assert errors(good) == set()
    bad = shop.program("bad", "int main(void){return 0;}", f"-Wl,--dynamic-linker,{interpreter}")
    assert not starts(bad)
    assert errors(bad) == {("interpreter-not-found", interpreter)}
    assert word in verdict(bad).findings[0].detail


def test_the_interpreter_of_another_system(tmp_path: Path) -> None:
    """Looked for in the sysroot; without one, nobody can tell for a machine that isn't this one."""
    program = Elf(interpreter="/lib/ld.so", machine=AARCH64, needed=[]).write(tmp_path / "bin" / "a")
    if os.uname().machine != "aarch64":
        assert errors(program) == set()
    assert errors(program, sysroot=tmp_path) == {("interpreter-not-found", "/lib/ld.so")}
    Elf(machine=AARCH64, soname="ld.so").write(tmp_path / "lib" / "ld.so")
    assert errors(program, sysroot=tmp_path) == set()
    Elf(machine=I386, bits=32, soname="ld.so").write(tmp_path / "lib" / "ld.so")
    assert errors(program, sysroot=tmp_path) == {("interpreter-not-found", "/lib/ld.so")}


@pytest.fixture
def here(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.chdir(shop.folder)
    return shop


@pytest.mark.parametrize("path", ["lib", "./lib", ""])
def test_a_relative_runpath_works_in_one_folder(here: Workshop, path: str) -> None:
    library = here.library(f"{path or '.'}/f", F)
    program = here.program("main", MAIN, library, f"-Wl,-rpath,{path or ':'}")
    assert starts(program, folder=here.folder)
    assert not starts(program, folder=Path("/"))
    report = check([program])
    assert found(report, "error") == set()
    assert [one.rule for one in report.at_least("warning")] == ["build-tree-leak"]
    assert "one folder only" in report.findings[0].detail


def test_a_needed_path_works_in_one_folder(here: Workshop) -> None:
    here.library("lib/f", F, soname=None)
    program = here.program("main", MAIN, "lib/libf.so")
    assert starts(program, folder=here.folder)
    assert not starts(program, folder=Path("/"))
    assert found(check([program])) == {("build-tree-leak", "lib/libf.so")}


@pytest.mark.parametrize("cc", ["gcc", "musl-gcc"])
@pytest.mark.parametrize("tags", ["--disable-new-dtags", "--enable-new-dtags"])
def test_a_program_lends_its_rpath_to_what_it_opens(tmp_path: Path, cc: str, tags: str) -> None:
    """Asked last for what a plugin needs; a RUNPATH is lent by musl alone."""
    if not have(cc):
        pytest.skip(f"needs {cc}")
    shop = Workshop(tmp_path, cc=cc)
    shop.library("sub/f", F)
    plugin = shop.library(
        "plugin", "extern int f(void); int p(void){return f();}", tmp_path / "sub" / "libf.so"
    )
    host = shop.program("host", OPENER, "-ldl", f"-Wl,{tags},-rpath,$ORIGIN/sub")
    loaded = starts(host, plugin)
    assert loaded is (cc == "musl-gcc" or "disable" in tags)
    expected = set() if loaded else {("library-not-found", "libf.so")}
    assert errors(plugin, hosts=[host]) == expected
    assert errors(plugin) == {("library-not-found", "libf.so")}
    # a plugin with a RUNPATH of its own is lent no RPATH by glibc
    plugin = shop.library(
        "plugin", "extern int f(void); int p(void){return f();}", tmp_path / "sub" / "libf.so",
        "-Wl,--enable-new-dtags,-rpath,/nowhere",
    )  # fmt: skip
    assert bool(errors(plugin, hosts=[host])) is not starts(host, plugin)


@pytest.mark.parametrize("cc", ["gcc", "musl-gcc"])
def test_search_paths_as_each_loader_reads_them(
    tmp_path: Path, cc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """musl: $ORIGIN alone, or all is void; an empty entry isn't the current folder; lines part, too."""
    if not have(cc):
        pytest.skip(f"needs {cc}")
    shop = Workshop(tmp_path, cc=cc)
    needed = shop.library("sub/f", F)
    (tmp_path / "AL").mkdir()  # for $ORIGINAL, as musl takes it
    right = {True: 0, False: 0}
    for text in (
        "$ORIGIN/sub", "${ORIGIN}/sub", "$ORIGIN/$LIB:$ORIGIN/sub", "$FOO:$ORIGIN/sub", f"$:{tmp_path}/sub",
        ":x", "x::y", f"/nowhere\n{tmp_path}/sub", "$ORIGIN/AL$ORIGINAL:$ORIGIN/no", "sub", "$ORIGINAL/../sub",
    ):  # fmt: skip
        program = shop.program("main", MAIN, needed, f"-Wl,-rpath,{text}")
        for folder in (tmp_path, tmp_path / "sub"):
            monkeypatch.chdir(folder)
            loads = starts(program, folder=folder)
            assert (errors(program) == set()) is loads, (text, folder)
            right[loads] += 1
    assert min(right.values()) > 3


def test_musl_s_folders_lie_beside_its_loader(tmp_path: Path) -> None:
    """Its ``ld-musl-ARCH.path`` is read from the ``etc`` beside the folder that the interpreter is in."""
    loader = Path("/lib/ld-musl-x86_64.so.1")
    if not (have("musl-gcc") and loader.exists()):
        pytest.skip("needs musl-gcc")
    shop = Workshop(tmp_path, cc="musl-gcc")
    (tmp_path / "own/lib").mkdir(parents=True)
    (tmp_path / "own/etc").mkdir()
    own = tmp_path / "own/lib" / loader.name
    own.write_bytes(loader.read_bytes())
    own.chmod(0o755)
    needed = shop.library("sub/f", F)
    program = shop.program("main", MAIN, needed, f"-Wl,-dynamic-linker,{own}")
    for text in ("/nowhere\n", f"/nowhere\n{tmp_path}/sub\n"):
        (tmp_path / "own/etc/ld-musl-x86_64.path").write_text(text)
        assert (errors(program) == set()) is starts(program) is (str(tmp_path) in text)


def test_folders_that_are_not_there_are_refused(tmp_path: Path) -> None:
    gone = tmp_path / "no"
    with pytest.raises(UsageError, match=r"--library-path .*no: looked for a folder, found nothing"):
        SearchOptions.from_environment((gone,))
    with pytest.raises(UsageError, match=r"--sysroot .*no: looked for a folder, found nothing"):
        SearchOptions.from_environment(sysroot=gone)
