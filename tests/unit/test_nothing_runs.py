"""What comes with a build folder is not run: neither programs nor what makes one run another."""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from patcher import cli
from patcher.base.errors import UsageError
from patcher.symbols.emulate.commands import Command, linker_arguments
from patcher.symbols.emulate.driver import take_apart
from patcher.symbols.installed import installed_program
from patcher.symbols.repair.database import Compilation
from patcher.symbols.repair.proof import RepairProof, defined_by

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc on this machine")


@pytest.fixture
def trap(tmp_path: Path) -> Callable[[], bool]:
    """``evil/`` with programs of every name that a compiler starts; says whether one ran, or a specs did."""
    folder = tmp_path / "build" / "evil"
    folder.mkdir(parents=True)
    (tmp_path / "victim").write_text("precious")
    for name in (
        "trap",
        "as",
        "ld",
        "ld.lld",
        "ld.gold",
        "ld.mold",
        "collect2",
        "cc1",
        "cc1plus",
        "lto-wrapper",
    ):
        (folder / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\nexit 1\n")
        (folder / name).chmod(0o755)
    specs = f"*link_command:\n%d{tmp_path}/victim\n\n*cc1:\n%d{tmp_path}/victim\n\n"
    for place in ("specs", "lib/specs", "usr/lib/specs", "usr/lib/gcc/specs", "lib/x86_64-linux-gnu/specs"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(specs)
    (folder / "words").write_text(f"-wrapper {folder}/trap -specs={folder}/specs")
    (folder / "clang.cfg").write_text(f"-fplugin={folder}/trap")
    return lambda: (tmp_path / "sprung").exists() or not (tmp_path / "victim").exists()


STEERING = (
    "-specs=EVIL/specs", "--specs=EVIL/specs", "-specs EVIL/specs", "-BEVIL", "-B EVIL", "-BEVIL/", "--prefix=EVIL",
    "-wrapper EVIL/trap", "-fplugin=EVIL/trap", "-fpass-plugin=EVIL/trap", "@EVIL/words", "--config EVIL/clang.cfg",
    "--config=EVIL/clang.cfg", "-fuse-ld=EVIL/trap", "-Wl,-plugin,EVIL/trap", "-Xlinker -plugin -Xlinker EVIL/trap",
    "--sysroot=EVIL", "--sysroot EVIL", "-isysroot EVIL", "-fmodule-mapper=|EVIL/trap", "-Xclang -load -Xclang EVIL/trap",
    "-mllvm -load=EVIL/trap", "-Wp,-wrapper,EVIL/trap", "-Wa,@EVIL/words", "-no-canonical-prefixes -BEVIL",
    "-gcc-toolchain EVIL", "--gcc-toolchain=EVIL", "-foffload=EVIL", "-flto -flto-partition=EVIL",
)  # fmt: skip
ENVIRONMENT = ("COMPILER_PATH", "GCC_EXEC_PREFIX", "LIBRARY_PATH", "CPATH", "LD_LIBRARY_PATH")


def filled(words: str, tmp_path: Path) -> list[str]:
    return words.replace("EVIL", str(tmp_path / "build" / "evil")).split()


@needs_gcc
@pytest.mark.parametrize("words", STEERING)
def test_a_driver_is_asked_with_words_of_a_list(
    words: str, tmp_path: Path, trap: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, str(tmp_path / "build" / "evil"))
    (tmp_path / "build/x.o").touch()
    command = Command(
        ("gcc", *filled(words, tmp_path), "-shared", "-o", "x.so", "x.o", "-lm"), tmp_path / "build"
    )
    arguments, _ = linker_arguments(command)
    assert not trap()
    at = arguments.index("x.o")
    assert arguments[at + 1] == "-lm"
    assert arguments[arguments.index("-o") + 1] == "x.so"
    assert "-shared" in arguments


@needs_gcc
@pytest.mark.parametrize("words", STEERING)
def test_a_proof_compiles_with_words_of_a_list(
    words: str, tmp_path: Path, trap: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COMPILER_PATH", "GCC_EXEC_PREFIX"):
        monkeypatch.setenv(name, f"{tmp_path}/build/evil/")
    source = tmp_path / "build" / "x.c"
    source.write_text("int f(void) { return 1; }\n")
    arguments = ("gcc", *filled(words, tmp_path), "-O1", "-c", "x.c", "-o", "x.o")
    found = defined_by("", Compilation(source, tmp_path / "build", arguments, tmp_path / "build" / "x.o"))
    assert not trap()
    if isinstance(found, RepairProof):
        assert "not known here" in found.detail
    else:
        assert b"f" in found


@needs_gcc
@pytest.mark.parametrize("words", ["-specs=EVIL/specs", "-BEVIL", "-wrapper EVIL/trap", "@EVIL/words"])
def test_the_traps_do_work(words: str, tmp_path: Path, trap: Callable[[], bool]) -> None:
    source = tmp_path / "x.c"
    source.write_text("int f(void) { return 1; }\n")
    subprocess.run(
        ["gcc", *filled(words, tmp_path), "-shared", "-fPIC", "x.c"], cwd=tmp_path, capture_output=True
    )
    assert trap()


def test_a_link_command_with_specs_deletes_nothing(
    tmp_path: Path, trap: Callable[[], bool], capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("ninja") is None or shutil.which("gcc") is None:
        pytest.skip("needs gcc and ninja")
    build = tmp_path / "build"
    (build / "x.c").write_text("int foo(void) { return 1; }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "x.c", "-o", "libx.so"], cwd=build, check=True)
    (build / "x.o").touch()
    (build / "build.ninja").write_text(
        "rule link\n  command = gcc -specs=evil/specs -o libx.so x.o\nbuild libx.so: link x.o\nbuild x.o: phony\n"
    )
    cli.run(["verify-symbols", "--emulate", "bfd", str(build / "libx.so")])
    assert not trap()
    assert "-specs=evil/specs of its link command is not obeyed" in capsys.readouterr().err


def test_words_are_put_where_they_stood(tmp_path: Path) -> None:
    (tmp_path / "more.rsp").write_text("c.o -Lthere -lthat '@nested.rsp'")
    (tmp_path / "nested.rsp").write_text("d.o")
    words = "-O2 -I include -DX -L here a.o -Wl,--as-needed -lthis -Xlinker -z -Xlinker defs @more.rsp -u sym -oout"
    taken = take_apart(words.split(), tmp_path)
    assert taken.inputs == ["a.o", "--as-needed", "-lthis", "-z", "defs", "c.o", "-lthat", "d.o"]
    assert taken.folders == ["-Lhere", "-Lthere"]
    assert taken.early == ["-u", "sym"]
    assert (taken.output, taken.ask, taken.left_out) == ("out", [], [])
    endless = tmp_path / "endless.rsp"
    endless.write_text("@endless.rsp @endless.rsp")
    assert len(take_apart(["@endless.rsp"], tmp_path).inputs) <= 2**9


def test_which_programs_are_this_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "bin" / "gcc"
    mine.parent.mkdir()
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    assert installed_program(str(mine)) is None
    monkeypatch.setenv("PATH", f".:{mine.parent}:/usr/bin")
    assert installed_program("gcc") == installed_program(str(mine)) == str(mine)
    assert installed_program("gcc", tmp_path) != str(mine)  # it came with what is looked at
    assert installed_program(str(mine), tmp_path) is None
    monkeypatch.chdir(mine.parent)
    monkeypatch.setenv("PATH", ".:")
    assert installed_program("gcc") is installed_program("./gcc") is installed_program("") is None
    shell = Path("/bin/sh").resolve()
    if (
        str(shell).startswith("/usr/")
        and shell.stat().st_uid == 0
        and not shell.stat().st_mode & stat.S_IWOTH
    ):
        assert installed_program(str(shell)) == str(shell)


def test_no_driver_no_answer(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none that is installed"):
        linker_arguments(Command(("./gcc", "-o", "x", "x.o"), tmp_path))
